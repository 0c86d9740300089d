"""Pictures of one batch with seeds, guidance and negative prompts of their own."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.engine import TorchEngine
from core.events import ImageReady, PreviewSettings, Step
from core.images.infotext import parse_infotext, write_infotext
from core.request import DeviceName, PreviewDecoder, TextToImage

OFF = PreviewSettings(decoder=PreviewDecoder.OFF)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> TorchEngine:
    return TorchEngine(DeviceName.CPU, cache=tmp_path_factory.mktemp("cache"))


def made(
    engine: TorchEngine, request: TextToImage
) -> tuple[list[ImageReady], set[tuple[int, ...]]]:
    """Give a request's pictures, and which were denoised together."""
    with closing(engine.generate(request, preview=OFF)) as stream:
        events = list(stream)
    batches = {event.pictures for event in events if isinstance(event, Step)}
    images = [event for event in events if isinstance(event, ImageReady)]
    return sorted(images, key=lambda image: image.picture), batches


def own(model: Path, **changes: Any) -> TextToImage:
    settings: dict[str, Any] = {
        "model": str(model),
        "prompts": ("a red circle", "a blue square", "a red circle"),
        "negative_prompts": ("", "fog", "a cat"),
        "guidance_scale": 2.0,
        "guidance_scales": (2.0, 7.5, 30.0),
        "seeds": (0, 9, 9),
        "steps": 3,
        "width": 32,
        "height": 32,
    }
    return TextToImage(**settings | changes)


# SDXL's empty negative prompt is zeros, unlike any other of the batch.
@pytest.mark.parametrize("family", ["tiny_model", "tiny_xl_model"])
@pytest.mark.parametrize("rescale", [0.0, 0.7])
def test_each_picture_of_a_batch_is_what_it_is_alone(
    engine: TorchEngine, family: str, rescale: float, request: pytest.FixtureRequest
) -> None:
    asked = own(request.getfixturevalue(family), guidance_rescale=rescale)
    images, batches = made(engine, asked)
    assert batches == {(0, 1, 2)}
    for image in images:
        (alone,), _ = made(engine, asked.alone(image.picture))
        assert alone.seed == image.seed
        assert np.abs(alone.pixels.astype(int) - image.pixels).max() <= 1
    assert np.abs(images[0].pixels.astype(int) - images[2].pixels).max() > 1


def test_pictures_with_guidance_and_without_are_made_one_after_the_other(
    engine: TorchEngine, tiny_model: Path
) -> None:
    asked = own(tiny_model, guidance_scales=(2.0, 1.0, 3.0))
    images, batches = made(engine, asked)
    assert batches == {(0,), (1,), (2,)}
    (alone,), _ = made(engine, asked.alone(1))
    np.testing.assert_array_equal(alone.pixels, images[1].pixels)


def test_a_longer_negative_prompt_of_another_picture_changes_nothing(
    engine: TorchEngine, tiny_model: Path
) -> None:
    asked = own(tiny_model, negative_prompts=("", "fog " * 100, ""))
    images, batches = made(engine, asked)
    assert batches == {(0,), (1,), (2,)}
    (alone,), _ = made(engine, dataclasses.replace(asked.alone(0), batch_size=1))
    np.testing.assert_array_equal(alone.pixels, images[0].pixels)


def test_each_picture_says_its_own_settings(engine: TorchEngine, tiny_model: Path) -> None:
    (_, image, _), _ = made(engine, own(tiny_model))
    said = parse_infotext(write_infotext(image))
    assert (said.prompt, said.negative_prompt) == ("a blue square", "fog")
    assert (said.parameters["CFG scale"], said.parameters["Seed"]) == ("7.5", "9")


def test_a_choice_in_the_negative_prompt_is_drawn_by_each_picture_s_own_seed(
    engine: TorchEngine, tiny_model: Path
) -> None:
    words = "{a|b|c|d|e|f|g}"
    asked = own(tiny_model, negative_prompt=words, negative_prompts=(), seeds=(0, 1, 2))
    images, _ = made(engine, asked)
    drawn = [image.request.negative_of(image.picture) for image in images]
    assert len(set(drawn)) > 1
    for index, word in enumerate(drawn):
        (alone,), _ = made(engine, asked.alone(index))
        assert alone.request.negative_prompt == word
