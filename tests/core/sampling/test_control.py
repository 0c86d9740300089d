"""ControlNets in the engine: when they work, what is kept, what is refused. On a tiny model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from core.engine import TorchEngine
from core.errors import InvalidRequest, ModelMissing
from core.events import Event, ImageReady, Loading, Notice, PreviewSettings, Step
from core.request import (
    ControlUse,
    DeviceName,
    Precision,
    Preprocessor,
    PreviewDecoder,
    SecondPass,
    TextToImage,
)
from core.request_json import from_json, to_json
from core.sampling.control import works_at
from tests.conftest import write_tiny_control

OFF = PreviewSettings(decoder=PreviewDecoder.OFF)


@pytest.fixture(scope="module")
def control(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_control(tmp_path_factory.mktemp("controls") / "lines", tiny_model)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, control: Path) -> TorchEngine:
    return TorchEngine(
        DeviceName.CPU,
        cache=tmp_path_factory.mktemp("cache"),
        find_control=lambda name: control if name == "lines" else None,
    )


@pytest.fixture
def request_of(tiny_model: Path, control: Path, start_picture: Path) -> Any:
    """Make a request of one control; what is not of the request belongs to the control."""

    def make(**changes: Any) -> TextToImage:
        fields = {field.name for field in dataclasses.fields(TextToImage)}
        settings: dict[str, Any] = {
            "model": str(tiny_model),
            "prompts": ("a red circle",),
            "steps": 4,
            "width": 64,
            "height": 64,
        }
        use = ControlUse(
            **{"path": str(control), "image": str(start_picture)}
            | {name: value for name, value in changes.items() if name not in fields}
        )
        own = {name: value for name, value in changes.items() if name in fields}
        return TextToImage(**(settings | {"controls": (use,)} | own))

    return make


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, torch.Tensor]]]:
    """Batch and map of each call of the real ControlNet."""
    seen: list[tuple[int, torch.Tensor]] = []
    forward = diffusers.ControlNetModel.forward

    def noted(net: Any, sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append((len(sample), kwargs["controlnet_cond"]))
        return forward(net, sample, *args, **kwargs)

    monkeypatch.setattr(diffusers.ControlNetModel, "forward", noted)
    return seen


def run(engine: TorchEngine, request: TextToImage) -> list[Event]:
    return list(engine.generate(request, preview=OFF))


def image(engine: TorchEngine, request: TextToImage) -> ImageReady:
    (made,) = [event for event in run(engine, request) if isinstance(event, ImageReady)]
    return made


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [2, 2, 2, 2]),
        ({"guidance_scale": 1.0}, [1, 1, 1, 1]),
        ({"guidance_start": 0.5}, [1, 1, 2, 2]),
        ({"start": 0.25, "end": 0.75}, [2, 2]),
        ({"end": 0.3}, [2]),
        ({"weight": 0.0}, []),
    ],
)
def test_it_is_computed_only_where_it_works(
    changes: dict[str, float],
    expected: list[int],
    engine: TorchEngine,
    request_of: Any,
    calls: list[tuple[int, torch.Tensor]],
) -> None:
    run(engine, request_of(**changes))
    assert [size for size, _ in calls] == expected


def test_a_weight_of_nothing_changes_nothing(engine: TorchEngine, request_of: Any) -> None:
    plain, nothing = image(engine, request_of(controls=())), image(engine, request_of(weight=0.0))
    np.testing.assert_array_equal(plain.pixels, nothing.pixels)
    led = image(engine, request_of())
    assert not np.array_equal(plain.pixels, led.pixels)


def test_a_part_shorter_than_a_step_is_refused(engine: TorchEngine, request_of: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"controls\.end: leaves no whole step"):
        run(engine, request_of(start=0.3, end=0.45))


@pytest.mark.parametrize("calls_of_run", [1, 2, 7, 20, 21])
def test_parts_that_meet_share_no_call(calls_of_run: int) -> None:
    first, second = (
        ControlUse(path="a", image="b", start=start, end=end)
        for start, end in ((0.0, 0.5), (0.5, 1.0))
    )
    both = [
        (works_at(first, i, calls_of_run), works_at(second, i, calls_of_run))
        for i in range(calls_of_run)
    ]
    assert all(both.count(one) == calls_of_run // 2 for one in ((True, False), (False, True)))


def test_the_record_makes_the_same_picture(engine: TorchEngine, request_of: Any) -> None:
    made = image(engine, request_of(preprocessor=Preprocessor.CANNY, low=20, high=40))
    (use,) = made.request.controls
    assert (len(use.sha256), len(use.image_sha256)) == (64, 64)
    again = image(engine, from_json(to_json(made.request)))
    np.testing.assert_array_equal(again.pixels, made.pixels)


def test_a_changed_picture_is_refused(
    engine: TorchEngine, request_of: Any, start_picture: Path
) -> None:
    made = image(engine, request_of(steps=1))
    Image.new("RGB", (96, 80)).save(start_picture)
    with pytest.raises(InvalidRequest, match=r"controls\.image: .*start\.png has changed"):
        run(engine, made.request)


def test_another_net_than_recorded_is_refused(engine: TorchEngine, request_of: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"controls\.path: .*lines has changed"):
        run(engine, request_of(sha256="0" * 64))


def test_it_is_found_by_name_and_kept(tmp_path: Path, control: Path, request_of: Any) -> None:
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path, find_control=lambda _: control)
    request = request_of(path="my lines", steps=1)
    request = dataclasses.replace(request, controls=request.controls * 2)
    loading = Loading(what="the ControlNet lines")
    assert run(engine, request).count(loading) == 1
    assert loading not in run(engine, request)
    # One that no request wants any more gives its memory back.
    run(engine, dataclasses.replace(request, controls=()))
    assert run(engine, request).count(loading) == 1


def test_an_unknown_name_is_told(engine: TorchEngine, request_of: Any) -> None:
    with pytest.raises(ModelMissing, match="no ControlNet 'depth'"):
        run(engine, request_of(path="depth"))


def test_a_stopped_run_leaves_nothing_behind(engine: TorchEngine, request_of: Any) -> None:
    before = image(engine, request_of(controls=()))
    stream = engine.generate(request_of(), preview=OFF)
    assert any(isinstance(next(stream), Step) for _ in range(9))
    stream.close()
    assert not torch.is_inference_mode_enabled()
    after = image(engine, request_of(controls=()))
    np.testing.assert_array_equal(after.pixels, before.pixels)


def test_a_second_pass_follows_too(
    engine: TorchEngine, request_of: Any, calls: list[tuple[int, torch.Tensor]]
) -> None:
    second = SecondPass(scale=1.5, strength=0.5, window=64)
    run(engine, request_of(steps=2, second_pass=second))
    maps = [picture for _, picture in calls]
    assert [tuple(picture.shape) for picture in maps] == [(2, 3, 64, 64)] * (2 + 4)
    # The windows of the larger picture each see their own part of the map.
    top_left, top_right, bottom_left, _ = maps[2:]
    assert not torch.equal(top_left, top_right)
    assert torch.equal(top_left[..., :, 32:], top_right[..., :, :-32])
    assert torch.equal(top_left[..., 32:, :], bottom_left[..., :-32, :])


def test_an_overflow_of_fp16_is_computed_in_fp32(
    tmp_path: Path, tiny_model: Path, request_of: Any
) -> None:
    folder = tmp_path / "loud"
    net = diffusers.ControlNetModel.from_pretrained(
        write_tiny_control(tmp_path / "quiet", tiny_model)
    )
    with torch.no_grad():
        net.controlnet_mid_block.bias.fill_(60000.0)  # times 10 it is more than fp16 can hold
    net.save_pretrained(folder)
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)
    request = request_of(path=str(folder), weight=10.0, precision=Precision.FP16, steps=1)
    first = run(engine, request)
    assert any(isinstance(e, Notice) and "UNet overflowed in fp16" in e.message for e in first)
    pictures = [
        event.pixels
        for events in (first, run(engine, request))
        for event in events
        if isinstance(event, ImageReady)
    ]
    np.testing.assert_array_equal(*pictures)
