"""The engine's promises: events, cancelling, repeating, guards. On a tiny model, on the CPU."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from core.engine import TorchEngine
from core.errors import InvalidRequest, ModelInvalid, ModelMissing, OutOfMemory, Unsupported
from core.events import (
    Event,
    Finished,
    ImageReady,
    Loading,
    MemoryEstimate,
    Notice,
    PreviewSettings,
    Step,
)
from core.models.load import load
from core.request import (
    DeviceName,
    ImageToImage,
    Precision,
    PreviewDecoder,
    SchedulerName,
    TextToImage,
)

OFF = PreviewSettings(decoder=PreviewDecoder.OFF)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> TorchEngine:
    return TorchEngine(DeviceName.CPU, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def request_of(tiny_model: Path) -> Any:
    def make(**changes: Any) -> TextToImage:
        settings = {
            "model": str(tiny_model),
            "prompts": ("a red circle",),
            "steps": 4,
            "width": 64,
            "height": 64,
        }
        return TextToImage(**(settings | changes))

    return make


@pytest.fixture
def unet_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The batch size of each call of the real UNet."""
    sizes: list[int] = []
    forward = diffusers.UNet2DConditionModel.forward

    def counted(unet: Any, sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(sample))
        return forward(unet, sample, *args, **kwargs)

    monkeypatch.setattr(diffusers.UNet2DConditionModel, "forward", counted)
    return sizes


def images(events: list[Event]) -> list[ImageReady]:
    return [event for event in events if isinstance(event, ImageReady)]


def test_the_events_of_a_run(tiny_model: Path, tmp_path: Path, request_of: Any) -> None:
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)
    request = request_of(prompts=("a red circle", "a blue square"), count=2, seed=5, batch_size=3)
    events = list(engine.generate(request, preview=PreviewSettings(budget=float("inf"))))
    kinds = [type(event) for event in events]
    assert kinds == [Loading, MemoryEstimate, Loading] + ([Step] * 4 + [ImageReady] * 3) + (
        [Step] * 4 + [ImageReady]
    ) + [Finished]
    assert events[0] == Loading(what=f"the model {tiny_model}")
    assert [event.index for event in events if isinstance(event, Step)] == [1, 2, 3, 4] * 2
    first = next(event for event in events if isinstance(event, Step))
    assert (first.pictures, first.total_pictures, first.total) == ((0, 1, 2), 4, 4)
    assert [preview.pixels.shape for preview in first.previews] == [(8, 8, 3)] * 3
    made = images(events)
    assert [(image.picture, image.seed) for image in made] == [(0, 5), (1, 6), (2, 7), (3, 8)]
    assert made[0].request.precision is Precision.FP32
    assert made[0].pixels.shape == (64, 64, 3)
    assert made[0].pixels.flags.c_contiguous
    assert len(made[0].model_sha256) == 64
    assert made[0].device == "cpu"
    assert events[-1] == Finished(pictures=4, seconds=0)


def test_the_model_stays_loaded(engine: TorchEngine, request_of: Any) -> None:
    list(engine.generate(request_of(), preview=OFF))
    events = list(engine.generate(request_of(seed=3), preview=OFF))
    assert not any(isinstance(event, Loading) for event in events)


def test_a_resolved_request_repeats_itself(engine: TorchEngine, request_of: Any) -> None:
    first = images(list(engine.generate(request_of(count=3), preview=OFF)))
    again = images(list(engine.generate(first[0].request, preview=OFF)))
    assert again[0].request == first[0].request
    assert first[0].request.batch_size == 3
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("only", range(5))
def test_one_picture_of_a_run_again(engine: TorchEngine, request_of: Any, only: int) -> None:
    request = request_of(count=5, batch_size=2, scheduler=SchedulerName.EULER_ANCESTRAL)
    whole = images(list(engine.generate(request, preview=OFF)))
    events = list(engine.generate(request, preview=OFF, only=only))
    (again,) = images(events)
    assert again == dataclasses.replace(whole[only], pixels=again.pixels)
    np.testing.assert_array_equal(again.pixels, whole[only].pixels)
    assert events[-1] == Finished(pictures=1, seconds=0)


def test_only_must_be_a_picture(engine: TorchEngine, request_of: Any) -> None:
    with pytest.raises(InvalidRequest, match="only"):
        list(engine.generate(request_of(), preview=OFF, only=1))


