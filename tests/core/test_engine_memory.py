"""Memory in the engine: the modes, what they may change, and what happens when it runs out."""

from __future__ import annotations

import dataclasses
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from core.engine import TorchEngine
from core.errors import OutOfMemory
from core.events import Event, ImageReady, MemoryEstimate, Notice, PreviewSettings
from core.request import (
    DeviceName,
    LoraUse,
    MemoryMode,
    PreviewDecoder,
    SchedulerName,
    TextToImage,
    Tiling,
)
from core.request_json import from_json, to_json

ROOT = Path(__file__).parents[2]
OFF = PreviewSettings(decoder=PreviewDecoder.OFF)
QUERY = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_v"
TEXT_QUERY = "lora_te_text_model_encoder_layers_0_self_attn_v_proj"


@pytest.fixture
def engine(tmp_path: Path) -> TorchEngine:
    return TorchEngine(DeviceName.CPU, cache=tmp_path / "cache")


@pytest.fixture
def request_of(tiny_model: Path) -> Any:
    def make(**changes: Any) -> TextToImage:
        settings = {"prompts": ("a red circle",), "steps": 2, "width": 64, "height": 64, "seed": 3}
        return TextToImage(model=str(tiny_model), **(settings | changes))

    return make


def run(
    engine: TorchEngine, request: TextToImage, preview: PreviewSettings = OFF, **options: Any
) -> tuple[list[ImageReady], list[Event]]:
    events = list(engine.generate(request, preview=preview, **options))
    return [event for event in events if isinstance(event, ImageReady)], events


def notices(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice)]


