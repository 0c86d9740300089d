"""Embedding files as they are written, through our reader and diffusers'."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from core.models.embeddings import read_embedding
from core.models.verdict import judge
from core.models.writing.embedding import write_diffusers_embedding, write_kohya_embedding

NOTES = {"modelspec.architecture": "stable-diffusion-v1/textual-inversion",
         "modelspec.trigger_phrase": "<moth>"}  # fmt: skip
XL = {"text_encoder": 768, "text_encoder_2": 1280}


def vectors(widths: dict[str, int], count: int = 3) -> dict[str, Tensor]:
    numbers = torch.Generator().manual_seed(0)
    return {name: torch.randn(count, width, generator=numbers) for name, width in widths.items()}


@pytest.mark.parametrize(
    ("widths", "names", "family"),
    [
        ({"text_encoder": 768}, {"emb_params"}, "sd1"),
        ({"text_encoder": 1024}, {"emb_params"}, "sd2"),
        (XL, {"clip_l", "clip_g"}, "sdxl"),
    ],
)
def test_kohyas_form(widths: dict[str, int], names: set[str], family: str, tmp_path: Path) -> None:
    path, made = tmp_path / "moth.safetensors", vectors(widths)
    write_kohya_embedding(path, made, metadata=NOTES)
    assert set(load_file(path)) == names
    found = read_embedding(path)
    assert found.token == "moth"
    torch.testing.assert_close(dict(found.vectors), made, rtol=0, atol=0)
    with safe_open(path, framework="pt") as file:
        notes = file.metadata()
    data = path.read_bytes()
    body = data[8 + int.from_bytes(data[:8], "little") :]
    assert notes == {**NOTES, "modelspec.hash_sha256": "0x" + hashlib.sha256(body).hexdigest()}
    verdict = judge(path)
    assert (verdict.kind, verdict.family) == ("embedding", family)


def test_diffusers_form_has_the_word_and_a_file_for_each_text_encoder(tmp_path: Path) -> None:
    made = vectors(XL)
    path = tmp_path / "learned_embeds.safetensors"
    paths = write_diffusers_embedding(path, "<moth>", made, metadata=NOTES)
    assert paths == (path, tmp_path / "learned_embeds_2.safetensors")
    for file, tensor in zip(paths, made.values(), strict=True):
        assert torch.equal(load_file(file)["<moth>"], tensor)
        with safe_open(file, framework="pt") as opened:
            assert opened.metadata()["format"] == "pt"
            assert opened.metadata()["modelspec.trigger_phrase"] == "<moth>"
    (alone,) = write_diffusers_embedding(
        tmp_path / "b.safetensors", "<moth>", vectors({"text_encoder": 768}), metadata={}
    )
    found = read_embedding(alone)
    assert found.token == "<moth>"
    assert found.vectors["text_encoder"].shape == (3, 768)
    assert judge(alone).kind == "embedding"


@pytest.mark.parametrize("form", ["kohya", "diffusers"])
def test_diffusers_loads_it(form: str, tiny_model: Path, tmp_path: Path) -> None:
    made = vectors({"text_encoder": 16})
    path = tmp_path / "moth.safetensors"
    pipe: Any = diffusers.StableDiffusionPipeline.from_pretrained(
        tiny_model, local_files_only=True, safety_checker=None
    )
    if form == "kohya":
        write_kohya_embedding(path, made, metadata=NOTES)
        pipe.load_textual_inversion(path, token="<moth>")
    else:
        write_diffusers_embedding(path, "<moth>", made, metadata=NOTES)
        pipe.load_textual_inversion(path)
    check_rows(pipe.tokenizer, pipe.text_encoder, made["text_encoder"])
    assert pipe.maybe_convert_prompt("a <moth>", pipe.tokenizer) == "a <moth> <moth>_1 <moth>_2"


@pytest.mark.parametrize("form", ["kohya", "diffusers"])
def test_diffusers_loads_sdxls_for_each_text_encoder(
    form: str, tiny_xl_model: Path, tmp_path: Path
) -> None:
    made = vectors({"text_encoder": 16, "text_encoder_2": 24})
    path = tmp_path / "moth.safetensors"
    pipe: Any = diffusers.StableDiffusionXLPipeline.from_pretrained(
        tiny_xl_model, local_files_only=True
    )
    if form == "kohya":
        write_kohya_embedding(path, made, metadata=NOTES)
        tensors = load_file(path)
        sources: list[Any] = [tensors["clip_l"], tensors["clip_g"]]
    else:
        sources = list(write_diffusers_embedding(path, "<moth>", made, metadata=NOTES))
    pairs = [(pipe.tokenizer, pipe.text_encoder), (pipe.tokenizer_2, pipe.text_encoder_2)]
    for source, (tokenizer, encoder), rows in zip(sources, pairs, made.values(), strict=True):
        pipe.load_textual_inversion(
            source, token="<moth>", tokenizer=tokenizer, text_encoder=encoder
        )
        check_rows(tokenizer, encoder, rows)


def check_rows(tokenizer: Any, encoder: Any, rows: Tensor) -> None:
    numbers = tokenizer.convert_tokens_to_ids(["<moth>", "<moth>_1", "<moth>_2"])
    found = encoder.get_input_embeddings().weight[numbers].detach()
    torch.testing.assert_close(found, rows, rtol=0, atol=0)