def test_pictures_differ_by_seed_and_prompt(engine: TorchEngine, request_of: Any) -> None:
    request = request_of(prompts=("a red circle", "the moon"), count=2)
    pixels = [image.pixels for image in images(list(engine.generate(request, preview=OFF)))]
    for i, one in enumerate(pixels):
        assert not any(np.array_equal(one, other) for other in pixels[i + 1 :])


@pytest.mark.parametrize("scheduler", SchedulerName)
def test_every_scheduler_counts_the_steps_asked_for(
    engine: TorchEngine, request_of: Any, scheduler: SchedulerName, start_picture: Path
) -> None:
    for steps in (1, 2, 7):
        events = list(engine.generate(request_of(steps=steps, scheduler=scheduler), preview=OFF))
        steps_seen = [event for event in events if isinstance(event, Step)]
        assert [event.index for event in steps_seen] == list(range(1, steps + 1))
        assert {event.total for event in steps_seen} == {steps}
    settings = dataclasses.asdict(request_of(steps=10, scheduler=scheduler))
    partial = ImageToImage(**settings, init_image=str(start_picture), strength=0.5)
    events = list(engine.generate(partial, preview=OFF))
    assert [event.index for event in events if isinstance(event, Step)] == [1, 2, 3, 4, 5]


def test_cancel_in_the_middle_and_go_on(engine: TorchEngine, request_of: Any) -> None:
    whole = images(list(engine.generate(request_of(), preview=OFF)))
    stream = engine.generate(request_of(), preview=OFF)
    assert any(isinstance(next(stream), Step) for _ in range(3))
    stream.close()
    assert not torch.is_inference_mode_enabled()
    again = images(list(engine.generate(request_of(), preview=OFF)))
    np.testing.assert_array_equal(again[0].pixels, whole[0].pixels)


def test_close_while_loading(tmp_path: Path, request_of: Any) -> None:
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)
    stream = engine.generate(request_of(), preview=OFF)
    assert isinstance(next(stream), Loading)
    stream.close()
    assert images(list(engine.generate(request_of(), preview=OFF)))


def test_inference_mode_does_not_leak(engine: TorchEngine, request_of: Any) -> None:
    for _ in engine.generate(request_of(), preview=PreviewSettings()):
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()


def test_warm_up_loads_what_generate_uses(tmp_path: Path, request_of: Any) -> None:
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)
    events = list(engine.warm_up(request_of().model))
    assert [type(event) for event in events] == [Loading, Loading]
    events = list(engine.generate(request_of(), preview=PreviewSettings()))
    assert not any(isinstance(event, Loading) for event in events)


def test_prompts_are_encoded_once(
    tmp_path: Path, request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.sampling import text

    encoded: list[str] = []
    encode = text._encode

    def noted(components: Any, chunk: Any, vectors: Any) -> torch.Tensor:
        encoded.append(components.tokenizer.decode([token.number for token in chunk]).strip())
        return encode(components, chunk, vectors)

    monkeypatch.setattr(text, "_encode", noted)
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)
    request = request_of(prompts=("red", "blue"), count=2, batch_size=1, negative_prompt="moon")
    for _ in range(2):
        list(engine.generate(request, preview=OFF))
    assert sorted(encoded) == ["blue", "moon", "red"]


def test_prompts_of_any_length_do_not_change_their_neighbours(
    engine: TorchEngine, request_of: Any, unet_batches: list[int]
) -> None:
    prompts = ("red", "blue", "red " * 76)
    request = request_of(prompts=prompts, steps=1, guidance_scale=1.0, batch_size=3)
    made = images(list(engine.generate(request, preview=OFF)))
    assert unet_batches == [2, 1]  # Those of one length together.
    pair = images(list(engine.generate(request_of(**{
        "prompts": prompts[:2], "steps": 1, "guidance_scale": 1.0, "batch_size": 2
    }), preview=OFF)))  # fmt: skip
    np.testing.assert_array_equal(made[1].pixels, pair[1].pixels)
    (last,) = images(list(engine.generate(request, preview=OFF, only=2)))
    np.testing.assert_array_equal(last.pixels, made[2].pixels)


def test_a_long_negative_prompt_is_taken_whole(engine: TorchEngine, request_of: Any) -> None:
    long, longer = "blue " * 76, "blue " * 76 + "moon"
    one, other = (
        images(list(engine.generate(request_of(negative_prompt=text), preview=OFF)))[0].pixels
        for text in (long, longer)
    )
    assert not np.array_equal(one, other)


