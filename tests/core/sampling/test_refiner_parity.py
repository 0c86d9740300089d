"""SDXL's refiner against diffusers' pipeline for it: one text encoder, and a score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from PIL import Image

from core.images.reading import read_start_image
from core.request import ImageToImage, SchedulerName
from tests.core.sampling.parity import CLASSES, PROMPT, SEED, TOLERANCE, Ours

SIZE = {"width": 64, "height": 48}


@pytest.fixture(scope="module")
def refiner(tiny_refiner: Path) -> Any:
    pipeline = diffusers.StableDiffusionXLImg2ImgPipeline.from_pretrained(tiny_refiner)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def latents_of(pipeline: Any, request: Any, **options: Any) -> torch.Tensor:
    """Give the latents with which one of diffusers' pipelines ends."""
    cls, settings = CLASSES[request.scheduler]
    pipeline.scheduler = cls.from_config(pipeline.scheduler.config, **settings)
    if request.negative_prompt:
        options["negative_prompt"] = request.negative_prompt
    return pipeline(
        prompt=request.prompts[0],
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        num_images_per_prompt=request.count,
        generator=[torch.Generator().manual_seed(request.seed + i) for i in range(request.count)],
        output_type="latent",
        **options,
    ).images


@pytest.mark.parametrize(
    ("guidance", "negative", "count"), [(1.0, "", 1), (7.5, "", 2), (7.5, "blue square", 2)]
)
@pytest.mark.parametrize(
    "scheduler", [SchedulerName.EULER, SchedulerName.DDIM, SchedulerName.DPMPP_2M]
)
def test_a_refiner_alone(
    scheduler: SchedulerName,
    guidance: float,
    negative: str,
    count: int,
    ours: Ours,
    refiner: Any,
    tiny_refiner: Path,
    start_picture: Path,
) -> None:
    request = ImageToImage(
        model=str(tiny_refiner),
        prompts=(PROMPT,),
        negative_prompt=negative,
        steps=4,
        guidance_scale=guidance,
        scheduler=scheduler,
        seed=SEED,
        count=count,
        init_image=str(start_picture),
        strength=0.6,
        **SIZE,
    )
    start = Image.fromarray(read_start_image(start_picture, request.width, request.height))
    expected = latents_of(refiner, request, image=start, strength=request.strength)
    latents, _ = ours.make(request)
    assert float((latents - expected).abs().max()) <= TOLERANCE
