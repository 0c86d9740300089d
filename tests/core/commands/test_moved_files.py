"""A picture of ours is made again with files that were moved, found by their hashes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from core.commands.task import repeated_task
from core.events import ImageReady
from core.images.reading import sha256_of
from core.images.writing import save_picture
from core.models.fingerprint import Fingerprints
from core.models.library import Library
from core.paths import Profile
from core.request import ControlUse, Inpaint, LoraUse, Request, TextToImage

STEM = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    tensors = {
        f"{STEM}.lora_down.weight": torch.ones(2, 768),
        f"{STEM}.lora_up.weight": torch.ones(320, 2),
    }
    save_file(tensors, tmp_path / "fur.safetensors")
    return tmp_path / "fur.safetensors"


def saved_picture(request: Request, folder: Path) -> Path:
    image = ImageReady(
        request=request,
        picture=0,
        seed=0,
        pixels=np.zeros((64, 64, 3), np.uint8),
        seconds=1.0,
        model_sha256="0" * 64,
        device="cpu",
    )
    return save_picture(image, folder)


@pytest.fixture
def picture(tmp_path: Path, lora: Path) -> Path:
    sha256 = Fingerprints.kept_in(tmp_path / "cache").of_file(lora)
    request = TextToImage(prompts=("a",), loras=(LoraUse(path=str(lora), sha256=sha256),))
    return saved_picture(request, tmp_path)


def test_a_moved_lora_is_found_in_the_library(tmp_path: Path, lora: Path, picture: Path) -> None:
    profile = Profile(tmp_path / "profile")
    moved = lora.rename(tmp_path / "elsewhere.safetensors")
    list(Library(profile).add(moved))
    (use,) = repeated_task(picture, {"model": "starter"}, profile).request.loras
    assert use.path == str(moved)


def test_one_that_is_still_there_is_left_alone(tmp_path: Path, lora: Path, picture: Path) -> None:
    profile = Profile(tmp_path / "profile")
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(lora.read_bytes())
    list(Library(profile).add(copy))
    (use,) = repeated_task(picture, {"model": "starter"}, profile).request.loras
    assert use.path == str(lora)


def test_renamed_pictures_are_found_beside_the_one_made_from_them(tmp_path: Path) -> None:
    paths = {}
    for name, grey in (("start", 10), ("mask", 255), ("map", 90)):
        paths[name] = tmp_path / f"{name}.png"
        Image.new("RGB", (64, 64), (grey,) * 3).save(paths[name])
    use = ControlUse(path="net", image=str(paths["map"]), image_sha256=sha256_of(paths["map"]))
    request = Inpaint(
        prompts=("a",),
        width=64,
        height=64,
        init_image=str(paths["start"]),
        init_sha256=sha256_of(paths["start"]),
        mask_image=str(paths["mask"]),
        mask_sha256=sha256_of(paths["mask"]),
        controls=(use,),
    )
    picture = saved_picture(request, tmp_path)
    moved = {name: path.rename(tmp_path / f"my {name}.png") for name, path in paths.items()}
    request = repeated_task(picture, {"model": "starter"}, Profile(tmp_path / "profile")).request
    assert isinstance(request, Inpaint)
    found = (request.init_image, request.mask_image, request.controls[0].image)
    assert found == tuple(str(moved[name]) for name in ("start", "mask", "map"))