def test_the_choice_among_options_is_recorded(engine: TorchEngine, request_of: Any) -> None:
    request = request_of(prompts=("a {red|blue} {circle|square}",), count=4, seed=1)
    made = images(list(engine.generate(request, preview=OFF)))
    resolved = made[0].request
    assert resolved.count == 1
    assert len(set(resolved.prompts)) > 1
    assert not any("{" in prompt for prompt in resolved.prompts)
    again = images(list(engine.generate(resolved, preview=OFF)))
    assert [image.seed for image in again] == [1, 2, 3, 4]
    for one, other in zip(made, again, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"guidance_scale": 7.5}, [4] * 4),
        ({"guidance_scale": 1.0}, [2] * 4),
        ({"guidance_scale": 0.0}, [2] * 4),
        ({"guidance_start": 0.25, "guidance_end": 0.75}, [2, 4, 4, 2]),
        ({"guidance_start": 0.5, "guidance_end": 0.5}, [2] * 4),
    ],
)
def test_guidance_costs_only_where_it_applies(
    engine: TorchEngine,
    request_of: Any,
    unet_batches: list[int],
    changes: dict[str, float],
    expected: list[int],
) -> None:
    list(engine.generate(request_of(count=2, **changes), preview=OFF))
    assert unet_batches == expected


def test_an_interval_of_the_whole_run_changes_nothing(engine: TorchEngine, request_of: Any) -> None:
    plain = images(list(engine.generate(request_of(), preview=OFF)))[0].pixels
    whole = request_of(guidance_start=0.0, guidance_end=1.0)
    part = request_of(guidance_end=0.5)
    np.testing.assert_array_equal(
        images(list(engine.generate(whole, preview=OFF)))[0].pixels, plain
    )
    assert not np.array_equal(images(list(engine.generate(part, preview=OFF)))[0].pixels, plain)


def test_a_changed_start_picture_is_refused(
    engine: TorchEngine, request_of: Any, start_picture: Path
) -> None:
    request = ImageToImage(**dataclasses.asdict(request_of()), init_image=str(start_picture))
    (image,) = images(list(engine.generate(request, preview=OFF)))
    resolved = image.request
    assert isinstance(resolved, ImageToImage)
    assert len(resolved.init_sha256) == 64
    (again,) = images(list(engine.generate(resolved, preview=OFF)))
    np.testing.assert_array_equal(again.pixels, image.pixels)
    Image.new("RGB", (96, 80)).save(start_picture)
    with pytest.raises(InvalidRequest, match="has changed"):
        list(engine.generate(resolved, preview=OFF))


def test_errors_name_the_setting(engine: TorchEngine, request_of: Any) -> None:
    def fails(error: type[Exception], match: str, **changes: Any) -> None:
        with pytest.raises(error, match=match):
            list(engine.generate(request_of(**changes), preview=OFF))

    fails(ModelMissing, "no model 'nonsense'", model="nonsense")
    fails(InvalidRequest, "steps: lcm cannot take 60", steps=60, scheduler=SchedulerName.LCM)
    fails(InvalidRequest, "steps: .* tell apart", steps=1000, scheduler=SchedulerName.DPMPP_2M)
    if not torch.cuda.is_available():
        with pytest.raises(Unsupported, match="no CUDA"):
            list(TorchEngine(DeviceName.CUDA).generate(request_of(), preview=OFF))
    tiny = PreviewSettings(decoder=PreviewDecoder.TINY)
    with pytest.raises(Unsupported, match="taesd"):
        list(engine.generate(request_of(), preview=tiny))


def test_too_little_memory_is_said_before_it_starts(
    tmp_path: Path, request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.engine.free_memory", lambda device: 250_000_000)
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)
    with pytest.raises(OutOfMemory, match="smaller size than 2048 x 2048, or precision fp16"):
        list(engine.generate(request_of(width=2048, height=2048), preview=OFF))
    assert images(list(engine.generate(request_of(), preview=OFF)))


def test_memory_that_runs_out_while_loading_is_no_damaged_file(
    tmp_path: Path, request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        diffusers.UNet2DConditionModel, "from_config", lambda *a, **k: torch.empty(2**60)
    )
    with pytest.raises(OutOfMemory):
        list(TorchEngine(DeviceName.CPU, cache=tmp_path).generate(request_of(), preview=OFF))


