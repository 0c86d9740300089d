"""SDXL's refiner against diffusers' pipelines: alone, and taking over from a base model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from PIL import Image

from core.images.reading import read_start_image
from core.request import ImageToImage, Request, SchedulerName, TextToImage
from tests.core.sampling.parity import CLASSES, PROMPT, SEED, TOLERANCE, Ours


class Pair:
    """diffusers' pipelines of a base model and its refiner, which share the generators of a run."""

    def __init__(self, base: Path, refiner: Path) -> None:
        self.base = diffusers.StableDiffusionXLPipeline.from_pretrained(base)
        self.refiner = diffusers.StableDiffusionXLImg2ImgPipeline.from_pretrained(refiner)
        self.from_picture = diffusers.StableDiffusionXLImg2ImgPipeline.from_pipe(
            self.base, requires_aesthetics_score=False
        )

    def make(self, request: Request) -> torch.Tensor:
        """Give the latents with which a run ends."""
        generators = [torch.Generator().manual_seed(request.seed + i) for i in range(request.count)]
        start: dict[str, Any] = {"width": request.width, "height": request.height}
        base = self.base
        if isinstance(request, ImageToImage):
            pixels = read_start_image(Path(request.init_image), request.width, request.height)
            start = {"image": Image.fromarray(pixels), "strength": request.strength}
            base = self.from_picture
        if not request.refiner:
            return _latents(self.refiner, request, generator=generators, **start)
        share = request.refiner_start
        begun = _latents(base, request, generator=generators, denoising_end=share, **start)
        return _latents(
            self.refiner, request, generator=generators, denoising_start=share, image=begun
        )


def _latents(pipeline: Any, request: Request, **options: Any) -> torch.Tensor:
    cls, settings = CLASSES[request.scheduler]
    pipeline.scheduler = cls.from_config(pipeline.scheduler.config, **settings)
    pipeline.set_progress_bar_config(disable=True)
    if request.negative_prompt:
        options["negative_prompt"] = request.negative_prompt
    return pipeline(
        prompt=request.prompts[0],
        num_inference_steps=request.steps,
        guidance_scale=request.guidance_scale,
        num_images_per_prompt=request.count,
        output_type="latent",
        **options,
    ).images


@pytest.fixture(scope="module")
def pair(tiny_xl_model: Path, tiny_refiner: Path) -> Pair:
    return Pair(tiny_xl_model, tiny_refiner)


@pytest.fixture
def settings(tiny_xl_model: Path, tiny_refiner: Path) -> dict[str, Any]:
    return {
        "model": str(tiny_xl_model),
        "refiner": str(tiny_refiner),
        "prompts": (PROMPT,),
        "width": 64,
        "height": 48,
        "seed": SEED,
    }


def assert_same(ours: Ours, pair: Pair, request: Request) -> None:
    latents, _ = ours.make(request)
    expected = pair.make(request)
    assert latents.shape == expected.shape
    assert float((latents - expected).abs().max()) <= TOLERANCE


GUIDED = [(1.0, "", 1), (7.5, "", 2), (7.5, "blue square", 1), (7.5, "blue square", 2)]
SCHEDULERS = [SchedulerName.EULER, SchedulerName.DDIM, SchedulerName.DPMPP_2M]


@pytest.mark.parametrize(("guidance", "negative", "count"), GUIDED)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(("steps", "share"), [(5, 0.8), (8, 0.45)])
def test_a_refiner_takes_over(
    steps: int,
    share: float,
    scheduler: SchedulerName,
    guidance: float,
    negative: str,
    count: int,
    ours: Ours,
    pair: Pair,
    settings: dict[str, Any],
) -> None:
    request = TextToImage(
        **settings,
        steps=steps,
        refiner_start=share,
        scheduler=scheduler,
        guidance_scale=guidance,
        negative_prompt=negative,
        count=count,
    )
    assert_same(ours, pair, request)


@pytest.mark.parametrize(
    "scheduler",
    [
        SchedulerName.EULER_ANCESTRAL,
        SchedulerName.DPMPP_2M_KARRAS,
        SchedulerName.DPMPP_SDE,
        SchedulerName.UNIPC,
        SchedulerName.DDPM,
    ],
)
def test_other_methods(
    scheduler: SchedulerName, ours: Ours, pair: Pair, settings: dict[str, Any]
) -> None:
    assert_same(
        ours, pair, TextToImage(**settings, steps=8, refiner_start=0.6, scheduler=scheduler)
    )


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_over_a_start_picture(
    scheduler: SchedulerName,
    ours: Ours,
    pair: Pair,
    settings: dict[str, Any],
    start_picture: Path,
) -> None:
    request = ImageToImage(
        **settings,
        steps=8,
        refiner_start=0.7,
        scheduler=scheduler,
        init_image=str(start_picture),
        strength=0.6,
        count=2,
    )
    assert_same(ours, pair, request)


@pytest.mark.parametrize(("guidance", "negative", "count"), GUIDED)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_refiner_alone(
    scheduler: SchedulerName,
    guidance: float,
    negative: str,
    count: int,
    ours: Ours,
    pair: Pair,
    settings: dict[str, Any],
    start_picture: Path,
) -> None:
    request = ImageToImage(
        **settings | {"model": settings["refiner"], "refiner": ""},
        negative_prompt=negative,
        steps=4,
        guidance_scale=guidance,
        scheduler=scheduler,
        count=count,
        init_image=str(start_picture),
        strength=0.6,
    )
    assert_same(ours, pair, request)
