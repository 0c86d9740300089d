"""A second pass against diffusers' two pipelines one after the other: the same picture, larger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from core.engine import TorchEngine
from core.errors import InvalidRequest
from core.events import ImageReady, PreviewSettings, Step
from core.request import (
    Enlarging,
    PreviewDecoder,
    SchedulerName,
    SecondPass,
    TextToImage,
)

OFF = PreviewSettings(decoder=PreviewDecoder.OFF)
CLASSES: dict[SchedulerName, Any] = {
    SchedulerName.DDIM: diffusers.DDIMScheduler,
    SchedulerName.EULER_ANCESTRAL: diffusers.EulerAncestralDiscreteScheduler,
}


def asked(model: Path, **changes: Any) -> TextToImage:
    settings: dict[str, Any] = {
        "model": str(model),
        "prompts": ("a red circle on the moon",),
        "steps": 6,
        "width": 64,
        "height": 48,
        "seed": 77,
        "second_pass": SecondPass(scale=1.5, strength=0.6, steps=10),
    }
    return TextToImage(**(settings | changes))


def made(engine: TorchEngine, request: TextToImage) -> list[np.ndarray]:
    events = engine.generate(request, preview=OFF)
    return [event.pixels for event in events if isinstance(event, ImageReady)]


def theirs(request: TextToImage) -> np.ndarray:
    first = diffusers.StableDiffusionPipeline.from_pretrained(
        request.model, local_files_only=True, safety_checker=None
    )
    second = diffusers.StableDiffusionImg2ImgPipeline(
        **first.components, requires_safety_checker=False
    )
    config = first.scheduler.config
    generator = torch.Generator("cpu").manual_seed(request.seed)
    assert request.second_pass is not None
    options: dict[str, Any] = {"width": request.width, "height": request.height}
    steps = request.steps
    for pipe in (first, second):
        pipe.set_progress_bar_config(disable=True)
        pipe.scheduler = CLASSES[request.scheduler].from_config(config)
        (picture,) = pipe(
            request.prompts[0],
            num_inference_steps=steps,
            guidance_scale=request.guidance_scale,
            generator=generator,
            **options,
        ).images
        larger = picture.resize(request.final_size, Image.Resampling.LANCZOS)
        options = {"image": larger, "strength": request.second_pass.strength}
        steps = request.second_pass.steps
    return np.array(picture)


@pytest.mark.parametrize("scheduler", CLASSES)
def test_it_is_diffusers_picture(
    tiny_model: Path, engine: TorchEngine, scheduler: SchedulerName
) -> None:
    request = asked(tiny_model, scheduler=scheduler)
    (ours,) = made(engine, request)
    assert ours.shape == (72, 96, 3)
    assert np.abs(ours.astype(int) - theirs(request)).max() <= 1


@pytest.mark.parametrize("upscaler", Enlarging)
def test_each_picture_of_a_batch_is_the_one_of_its_seed(
    tiny_model: Path, engine: TorchEngine, upscaler: Enlarging
) -> None:
    second = SecondPass(upscaler=upscaler, scale=2.0, strength=0.6)
    settings: dict[str, Any] = {
        "scheduler": SchedulerName.EULER_ANCESTRAL,
        "second_pass": second,
    }
    both = made(engine, asked(tiny_model, count=2, batch_size=2, **settings))
    (alone,) = made(engine, asked(tiny_model, **(settings | {"seed": 78})))
    assert both[1].shape == (96, 128, 3)
    assert np.abs(both[1].astype(int) - alone).max() <= 1
    assert not np.array_equal(both[0], both[1])


def test_windows_leave_no_seam(tiny_model: Path, engine: TorchEngine) -> None:
    settings = {"scale": 3.0, "strength": 0.5}
    (whole,) = made(engine, asked(tiny_model, second_pass=SecondPass(**settings)))
    windows = SecondPass(**settings, window=64)
    (joined,) = made(engine, asked(tiny_model, second_pass=windows))
    assert joined.shape == whole.shape
    assert not np.array_equal(joined, whole)
    steps = np.abs(np.diff(joined.astype(int), axis=1)).mean(axis=(0, 2))
    assert steps.max() < 3 * np.abs(np.diff(whole.astype(int), axis=1)).mean(axis=(0, 2)).max()


def test_its_steps_are_checked_before_the_first_pass(tiny_model: Path, engine: TorchEngine) -> None:
    request = asked(tiny_model, scheduler=SchedulerName.LCM, second_pass=SecondPass(steps=60))
    seen: list[object] = []
    with pytest.raises(InvalidRequest, match="lcm cannot take 60"):
        seen.extend(engine.generate(request, preview=OFF))
    assert not any(isinstance(event, Step) for event in seen)


def test_it_can_be_watched_at_both_sizes(tiny_model: Path, engine: TorchEngine) -> None:
    watched = PreviewSettings(budget=float("inf"))
    events = list(engine.generate(asked(tiny_model), preview=watched))
    steps = [event for event in events if isinstance(event, Step)]
    assert [event.index for event in steps] == list(range(1, 13))
    seconds = [event.seconds for event in steps]
    assert seconds == sorted(seconds)
    shapes = [preview.pixels.shape for event in steps for preview in event.previews]
    assert set(shapes) == {(6, 8, 3), (9, 12, 3)}
    (image,) = [event for event in events if isinstance(event, ImageReady)]
    np.testing.assert_array_equal(image.pixels, made(engine, asked(tiny_model))[0])
