"""A refiner in the engine: what it takes over, what is recorded of it, and what is refused."""

from __future__ import annotations

import dataclasses
import json
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
from core.errors import InvalidRequest, ModelInvalid, ModelMissing
from core.events import (
    Event,
    ImageReady,
    Loading,
    MemoryEstimate,
    Notice,
    PreviewSettings,
    Step,
)
from core.images.infotext import parse_infotext, write_infotext
from core.request import (
    ControlUse,
    DeviceName,
    EmbeddingUse,
    Inpaint,
    MemoryMode,
    PreviewDecoder,
    SchedulerName,
    SecondPass,
    TextToImage,
    Upscale,
)
from core.request_json import from_json, to_json
from tests.conftest import write_tiny_control

OFF = PreviewSettings(decoder=PreviewDecoder.OFF)
BASE, REFINER = 8, 12
"""Channels of the two tiny UNets at full size, by which their calls are told apart."""


@pytest.fixture
def request_of(tiny_xl_model: Path, tiny_refiner: Path) -> Any:
    def make(kind: type[TextToImage] = TextToImage, **changes: Any) -> TextToImage:
        settings = {
            "model": str(tiny_xl_model),
            "refiner": str(tiny_refiner),
            "refiner_start": 0.6,
            "prompts": ("a red circle",),
            "steps": 5,
            "scheduler": SchedulerName.EULER,
            "width": 64,
            "height": 64,
            "seed": 3,
        }
        return kind(**(settings | changes))

    return make


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Which UNet each call was of, and its batch."""
    seen: list[tuple[int, int]] = []
    forward = diffusers.UNet2DConditionModel.forward

    def noted(unet: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append((unet.config["block_out_channels"][0], len(sample)))
        return forward(unet, sample, *args, **kwargs)

    monkeypatch.setattr(diffusers.UNet2DConditionModel, "forward", noted)
    return seen


def run(
    engine: TorchEngine, request: TextToImage, preview: PreviewSettings = OFF
) -> tuple[list[ImageReady], list[Event]]:
    events = list(engine.generate(request, preview=preview))
    return [event for event in events if isinstance(event, ImageReady)], events


def picture(engine: TorchEngine, request: TextToImage) -> np.ndarray:
    (image,), _ = run(engine, request)
    return image.pixels


def test_it_is_recorded_and_repeated(
    engine: TorchEngine, request_of: Any, calls: list[tuple[int, int]], tiny_refiner: Path
) -> None:
    plain = picture(engine, request_of(refiner="", refiner_start=0.8))
    calls.clear()
    (image,), events = run(engine, request_of())
    assert calls == [(BASE, 2)] * 3 + [(REFINER, 2)] * 2
    assert Loading(what="the refiner tiny-refiner") in events
    assert not np.array_equal(image.pixels, plain)
    digits = image.request.refiner_sha256
    assert len(digits) == 64
    pairs = parse_infotext(write_infotext(image)).parameters
    assert (pairs["Refiner"], pairs["Refiner switch at"]) == (
        f"tiny-refiner [{digits[:10]}]",
        "0.6",
    )
    (again,), events = run(engine, from_json(to_json(image.request)))
    assert not any(isinstance(event, Loading) for event in events)
    np.testing.assert_array_equal(again.pixels, image.pixels)
    # Without it the model is the same as ever, and the refiner's memory is given back.
    held = engine._loaded.held
    np.testing.assert_array_equal(picture(engine, request_of(refiner="", refiner_start=0.8)), plain)
    assert engine._loaded.held < held


def test_steps_and_previews_go_on_through_it(engine: TorchEngine, request_of: Any) -> None:
    watch = PreviewSettings(decoder=PreviewDecoder.LINEAR, budget=float("inf"))
    for pass_, total in ((None, 5), (SecondPass(scale=1.5, strength=0.6), 8)):
        request = request_of(second_pass=pass_)
        (image,), events = run(engine, request, watch)
        steps = [event for event in events if isinstance(event, Step)]
        assert [(step.index, step.total) for step in steps] == [
            (index, total) for index in range(1, total + 1)
        ]
        assert all(step.previews for step in steps)
        np.testing.assert_array_equal(picture(engine, request), image.pixels)


def test_it_can_be_stopped_while_it_works(engine: TorchEngine, request_of: Any) -> None:
    events = engine.generate(request_of(), preview=OFF)
    next(event for event in events if isinstance(event, Step) and event.index == 4)
    events.close()
    assert len(run(engine, request_of())[0]) == 1


@pytest.mark.parametrize("one_at_a_time", [False, True])
def test_in_the_low_mode_the_models_take_turns(
    one_at_a_time: bool,
    tmp_path: Path,
    engine: TorchEngine,
    request_of: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether the refiner comes to a model that takes turns already, or turns begin with both."""
    expected = picture(engine, request_of())
    fresh = TorchEngine(DeviceName.CPU, cache=tmp_path)
    low = request_of(memory=MemoryMode.LOW)
    run(fresh, low if one_at_a_time else request_of())
    inside: list[set[str]] = []
    forward = diffusers.UNet2DConditionModel.forward

    def noted(unet: Any, *args: Any, **kwargs: Any) -> Any:
        parts = fresh._loaded.components.residence._parts
        inside.append({name for name, part in parts.items() if part.is_in})
        return forward(unet, *args, **kwargs)

    monkeypatch.setattr(diffusers.UNet2DConditionModel, "forward", noted)
    got = picture(fresh, low)
    assert np.abs(got.astype(int) - expected.astype(int)).max() <= 1
    assert inside == [{"unet"}] * 6 + [{"refiner.unet"}] * 4


