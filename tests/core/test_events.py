import dataclasses
import pickle

import numpy as np
import pytest

from core.events import (
    Finished,
    ImageReady,
    Loading,
    MemoryEstimate,
    Notice,
    Preview,
    PreviewSettings,
    Saved,
    Step,
)
from core.request import MemoryMode, PreviewDecoder, TextToImage


def ready(value: int = 0, seconds: float = 1.0) -> ImageReady:
    return ImageReady(
        request=TextToImage(prompts=("a",)),
        picture=0,
        seed=0,
        pixels=np.full((8, 8, 3), value, np.uint8),
        seconds=seconds,
        model_sha256="ab" * 32,
        device="cpu",
    )


def preview(value: int = 0) -> Preview:
    pixels = np.full((8, 8, 3), value, np.uint8)
    return Preview(picture=0, pixels=pixels, decoder=PreviewDecoder.LINEAR)


def step(seconds: float = 1.0, value: int = 0) -> Step:
    return Step(
        index=1,
        total=2,
        pictures=(0,),
        total_pictures=1,
        seconds=seconds,
        previews=(preview(value),),
    )


def every_event(tmp_path):
    yield from (Loading(what="x"), step(), ready(), Notice(message="x"))
    yield MemoryEstimate(needed=1, free=2, mode=MemoryMode.FULL)
    yield from (Saved(path=tmp_path, image=ready()), Finished(pictures=1, seconds=1.0))


def test_events_cross_a_process_border(tmp_path):
    for event in every_event(tmp_path):
        assert pickle.loads(pickle.dumps(event)) == event


def test_pixels_cross_a_process_border():
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ready(7))).pixels, ready(7).pixels)


def test_events_cannot_be_changed(tmp_path):
    for event in every_event(tmp_path):
        field = dataclasses.fields(event)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(event, field, None)


def test_events_are_compared_without_times_and_pixels():
    assert step(seconds=1.0, value=1) == step(seconds=2.0, value=2)
    assert ready(1, seconds=1.0) == ready(2, seconds=2.0)


def test_pixels_are_not_printed():
    assert "pixels" not in repr(ready())


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_a_preview_needs_a_budget(budget):
    with pytest.raises(ValueError, match="above 0"):
        PreviewSettings(budget=budget)


def test_a_budget_may_be_endless():
    assert PreviewSettings(budget=float("inf")).budget == float("inf")