def test_memory_that_runs_out_is_translated(
    engine: TorchEngine, request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> Any:
        return torch.empty(2**60)

    monkeypatch.setattr(diffusers.AutoencoderKL, "decode", full)
    with pytest.raises(OutOfMemory, match="smaller size"):
        list(engine.generate(request_of(), preview=OFF))


def set_last_norm(value: float, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """Load the model with the last norm of a part biased to ``value``, and summed after it."""

    def changed(*args: Any, **kwargs: Any) -> Any:
        components = load(*args, **kwargs)
        module = components.unet if part == "unet" else components.vae.decoder
        with torch.no_grad():
            module.conv_norm_out.bias.fill_(value)
            module.conv_out.weight.fill_(0.1)
        return components

    monkeypatch.setattr("core.engine.load", changed)


@pytest.mark.parametrize(("part", "name"), [("unet", "UNet"), ("vae", "VAE")])
def test_damaged_weights_are_said(
    tmp_path: Path, request_of: Any, monkeypatch: pytest.MonkeyPatch, part: str, name: str
) -> None:
    set_last_norm(float("nan"), monkeypatch, part)
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)
    with pytest.raises(ModelInvalid, match=f"The {name} of .* not finite"):
        list(engine.generate(request_of(precision=Precision.FP16), preview=OFF))


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_an_overflow_of_fp16_is_computed_in_fp32_and_said(
    tmp_path: Path,
    request_of: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    part: str,
) -> None:
    # 60000 fits fp16; multiplied by the next convolution's weights and summed, it does not.
    set_last_norm(60000.0, monkeypatch, part)
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)
    request = request_of(precision=Precision.FP16, count=3, batch_size=2, guidance_scale=1.0)
    events = list(engine.generate(request, preview=OFF))
    assert len(images(events)) == 3
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert len(notices) == len(set(notices))  # Each once, though both batches needed it.
    name = "UNet" if part == "unet" else "VAE"
    assert any(notice.startswith(f"The {name} overflowed in fp16") for notice in notices)
    assert caplog.records == []
    (again,) = images(list(engine.generate(request, preview=OFF, only=2)))
    np.testing.assert_array_equal(again.pixels, images(events)[2].pixels)


def test_an_overflow_while_the_start_picture_is_encoded_is_said(
    tmp_path: Path, request_of: Any, start_picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = diffusers.AutoencoderKL.encode

    def overflowing(vae: Any, pixels: torch.Tensor) -> Any:
        encoded = encode(vae, pixels)
        if pixels.dtype is torch.float16:
            encoded.latent_dist.mean = encoded.latent_dist.mean + float("inf")
        return encoded

    monkeypatch.setattr(diffusers.AutoencoderKL, "encode", overflowing)
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)
    settings = dataclasses.asdict(request_of(precision=Precision.FP16))
    request = ImageToImage(**settings, init_image=str(start_picture))
    events = list(engine.generate(request, preview=OFF))
    (notice,) = [event.message for event in events if isinstance(event, Notice)]
    assert notice.startswith("The VAE overflowed in fp16")


def test_a_scheduler_changed_in_the_folder_is_taken(tiny_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)
    request = TextToImage(model=str(folder), prompts=("red",), steps=3, width=64, height=64)
    (before,) = images(list(engine.generate(request, preview=OFF)))
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"beta_end": 0.02}))
    (after,) = images(list(engine.generate(request, preview=OFF)))
    assert not np.array_equal(before.pixels, after.pixels)


def test_nothing_comes_between_the_last_step_and_the_pictures_of_a_batch(
    tmp_path: Path, request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_last_norm(60000.0, monkeypatch, "unet")
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)
    request = request_of(
        precision=Precision.FP16, steps=1, count=3, batch_size=2, guidance_scale=1.0
    )
    events = list(engine.generate(request, preview=OFF))
    assert any(isinstance(event, Notice) for event in events)
    begin = next(number for number, event in enumerate(events) if isinstance(event, Step))
    assert [type(event) for event in events[begin : begin + 3]] == [Step, ImageReady, ImageReady]
    assert [image.left for image in images(events)] == [1, 0, 0]
    (one,) = images(list(engine.generate(request, preview=OFF, only=0)))
    assert one.left == 0