def test_memory_is_counted_with_it(engine: TorchEngine, request_of: Any) -> None:
    def needed(**changes: Any) -> int:
        fresh = TorchEngine(DeviceName.CPU, cache=engine._cache)
        _, events = run(fresh, request_of(**changes))
        (estimate,) = [event for event in events if isinstance(event, MemoryEstimate)]
        return estimate.needed

    alone = {"refiner": "", "refiner_start": 0.8}
    # Its UNet and its text encoder, in fp32; its VAE is not loaded.
    refiner = TorchEngine(DeviceName.CPU, cache=engine._cache)
    run(refiner, request_of())
    parts = refiner._loaded.components.residence._parts
    weights = sum(part.lodger.size for name, part in parts.items() if name.startswith("refiner."))
    assert not {"refiner.vae"} & parts.keys()
    assert 0 <= needed() - needed(**alone) - weights < 0.1 * weights + 10**6
    low = {"memory": MemoryMode.LOW}
    assert needed(**low) < needed(**alone) + weights


def test_a_run_that_is_out_of_memory_goes_on_in_the_low_mode(
    tmp_path: Path, request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = diffusers.UNet2DConditionModel.forward
    failed = []

    def short(unet: Any, *args: Any, **kwargs: Any) -> Any:
        if unet.config["block_out_channels"][0] == REFINER and not failed:
            failed.append(unet)
            raise RuntimeError("DefaultCPUAllocator: not enough memory")
        return forward(unet, *args, **kwargs)

    monkeypatch.setattr(diffusers.UNet2DConditionModel, "forward", short)
    (image,), _ = run(TorchEngine(DeviceName.CPU, cache=tmp_path), request_of())
    assert failed
    assert image.request.memory is MemoryMode.LOW


def test_windows_and_masks_go_with_it(
    engine: TorchEngine,
    request_of: Any,
    start_picture: Path,
    tmp_path: Path,
    calls: list[tuple[int, int]],
) -> None:
    mask = np.zeros((80, 96), np.uint8)
    mask[20:60, 30:70] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    start = {"init_image": str(start_picture), "width": 96, "height": 80}
    request = request_of(Inpaint, **start, mask_image=str(tmp_path / "mask.png"), mask_blur=0)
    pixels = picture(engine, request)
    assert (REFINER, 2) in calls
    own = np.asarray(Image.open(start_picture))
    np.testing.assert_array_equal(pixels[mask == 0], own[mask == 0])
    assert not np.array_equal(pixels[mask > 0], own[mask > 0])
    calls.clear()
    picture(engine, request_of(Upscale, **start, window=64, strength=0.9, steps=4))
    windows = {channels: calls.count((channels, 2)) for channels in (BASE, REFINER)}
    assert windows[BASE] > 1
    assert windows[REFINER] > 1
    assert windows[BASE] % 2 == windows[REFINER] % 2 == 0


def test_controls_lead_the_models_own_steps(
    engine: TorchEngine,
    request_of: Any,
    start_picture: Path,
    tmp_path: Path,
    tiny_xl_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    control = write_tiny_control(tmp_path / "lines", tiny_xl_model)
    seen: list[int] = []
    forward = diffusers.ControlNetModel.forward

    def noted(net: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(len(sample))
        return forward(net, sample, *args, **kwargs)

    monkeypatch.setattr(diffusers.ControlNetModel, "forward", noted)
    use = ControlUse(path=str(control), image=str(start_picture))
    _, events = run(engine, request_of(controls=(use,)))
    assert seen == [2] * 3
    assert any("ControlNets work in the model's steps alone" in e.message
               for e in events if isinstance(e, Notice))  # fmt: skip
    seen.clear()
    # Its part is one of the whole run.
    run(engine, request_of(controls=(dataclasses.replace(use, end=0.4),)))
    assert seen == [2] * 2
    with pytest.raises(InvalidRequest, match=r"controls\.end: leaves no whole step"):
        run(engine, request_of(controls=(dataclasses.replace(use, start=0.6),)))


def test_the_words_of_embeddings_are_its_words_too(
    engine: TorchEngine, request_of: Any, tmp_path: Path
) -> None:
    path = tmp_path / "fox.safetensors"
    random = torch.Generator().manual_seed(1)
    pair = {"clip_l": torch.randn(2, 16, generator=random),
            "clip_g": torch.randn(2, 24, generator=random)}  # fmt: skip
    save_file(pair, path)
    settings = {"prompts": ("a fox",), "refiner_start": 0.3}
    known = request_of(**settings, embeddings=(EmbeddingUse(path=str(path), token="fox"),))
    first = picture(engine, known)
    # Texts that were read before the words were known are read again, by both models.
    second = TorchEngine(DeviceName.CPU, cache=engine._cache)
    picture(second, request_of(**settings))
    np.testing.assert_array_equal(picture(second, known), first)
    (_, expert) = engine._loaded.experts
    assert expert.texts.count("fox") == 2


def test_a_refiner_that_has_changed_is_refused(
    engine: TorchEngine, request_of: Any, tiny_refiner: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(tiny_refiner, tmp_path / "refiner"))
    (image,), _ = run(engine, request_of(refiner=str(copy)))
    weights = copy / "unet/diffusion_pytorch_model.safetensors"
    save_file({name: tensor * 1.5 for name, tensor in load_file(weights).items()}, weights)
    with pytest.raises(InvalidRequest, match=r"refiner: .* has changed"):
        run(engine, image.request)
    anew = dataclasses.replace(image.request, refiner_sha256="")
    assert not np.array_equal(picture(engine, anew), image.pixels)


def test_one_that_cannot_be_loaded_leaves_nothing_behind(
    engine: TorchEngine, request_of: Any, tiny_refiner: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(tiny_refiner, tmp_path / "refiner"))
    weights = copy / "text_encoder_2/model.safetensors"
    tensors = load_file(weights)
    name = next(iter(tensors))
    save_file(tensors | {name: tensors[name] * float("nan")}, weights)
    with pytest.raises(ModelInvalid, match="not finite"):
        run(engine, request_of(refiner=str(copy)))
    assert not any(n.startswith("refiner.") for n in engine._loaded.components.residence._parts)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"refiner": "BASE"}, r"is no SDXL refiner \(SDXL model\)"),
        ({"refiner": "CONTROL"}, r"is no SDXL refiner \(ControlNet"),
        ({"model": "SD1"}, "a refiner goes with SDXL base models"),
        ({"model": "REFINER"}, "a refiner goes with SDXL base models"),
        ({"model": "INPAINTING"}, r"\(SDXL inpainting model\) and the refiner"),
        ({"refiner": "OTHER SCALE"}, "scaling factor 0.5 and .* has 0.18215"),
        ({"refiner": "OTHER NOISE"}, "beta end 0.02 and .* has 0.012"),
    ],
)
def test_what_does_not_go_together_is_refused(
    changes: dict[str, str],
    sentence: str,
    engine: TorchEngine,
    request_of: Any,
    tiny_model: Path,
    tiny_xl_model: Path,
    tiny_refiner: Path,
    tmp_path: Path,
    start_picture: Path,
) -> None:
    def edited(source: Path, name: str, **values: Any) -> Path:
        folder = Path(shutil.copytree(source, tmp_path / "edited"))
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
        return folder

    def inpainting() -> Path:
        folder = edited(tiny_xl_model, "unet/config.json", in_channels=9)
        weights = folder / "unet/diffusion_pytorch_model.safetensors"
        tensors = load_file(weights)
        save_file(tensors | {"conv_in.weight": torch.zeros(8, 9, 3, 3)}, weights)
        return folder

    made = {
        "BASE": lambda: tiny_xl_model,
        "SD1": lambda: tiny_model,
        "REFINER": lambda: tiny_refiner,
        "CONTROL": lambda: write_tiny_control(tmp_path / "lines", tiny_xl_model),
        "INPAINTING": inpainting,
        "OTHER SCALE": lambda: edited(tiny_refiner, "vae/config.json", scaling_factor=0.5),
        "OTHER NOISE": lambda: edited(
            tiny_refiner, "scheduler/scheduler_config.json", beta_end=0.02
        ),
    }
    ((name, value),) = changes.items()
    Image.new("L", (96, 80), 255).save(tmp_path / "mask.png")
    request = request_of(
        Inpaint,
        **{name: str(made[value]())},
        init_image=str(start_picture),
        mask_image=str(tmp_path / "mask.png"),
    )
    with pytest.raises(ModelInvalid, match=sentence):
        run(engine, request)


def test_one_that_is_not_there_is_refused(engine: TorchEngine, request_of: Any) -> None:
    with pytest.raises(ModelMissing, match="no model 'nothing'"):
        run(engine, request_of(refiner="nothing"))


@pytest.mark.parametrize(
    ("start", "steps", "sentence"),
    [
        (1.0, 5, "leaves no step to the refiner; lower it"),
        (0.95, 4, "leaves no step to the refiner"),
        (0.0, 5, "leaves no step to the model; raise it"),
    ],
)
def test_a_start_that_leaves_one_of_them_nothing_is_refused(
    start: float, steps: int, sentence: str, engine: TorchEngine, request_of: Any
) -> None:
    request = request_of(
        refiner_start=start, steps=steps, scheduler=SchedulerName.DPMPP_2M, width=32, height=32
    )
    with pytest.raises(InvalidRequest, match=f"refiner_start: {start:g} {sentence}"):
        run(engine, request)
