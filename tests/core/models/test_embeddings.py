"""Embeddings in every form that programs have saved them in."""

from __future__ import annotations

import base64
import json
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file
from torch import Tensor, nn

from core.errors import ModelInvalid, ModelMissing, UnsafeFile, Unsupported
from core.models.embeddings import check_widths, read_embedding
from core.models.verdict import judge

VECTORS = torch.arange(1536, dtype=torch.float32).reshape(2, 768) / 1000
WIDE = torch.ones(2, 1280)


def saved(path: Path, values: Any) -> Path:
    if path.suffix == ".safetensors":
        save_file(values, path)
    else:
        torch.save(values, path)
    return path


def web_ui(parameters: Any) -> dict[str, Any]:
    return {
        "string_to_token": {"*": 265},
        "string_to_param": parameters,
        "name": "fox",
        "step": 1500,
        "sd_checkpoint": "81761151",
        "sd_checkpoint_name": "v1-5-pruned-emaonly",
    }


def old_container(tensor: Tensor) -> nn.ParameterDict:
    """A ParameterDict with the attributes that torch 1.11's had."""
    container = nn.ParameterDict()
    del container._keys
    container._parameters["*"] = nn.Parameter(tensor)
    return container


@pytest.mark.parametrize(
    ("name", "values", "token"),
    [
        ("easyfox.pt", web_ui({"*": VECTORS}), "easyfox"),
        ("easyfox.pt", web_ui({"*": VECTORS.clone().requires_grad_()}), "easyfox"),
        ("easyfox.pt", web_ui(OrderedDict({"*": VECTORS})), "easyfox"),
        ("easyfox.pt", web_ui(old_container(VECTORS)), "easyfox"),
        ("easyfox.pt", web_ui(nn.ParameterDict({"*": nn.Parameter(VECTORS)})), "easyfox"),
        ("learned_embeds.bin", {"<fox>": VECTORS}, "<fox>"),
        ("learned_embeds.safetensors", {"<fox>": VECTORS}, "<fox>"),
        ("fox.safetensors", {"emb_params": VECTORS}, "fox"),
        ("fox.safetensors", {"emp_params": VECTORS}, "fox"),
        ("fox.safetensors", {"emb_params": VECTORS.half()}, "fox"),
    ],
)
def test_every_form_of_one_encoder(
    tmp_path: Path, name: str, values: dict[str, Any], token: str
) -> None:
    embedding = read_embedding(saved(tmp_path / name, values))
    assert embedding.token == token
    ((encoder, vectors),) = embedding.vectors.items()
    assert encoder == "text_encoder"
    assert vectors.dtype is torch.float32
    assert not vectors.requires_grad
    torch.testing.assert_close(vectors, VECTORS, rtol=1e-3, atol=1e-3)
    check_widths(embedding, {"text_encoder": 768})
    assert read_embedding(tmp_path / name, "wolf").token == "wolf"


def test_one_vector_may_stand_alone(tmp_path: Path) -> None:
    embedding = read_embedding(saved(tmp_path / "a.bin", {"<fox>": VECTORS[0].clone()}))
    assert torch.equal(embedding.vectors["text_encoder"], VECTORS[:1])


@pytest.mark.parametrize(
    ("first", "second"), [("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1")]
)
def test_a_pair_of_two_encoders(tmp_path: Path, first: str, second: str) -> None:
    file = saved(tmp_path / "fox.safetensors", {first: VECTORS, second: WIDE})
    embedding = read_embedding(file)
    assert embedding.token == "fox"
    assert torch.equal(embedding.vectors["text_encoder"], VECTORS)
    assert torch.equal(embedding.vectors["text_encoder_2"], WIDE)
    check_widths(embedding, {"text_encoder": 768, "text_encoder_2": 1280})
    with pytest.raises(Unsupported, match=r"768 and 1280 wide and the model's are 768; .* SDXL\."):
        check_widths(embedding, {"text_encoder": 768})


def test_vectors_for_the_encoders_output_are_left_out_and_named(tmp_path: Path) -> None:
    values = {"emp_params": VECTORS, "emp_params_out": VECTORS.clone()}
    embedding = read_embedding(saved(tmp_path / "fox.safetensors", values))
    assert embedding.unused == ("emp_params_out",)
    assert torch.equal(embedding.vectors["text_encoder"], VECTORS)
    assert read_embedding(saved(tmp_path / "a.safetensors", {"a.b": VECTORS})).token == "a.b"


def test_another_width_is_one_sentence(tmp_path: Path) -> None:
    embedding = read_embedding(saved(tmp_path / "a.safetensors", {"emb_params": VECTORS}))
    message = "vectors are 768 wide and the model's are 1024; it looks made for Stable Diffusion 1"
    with pytest.raises(Unsupported, match=message):
        check_widths(embedding, {"text_encoder": 1024})