def near(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two pictures differ by rounding at most."""
    return int(np.abs(one.astype(int) - other.astype(int)).max()) <= 1


def failing(times: int, then: Callable[..., Any], error: Exception, after: int = 0) -> Any:
    """A forward that raises for want of memory so often, after so many calls."""
    calls = 0

    def forward(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if after < calls <= after + times:
            raise error
        return then(*args, **kwargs)

    return forward


def test_the_low_mode_makes_the_same_picture_but_for_rounding(
    engine: TorchEngine, request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    forward = diffusers.UNet2DConditionModel.forward

    def counted(unet: Any, sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(sample))
        return forward(unet, sample, *args, **kwargs)

    monkeypatch.setattr(diffusers.UNet2DConditionModel, "forward", counted)
    (full,), events = run(engine, request_of())
    assert sizes == [2, 2]
    assert full.request.memory is MemoryMode.FULL
    (estimate,) = [event for event in events if isinstance(event, MemoryEstimate)]
    assert estimate.mode is MemoryMode.FULL
    assert 0 < estimate.needed < estimate.free
    sizes.clear()
    (low,), _ = run(engine, request_of(memory=MemoryMode.LOW))
    assert sizes == [1] * 4
    assert low.request.memory is MemoryMode.LOW
    assert near(low.pixels, full.pixels)
    (again,), _ = run(engine, from_json(to_json(low.request)))
    np.testing.assert_array_equal(again.pixels, low.pixels)
    (back,), _ = run(engine, request_of())
    np.testing.assert_array_equal(back.pixels, full.pixels)


def test_previews_and_loras_work_in_the_low_mode(
    engine: TorchEngine, request_of: Any, tmp_path: Path
) -> None:
    random = torch.Generator().manual_seed(0)
    shapes = {QUERY: (8, 16), TEXT_QUERY: (16, 16)}
    factors = {}
    for stem, (out, width) in shapes.items():
        factors[f"{stem}.lora_down.weight"] = torch.randn(4, width, generator=random)
        factors[f"{stem}.lora_up.weight"] = torch.randn(out, 4, generator=random)
        # DoRA looks at the weights themselves.
        factors[f"{stem}.dora_scale"] = torch.rand(out, 1, generator=random)
    save_file(factors, tmp_path / "fox.safetensors")
    request = request_of(loras=(LoraUse(path=str(tmp_path / "fox.safetensors")),))
    (full,), _ = run(engine, request)
    low_request = dataclasses.replace(request, memory=MemoryMode.LOW)
    fresh = TorchEngine(DeviceName.CPU, cache=tmp_path / "cache")
    (low,), _ = run(fresh, low_request)
    assert near(low.pixels, full.pixels)
    for decoder in (PreviewDecoder.LINEAR, PreviewDecoder.FULL):
        watch = PreviewSettings(decoder=decoder, budget=float("inf"))
        (watched,), _ = run(fresh, low_request, watch)
        np.testing.assert_array_equal(watched.pixels, low.pixels)


def test_a_batch_goes_through_the_vae_one_by_one(
    engine: TorchEngine, request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    decode = diffusers.AutoencoderKL.decode

    def counted(vae: Any, latents: torch.Tensor, **options: Any) -> Any:
        sizes.append(len(latents))
        return decode(vae, latents, **options)

    monkeypatch.setattr(diffusers.AutoencoderKL, "decode", counted)
    run(engine, request_of(count=2, batch_size=2, memory=MemoryMode.LOW))
    assert sizes == [1, 1]
    sizes.clear()
    run(engine, request_of(count=2, batch_size=2))
    assert sizes == [2]


def test_little_memory_is_met_with_the_low_mode_and_said(
    engine: TorchEngine, request_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_of(steps=1)
    (full,), events = run(engine, request)
    (estimate,) = [event for event in events if isinstance(event, MemoryEstimate)]
    assert full.request.memory is MemoryMode.FULL
    reserve = 200_000_000
    monkeypatch.setattr("core.engine.free_memory", lambda device: reserve + estimate.needed - 1)
    fresh = TorchEngine(DeviceName.CPU, cache=tmp_path)
    (low,), events = run(fresh, request)
    assert low.request.memory is MemoryMode.LOW
    assert any("its parts take turns" in notice for notice in notices(events))


def test_a_model_is_warmed_up_as_memory_allows(
    engine: TorchEngine, request_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, events = run(engine, request_of())
    (estimate,) = [event for event in events if isinstance(event, MemoryEstimate)]
    assert engine._loaded is not None
    whole, reserve = engine._loaded.held, 200_000_000
    monkeypatch.setattr("core.engine.free_memory", lambda device: reserve + estimate.needed - 1)
    low = TorchEngine(DeviceName.CPU, cache=tmp_path / "low")
    list(low.warm_up(request_of().model))
    assert low._loaded is not None
    assert 0 < low._loaded.held < whole
    monkeypatch.setattr("core.engine.free_memory", lambda device: 0)
    none = TorchEngine(DeviceName.CPU, cache=tmp_path / "none")
    # What is missing is told when a picture is asked for.
    assert list(none.warm_up(request_of().model)) == []
    assert none._loaded is None


def test_what_runs_out_before_a_picture_is_begun_blames_no_picture(
    engine: TorchEngine, request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = torch.nn.Module.to
    error = torch.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr(diffusers.UNet2DConditionModel, "to", failing(1, to, error))
    with pytest.raises(OutOfMemory, match="while the model was made ready; choose memory low"):
        list(engine.warm_up(request_of().model))
    assert engine._loaded is None


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        MemoryError(),
    ],
    ids=["cuda", "mps", "numpy"],
)
def test_a_job_that_runs_out_is_tried_once_more_in_the_low_mode(
    engine: TorchEngine, request_of: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    request = request_of(count=3, batch_size=2, scheduler=SchedulerName.EULER_ANCESTRAL)
    low = run(engine, dataclasses.replace(request, batch_size=1, memory=MemoryMode.LOW))[0]
    forward = diffusers.UNet2DConditionModel.forward
    # In the second step of the second batch, when two pictures are ready.
    monkeypatch.setattr(
        diffusers.UNet2DConditionModel, "forward", failing(1, forward, error, after=3)
    )
    made, events = run(engine, request)
    assert [image.picture for image in made] == [0, 1, 2]  # None is made twice.
    assert [image.request.memory for image in made] == [
        MemoryMode.FULL, MemoryMode.FULL, MemoryMode.LOW,
    ]  # fmt: skip
    assert len([n for n in notices(events) if "ran out of memory" in n]) == 1
    np.testing.assert_array_equal(made[2].pixels, low[2].pixels)
    assert made[2] == low[2]
    (again,), _ = run(engine, made[2].request, only=2)
    np.testing.assert_array_equal(again.pixels, made[2].pixels)


def test_one_picture_of_a_run_is_tried_once_more_alone(
    engine: TorchEngine, request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = diffusers.AutoencoderKL.decode
    error = torch.OutOfMemoryError("out of memory")
    monkeypatch.setattr(diffusers.AutoencoderKL, "decode", failing(1, decode, error))
    made, events = run(engine, request_of(count=3, batch_size=3), only=1)
    assert [image.picture for image in made] == [1]
    assert made[0].request.memory is MemoryMode.LOW
    assert events[-1].pictures == 1


def test_memory_that_runs_out_while_loading_is_tried_once_more(
    engine: TorchEngine, request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = torch.nn.Module.to
    error = torch.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr(diffusers.UNet2DConditionModel, "to", failing(1, to, error))
    made, _ = run(engine, request_of())
    assert made[0].request.memory is MemoryMode.LOW


@pytest.mark.parametrize("memory", [MemoryMode.FULL, MemoryMode.LOW])
def test_what_runs_out_in_the_lowest_mode_is_one_sentence_and_frees_the_model(
    engine: TorchEngine, request_of: Any, monkeypatch: pytest.MonkeyPatch, memory: MemoryMode
) -> None:
    forward = diffusers.UNet2DConditionModel.forward
    error = torch.OutOfMemoryError("CUDA out of memory")
    tries = 2 if memory is MemoryMode.FULL else 1
    patched = failing(tries, forward, error)
    monkeypatch.setattr(diffusers.UNet2DConditionModel, "forward", patched)
    with pytest.raises(OutOfMemory, match="smaller size"):
        run(engine, request_of(memory=memory, batch_size=1, vae_tiling=Tiling.OFF))
    assert engine._loaded is None
    assert len(run(engine, request_of())[0]) == 1


def test_what_the_allocator_refuses_is_tried_once_more(
    engine: TorchEngine, request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, calls = diffusers.AutoencoderKL.decode, []

    def greedy(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return torch.empty(2**60) if len(calls) == 1 else decode(*args, **kwargs)

    monkeypatch.setattr(diffusers.AutoencoderKL, "decode", greedy)
    made, _ = run(engine, request_of())
    assert made[0].request.memory is MemoryMode.LOW


def test_other_errors_are_not_tried_again(
    engine: TorchEngine, request_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = diffusers.UNet2DConditionModel.forward
    patched = failing(1, forward, RuntimeError("shapes differ"))
    monkeypatch.setattr(diffusers.UNet2DConditionModel, "forward", patched)
    with pytest.raises(RuntimeError, match="shapes differ"):
        run(engine, request_of())


LIMITED = """
import resource, sys
from pathlib import Path
from core.engine import TorchEngine
from core.events import ImageReady, Notice, PreviewSettings
from core.request import DeviceName, PreviewDecoder, TextToImage

model, cache = sys.argv[1:]
engine = TorchEngine(DeviceName.CPU, cache=Path(cache))
off = PreviewSettings(decoder=PreviewDecoder.OFF)
small = TextToImage(model=model, prompts=("red",), steps=1, width=64, height=64)
list(engine.generate(small, preview=off))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
# Refused by the system: half of what a batch of so many takes in the VAE.
resource.setrlimit(resource.RLIMIT_AS, (used + 500_000_000, resource.RLIM_INFINITY))
large = TextToImage(
    model=model, prompts=("red",), steps=1, width=512, height=512, count=48, batch_size=48
)
made = []
for event in engine.generate(large, preview=off):
    if isinstance(event, Notice):
        print(event.message)
    if isinstance(event, ImageReady):
        made.append(event)
        if len(made) == 2:
            break
print(made[0].request.memory, made[0].request.batch_size)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space as Linux has them")
def test_an_allocation_that_the_system_refuses_is_met_with_the_low_mode(
    tiny_model: Path, tmp_path: Path
) -> None:
    assert resource.RLIMIT_AS is not None
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tiny_model), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert first.startswith("The device ran out of memory;")
    assert last == "low 1"
