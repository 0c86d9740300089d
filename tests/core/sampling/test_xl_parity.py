"""SDXL against diffusers' pipelines: two text encoders, pooled text, size and crop."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from core.request import ImageToImage, Inpaint, SchedulerName, TextToImage
from tests.conftest import TINY_XL_UNET
from tests.core.sampling.parity import PROMPT, SEED, TOLERANCE, Ours, Peer, assert_equal

pytestmark = pytest.mark.usefixtures("integrator")


@pytest.fixture(scope="module")
def peer(tiny_xl_model: Path) -> Peer:
    return Peer(tiny_xl_model)


@pytest.fixture
def settings(tiny_xl_model: Path) -> dict[str, Any]:
    return {
        "model": str(tiny_xl_model),
        "prompts": (PROMPT,),
        "steps": 4,
        "width": 64,
        "height": 48,
        "seed": SEED,
    }


@pytest.mark.parametrize(
    ("guidance", "negative", "count"),
    [(1.0, "", 1), (7.5, "", 3), (7.5, "blue square", 2)],
    ids=["1", "7.5", "neg"],
)
@pytest.mark.parametrize("scheduler", SchedulerName)
def test_text_to_image(
    scheduler: SchedulerName,
    guidance: float,
    negative: str,
    count: int,
    ours: Ours,
    peer: Peer,
    settings: dict[str, Any],
) -> None:
    request = TextToImage(
        **settings,
        scheduler=scheduler,
        guidance_scale=guidance,
        negative_prompt=negative,
        count=count,
    )
    assert_equal(ours, peer, request)


@pytest.mark.parametrize(("strength", "count"), [(0.6, 2), (1.0, 1)])
@pytest.mark.parametrize("scheduler", SchedulerName)
def test_image_to_image(
    scheduler: SchedulerName,
    strength: float,
    count: int,
    ours: Ours,
    peer: Peer,
    settings: dict[str, Any],
    start_picture: Path,
) -> None:
    request = ImageToImage(
        **settings,
        scheduler=scheduler,
        negative_prompt="moon",
        count=count,
        init_image=str(start_picture),
        strength=strength,
    )
    assert_equal(ours, peer, request)


@pytest.fixture(scope="module")
def inpainting_model(tiny_xl_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny SDXL model with a UNet of nine channels."""
    folder = tmp_path_factory.mktemp("models") / "tiny-xl-inpaint"
    shutil.copytree(tiny_xl_model, folder, ignore=shutil.ignore_patterns("unet"))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        unet = diffusers.UNet2DConditionModel(**TINY_XL_UNET | {"in_channels": 9})
    unet.save_pretrained(folder / "unet")
    return folder


@pytest.fixture
def round_mask(tmp_path: Path) -> Path:
    """A disc that lies across the latents' grid."""
    y, x = np.mgrid[0:80, 0:96]
    path = tmp_path / "mask.png"
    disc = (x - 45) ** 2 + (y - 37) ** 2 < 21**2
    Image.fromarray(np.where(disc, 255, 0).astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize("strength", [0.6, 1.0])
@pytest.mark.parametrize(
    "scheduler", [SchedulerName.EULER, SchedulerName.EULER_ANCESTRAL, SchedulerName.UNIPC]
)
@pytest.mark.parametrize("kind", ["plain", "inpainting"])
def test_inpainting(
    kind: str,
    scheduler: SchedulerName,
    strength: float,
    ours: Ours,
    peer: Peer,
    settings: dict[str, Any],
    inpainting_model: Path,
    start_picture: Path,
    round_mask: Path,
) -> None:
    folder = settings["model"] if kind == "plain" else str(inpainting_model)
    request = Inpaint(
        **settings | {"model": folder, "width": 96, "height": 80},
        scheduler=scheduler,
        init_image=str(start_picture),
        mask_image=str(round_mask),
        strength=strength,
    )
    latents, _ = ours.make(request)
    expected, _ = (peer if kind == "plain" else Peer(inpainting_model)).make(request)
    # UniPC's last steps magnify the last bits of the surroundings that are put back.
    assert float((latents - expected).abs().max()) <= 10 * TOLERANCE
