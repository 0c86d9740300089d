"""Another VAE in the engine: found, loaded, recorded, repeated, and refused where it cannot fit."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from core.engine import TorchEngine
from core.errors import InvalidRequest, ModelInvalid, ModelMissing, Unsupported
from core.events import Event, ImageReady, Loading, Notice, PreviewSettings, Step
from core.images.infotext import parse_infotext, write_infotext
from core.models.identify import identify
from core.models.replacement_vae import doubts_of, load_vae
from core.request import DeviceName, PreviewDecoder, TextToImage
from core.request_json import from_json, to_json
from tests.fixtures.layouts import layout, write_stripped

OFF = PreviewSettings(decoder=PreviewDecoder.OFF)
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def vae(tiny_model: Path, tmp_path: Path) -> Path:
    """A VAE of the tiny model's shape with other weights, as one file."""
    torch.manual_seed(9)
    other = diffusers.AutoencoderKL.from_config(
        diffusers.AutoencoderKL.load_config(tiny_model / "vae")
    )
    other.save_pretrained(tmp_path / "vae")
    return Path(shutil.copy(tmp_path / "vae" / WEIGHTS, tmp_path / "bright.safetensors"))


@pytest.fixture
def engine(tmp_path: Path) -> TorchEngine:
    return TorchEngine(DeviceName.CPU, cache=tmp_path / "cache")


@pytest.fixture
def request_of(tiny_model: Path) -> Any:
    def make(**changes: Any) -> TextToImage:
        settings = {"prompts": ("a red circle",), "steps": 2, "width": 64, "height": 64}
        return TextToImage(model=str(tiny_model), **(settings | changes))

    return make


def run(
    engine: TorchEngine, request: TextToImage, preview: PreviewSettings = OFF
) -> tuple[ImageReady, list[Event]]:
    events = list(engine.generate(request, preview=preview))
    (image,) = [event for event in events if isinstance(event, ImageReady)]
    return image, events


def test_another_vae_is_recorded_and_repeated(
    engine: TorchEngine, request_of: Any, vae: Path
) -> None:
    plain, _ = run(engine, request_of())
    image, events = run(engine, request_of(vae=str(vae)))
    assert any(isinstance(event, Loading) for event in events)
    (notice,) = [event.message for event in events if isinstance(event, Notice)]
    assert notice.startswith("bright.safetensors does not say which family it is for")
    assert not np.array_equal(image.pixels, plain.pixels)
    assert image.request.vae == str(vae)
    assert len(image.request.vae_sha256) == 64
    assert image.model_sha256 == plain.model_sha256
    pairs = parse_infotext(write_infotext(image)).parameters
    assert pairs["VAE"] == "bright.safetensors"
    assert pairs["VAE hash"] == image.request.vae_sha256[:10]
    again, events = run(engine, from_json(to_json(image.request)))
    assert not any(isinstance(event, Loading) for event in events)
    np.testing.assert_array_equal(again.pixels, image.pixels)
    own, _ = run(engine, request_of())
    np.testing.assert_array_equal(own.pixels, plain.pixels)


def test_a_vae_in_a_folder_or_by_name_is_the_same(
    tmp_path: Path, request_of: Any, vae: Path
) -> None:
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path / "cache", find_vae={"bright": vae}.get)
    image, _ = run(engine, request_of(vae="bright"))
    assert image.request.vae == str(vae)
    folder, _ = run(engine, request_of(vae=str(tmp_path / "vae")))
    assert folder.request.vae_sha256 == image.request.vae_sha256
    np.testing.assert_array_equal(folder.pixels, image.pixels)


def test_previews_are_fitted_to_the_vae_in_use(
    engine: TorchEngine, request_of: Any, vae: Path
) -> None:
    always = PreviewSettings(budget=float("inf"))
    shown = []
    for name in ("", str(vae)):
        _, events = run(engine, request_of(vae=name), always)
        shown.append(next(e for e in events if isinstance(e, Step)).previews[0].pixels)
    assert not np.array_equal(*shown)


def test_a_vae_that_has_changed_is_refused(engine: TorchEngine, request_of: Any, vae: Path) -> None:
    image, _ = run(engine, request_of(vae=str(vae)))
    save_file({name: tensor * 2 for name, tensor in load_file(vae).items()}, vae)
    with pytest.raises(InvalidRequest, match=r"vae: .* has changed"):
        run(engine, image.request)
    changed, _ = run(engine, dataclasses.replace(image.request, vae_sha256=""))
    assert not np.array_equal(changed.pixels, image.pixels)


def test_what_does_not_fit_is_one_sentence(
    engine: TorchEngine, request_of: Any, vae: Path, tmp_path: Path, tiny_model: Path
) -> None:
    xl = Path(shutil.copy(vae, tmp_path / "sdxl-vae.safetensors"))
    lora = tmp_path / "fox.safetensors"
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    factors = {
        f"{stem}.lora_down.weight": torch.ones(4, 768),
        f"{stem}.lora_up.weight": torch.ones(320, 4),
    }
    save_file(factors, lora)
    wide = tmp_path / "wide.safetensors"
    save_file(
        {
            "decoder.conv_in.weight": torch.ones(4, 16, 3, 3),
            "encoder.conv_in.weight": torch.ones(4, 3, 3, 3),
        },
        wide,
    )
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(vae.read_bytes()[:-100])
    picture = tmp_path / "picture.png"
    Image.new("RGB", (8, 8)).save(picture)
    for path, error, words in (
        (xl, ModelInvalid, "VAE for SDXL"),
        (lora, ModelInvalid, "is no VAE"),
        (wide, Unsupported, "16 latent channels"),
        (damaged, ModelInvalid, "damaged.safetensors"),
        (picture, (ModelInvalid, Unsupported), "picture.png"),
        (tiny_model, ModelInvalid, "diffusion_pytorch_model"),
        (tmp_path / "nothing", ModelMissing, "There is no VAE"),
    ):
        with pytest.raises(error, match=words) as caught:
            run(engine, request_of(vae=str(path)))
        assert "\n" not in str(caught.value)
    run(engine, request_of())


@pytest.mark.parametrize(("own", "other"), [("sd1", "sdxl"), ("sdxl", "sd1"), ("sdxl", "sd2")])
def test_other_latents_are_refused_in_both_directions(tmp_path: Path, own: str, other: str) -> None:
    model = identify(write_stripped(tmp_path / "own.safetensors", layout(f"{own}-original")))
    whole = write_stripped(tmp_path / "other.safetensors", layout(f"{other}-original"))
    name = {"sd1": "vae-ft-mse-840000", "sd2": "sd2_vae", "sdxl": "sdxl_vae"}[other]
    lone = write_stripped(tmp_path / f"{name}.safetensors", layout(f"{other}-vae"))
    for path in (whole, lone):
        with pytest.raises(
            ModelInvalid, match=r"other\.saf.* model, whose|as its name says, whose"
        ):
            load_vae(path, like=model, dtype=torch.float32)


def test_a_name_that_tells_nothing_is_pointed_out(tmp_path: Path) -> None:
    model = identify(write_stripped(tmp_path / "own.safetensors", layout("sdxl-original")))
    for name, listing, told in (
        ("bright", "sdxl-vae", "bright.safetensors does not say which family it is for"),
        ("sdxl_vae", "sdxl-vae", ""),
        ("whole", "sdxl-original", ""),
    ):
        path = write_stripped(tmp_path / f"{name}.safetensors", layout(listing))
        assert doubts_of(path, model).startswith(told)
        assert bool(doubts_of(path, model)) is bool(told)
