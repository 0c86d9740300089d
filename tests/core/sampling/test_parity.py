"""Our loop against diffusers' pipelines: same weights, seed and settings, same pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from core.request import ImageToImage, Request, SchedulerName, TextToImage
from tests.core.sampling.parity import PROMPT, SEED, TOLERANCE, Ours, Peer, assert_equal

pytestmark = pytest.mark.usefixtures("integrator")


@pytest.fixture(scope="module")
def peer(tiny_model: Path) -> Peer:
    return Peer(tiny_model)


@pytest.fixture(scope="module")
def v_peer(tiny_v_model: Path) -> Peer:
    return Peer(tiny_v_model)


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("guidance", "negative"), [(1.0, ""), (7.5, ""), (7.5, "blue square")], ids=["1", "7.5", "neg"]
)
@pytest.mark.parametrize("scheduler", SchedulerName)
def test_text_to_image(
    scheduler: SchedulerName,
    guidance: float,
    negative: str,
    count: int,
    steps: int,
    ours: Ours,
    peer: Peer,
    tiny_model: Path,
) -> None:
    request = TextToImage(
        model=str(tiny_model),
        prompts=(PROMPT,),
        negative_prompt=negative,
        steps=steps,
        guidance_scale=guidance,
        scheduler=scheduler,
        width=64,
        height=64,
        seed=SEED,
        count=count,
    )
    assert_equal(ours, peer, request)


@pytest.mark.parametrize("strength", [0.3, 0.8, 1.0])
@pytest.mark.parametrize(
    ("guidance", "negative", "count", "steps"), [(1.0, "", 1, 5), (7.5, "blue square", 3, 20)]
)
@pytest.mark.parametrize("scheduler", SchedulerName)
def test_image_to_image(
    scheduler: SchedulerName,
    guidance: float,
    negative: str,
    count: int,
    steps: int,
    strength: float,
    ours: Ours,
    peer: Peer,
    tiny_model: Path,
    start_picture: Path,
) -> None:
    request = ImageToImage(
        model=str(tiny_model),
        prompts=(PROMPT,),
        negative_prompt=negative,
        steps=steps,
        guidance_scale=guidance,
        scheduler=scheduler,
        width=64,
        height=48,
        seed=SEED,
        count=count,
        init_image=str(start_picture),
        strength=strength,
    )
    assert_equal(ours, peer, request)


@pytest.mark.parametrize("strength", [None, 0.8])
@pytest.mark.parametrize("scheduler", SchedulerName)
def test_velocity_prediction(
    scheduler: SchedulerName,
    strength: float | None,
    ours: Ours,
    v_peer: Peer,
    tiny_v_model: Path,
    start_picture: Path,
) -> None:
    settings: dict[str, Any] = {
        "model": str(tiny_v_model),
        "prompts": (PROMPT,),
        "steps": 20,
        "scheduler": scheduler,
        "width": 64,
        "height": 64,
        "seed": SEED,
        "count": 2,
    }
    request: Request = TextToImage(**settings)
    if strength is not None:
        request = ImageToImage(**settings, init_image=str(start_picture), strength=strength)
    assert_equal(ours, v_peer, request)


def test_guidance_rescale(ours: Ours, peer: Peer, tiny_model: Path) -> None:
    request = TextToImage(
        model=str(tiny_model),
        prompts=(PROMPT,),
        steps=5,
        width=64,
        height=64,
        guidance_rescale=0.7,
    )
    latents, _ = ours.make(request)
    peer.text_to_image.scheduler = diffusers.DDIMScheduler.from_config(peer.config)
    expected = peer.text_to_image(
        PROMPT,
        width=64,
        height=64,
        num_inference_steps=5,
        guidance_rescale=0.7,
        generator=torch.Generator("cpu").manual_seed(0),
        output_type="latent",
    ).images
    assert float((latents - expected).abs().max()) <= TOLERANCE