def test_a_picture_that_carries_one(tmp_path: Path) -> None:
    def card(data: bytes) -> Path:
        info = PngInfo()
        info.add_text("sd-ti-embedding", base64.b64encode(data).decode())
        Image.new("RGB", (8, 8)).save(tmp_path / "fox.png", pnginfo=info)
        return tmp_path / "fox.png"

    values = web_ui({"*": {"TORCHTENSOR": VECTORS.tolist()}})
    embedding = read_embedding(card(json.dumps(values).encode()))
    assert embedding.token == "fox"
    torch.testing.assert_close(embedding.vectors["text_encoder"], VECTORS)
    for data in (b"", b"{}", b"[]", b'{"string_to_param": {"*": {"TORCHTENSOR": [[1], [1, 2]]}}}'):
        with pytest.raises(ModelInvalid, match="cannot be read"):
            read_embedding(card(data))
    Image.new("RGB", (8, 8)).save(tmp_path / "fox.png")
    with pytest.raises(Unsupported, match="carries no embedding, neither in its texts nor"):
        read_embedding(tmp_path / "fox.png")


def strips_of(values: object, height: int) -> tuple[Image.Image, Image.Image]:
    """Draw an embedding as the strips beside a card's picture, number by number."""
    packed = zlib.compress(json.dumps(values).encode())
    row = height * 3
    packed += packed[: -len(packed) % row]
    state, low, high = 0, [], []
    for byte in packed:
        state = (1664525 * state + 1013904223) % 2**32
        mask = state % 255 & 0x0F
        # The high half-bytes are for the eye.
        low.append(0x50 | (byte & 0x0F) ^ mask)
        high.append(0xA0 | (byte >> 4) ^ mask)
    drawn = (np.array(part, np.uint8).reshape(height, -1, 3) for part in (low, high))
    left, right = (Image.fromarray(part) for part in drawn)
    return left, right


@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize("border", [0, 5])
def test_a_picture_that_carries_one_in_its_pixels(tmp_path: Path, suffix: str, border: int) -> None:
    values = web_ui({"*": {"TORCHTENSOR": VECTORS.tolist()}})
    left, right = strips_of(values, 64)
    card = Image.new("RGB", (left.width + 32 + right.width + 2 + 2 * border, 64))
    card.paste(left, (border, 0))
    card.paste((77, 88, 99), (border + left.width + 1, 0, border + left.width + 33, 64))
    card.paste(right, (border + left.width + 34, 0))
    path = tmp_path / f"fox.{suffix}"
    card.save(path, lossless=True)
    torch.testing.assert_close(read_embedding(path).vectors["text_encoder"], VECTORS)
    assert judge(path).family == "sd1"
    card.putpixel((border + 1, 0), (0x53, 0x54, 0x55))
    card.save(path, lossless=True)
    with pytest.raises(Unsupported, match="carries no embedding"):
        read_embedding(path)


@pytest.mark.parametrize(
    ("values", "error", "match"),
    [
        ({"a": VECTORS, "b": WIDE}, Unsupported, r"of 2 words \(a, b\)"),
        ({"a": torch.zeros(3), "b": torch.zeros(3)}, Unsupported, "is no embedding"),
        ({"clip_l": VECTORS, "x": WIDE}, Unsupported, "it holds x"),
        ({"clip_l_out": VECTORS}, Unsupported, r"output alone \(clip_l_out\)"),
        ({"clip_l": VECTORS, "clip_g": WIDE[:1].clone()}, ModelInvalid, "not as many vectors"),
        ({"conv_in.weight": VECTORS}, Unsupported, "is no embedding"),
        ({"fox": torch.zeros(2, 3, 3)}, Unsupported, "is no embedding"),
        ({"fox": torch.zeros(2, 768, dtype=torch.int64)}, ModelInvalid, "no vectors"),
        ({"fox": VECTORS * float("nan")}, ModelInvalid, "not finite"),
        ({"fox": torch.zeros(0, 768)}, ModelInvalid, "no vectors"),
    ],
)
def test_what_is_no_embedding(
    tmp_path: Path, values: dict[str, Tensor], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        read_embedding(saved(tmp_path / "a.safetensors", values))


class Trap:
    """What a pickle can carry: a call that is made while it is read."""

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return (Path.touch, (Path("trapped"),))


def test_a_pickle_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(web_ui({"*": VECTORS}) | {"name": Trap()}, tmp_path / "a.pt")
    with pytest.raises(UnsafeFile, match="nothing of it was run"):
        read_embedding(tmp_path / "a.pt")
    assert not (tmp_path / "trapped").exists()
    torch.save([VECTORS], tmp_path / "b.pt")
    with pytest.raises(ModelInvalid, match="no named tensors"):
        read_embedding(tmp_path / "b.pt")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="is not a file"):
        read_embedding(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("name", "phrase", "token"),
    [
        ("final", "<moon>", "<moon>"),
        ("usable", "<moon>", "<moon>"),
        ("mine", "<moon>", "mine"),
        ("final", "a b", "final"),
        ("final", "", "final"),
        ("final", None, "final"),
    ],
)
def test_a_training_file_is_called_by_its_word_until_it_has_a_name(tmp_path, name, phrase, token):
    path = tmp_path / f"{name}.safetensors"
    notes = None if phrase is None else {"modelspec.trigger_phrase": phrase}
    save_file({"emb_params": VECTORS}, path, notes)
    assert read_embedding(path).token == token
    assert read_embedding(path, "other").token == "other"
