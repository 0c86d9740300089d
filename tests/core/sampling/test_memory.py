"""What a job is estimated to need, and the sentence that refuses one that does not fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from core.errors import OutOfMemory
from core.models.control_file import ControlFile
from core.models.identify import Identity, identify
from core.request import ControlUse, LoraUse, MemoryMode, Precision, SecondPass, TextToImage, Tiling
from core.sampling.memory import (
    BIG_UNET,
    LARGEST_BATCH,
    Room,
    adapter_bytes,
    check,
    choose_batch_size,
    choose_tiling,
    control_bytes,
    fitted,
    lower,
    needed_bytes,
    notice,
    unet_bytes,
    vae_bytes,
    window_of,
)

GB = 10**9


@pytest.fixture(scope="module")
def identity(tiny_model: Path) -> Identity:
    return identify(tiny_model)


def asked(**changes: Any) -> TextToImage:
    settings = {
        "prompts": ("a",),
        "batch_size": 1,
        "precision": Precision.FP32,
        "memory": MemoryMode.FULL,
    }
    return TextToImage(**(settings | changes))


@pytest.fixture(scope="module")
def stable_diffusion(identity: Identity) -> Identity:
    """The sizes of Stable Diffusion 1.5."""
    return dataclasses.replace(
        identity,
        unet_channels=320,
        vae_channels=128,
        attention_heads=(8, 8, 8, 0),
        vae_scale=8,
        parameters={"unet": 860_000_000, "text_encoder": 123_000_000, "vae": 84_000_000},
    )


def test_weights_are_counted_in_their_number_format(identity: Identity, tiny_model: Path) -> None:
    files = sum(path.stat().st_size for path in tiny_model.rglob("*.safetensors"))
    weights = {}
    for precision in Precision:
        if precision is not Precision.AUTO:
            request = asked(precision=precision)
            working = max(unet_bytes(identity, request), vae_bytes(identity, request))
            weights[precision] = needed_bytes(identity, request) - working
    assert 0.8 * files < weights[Precision.FP32] <= files  # A file has its header too.
    assert weights[Precision.FP16] == weights[Precision.BF16] == weights[Precision.FP32] // 2


def test_the_estimate_is_that_of_stable_diffusion(stable_diffusion: Identity) -> None:
    def need(side: int, *, in_full: bool = False) -> int:
        request = asked(width=side, height=side, vae_tiling=Tiling.OFF)
        unet = unet_bytes(stable_diffusion, request, attention_in_full=in_full)
        return max(unet, vae_bytes(stable_diffusion, request))

    assert 0.9 * GB < need(512) < 1.3 * GB
    assert need(1024) == 4 * need(512)
    # (H/8 * W/8)^2 numbers a head, twice for guidance.
    assert need(1024, in_full=True) > 2 * 8 * 128**4 * 4


def test_attention_is_counted_where_there_is_some(stable_diffusion: Identity) -> None:
    # SDXL's first block, the one at full size, has none.
    sdxl = dataclasses.replace(stable_diffusion, attention_heads=(0, 10, 20))
    request = asked(width=1024, height=1024, precision=Precision.FP16)
    more = unet_bytes(sdxl, request, attention_in_full=True) - unet_bytes(sdxl, request)
    assert more == 2 * 10 * (64 * 64) ** 2 * 2
    without = dataclasses.replace(sdxl, attention_heads=(0, 0, 0))
    assert unet_bytes(without, request, attention_in_full=True) == unet_bytes(without, request)


def test_controlnets_are_counted(stable_diffusion: Identity) -> None:
    file = ControlFile(path=Path("any"), weights={}, config={}, parameters=1000)
    assert control_bytes([], Precision.FP32) == 0
    assert control_bytes([file, file], Precision.FP16) == 4000
    led = asked(controls=(ControlUse(path="any", image="any.png"),))
    assert unet_bytes(stable_diffusion, led) > unet_bytes(stable_diffusion, asked())


def test_tiles_and_windows_bound_what_a_large_picture_needs(stable_diffusion: Identity) -> None:
    def need(*, window: int = 0, in_full: bool = False, **changes: Any) -> int:
        request = asked(width=2048, height=2048, **changes)
        if window:
            second = SecondPass(scale=4.0, window=window)
            request = asked(width=512, height=512, second_pass=second, **changes)
        unet = unet_bytes(stable_diffusion, request, attention_in_full=in_full)
        return max(unet, vae_bytes(stable_diffusion, request))

    assert need() > 16 * GB
    assert need(vae_tiling=Tiling.ON) < 7 * GB
    assert need(vae_tiling=Tiling.ON, window=512) < 6 * GB
    assert need(vae_tiling=Tiling.ON, window=512, in_full=True) < 6 * GB


def test_the_low_mode_needs_the_largest_part_and_not_the_sum(stable_diffusion: Identity) -> None:
    full = needed_bytes(stable_diffusion, asked())
    low = needed_bytes(stable_diffusion, asked(memory=MemoryMode.LOW))
    assert 5.2 * GB < full < 5.6 * GB
    assert 3.5 * GB < low < 3.8 * GB
    two = asked(count=2, batch_size=2)
    assert needed_bytes(stable_diffusion, two) > full + 0.9 * GB
    low_two = dataclasses.replace(two, memory=MemoryMode.LOW)
    assert needed_bytes(stable_diffusion, low_two) < low + 0.3 * GB


def test_the_mode_left_open_is_the_highest_that_fits(stable_diffusion: Identity) -> None:
    open_ = asked(memory=MemoryMode.AUTO, batch_size=0)

    def mode(free: int, **room: int) -> MemoryMode:
        return fitted(open_, stable_diffusion, Room(free=free, **room))[0].memory

    assert mode(8 * GB) is MemoryMode.FULL
    assert mode(5 * GB) is MemoryMode.LOW
    assert mode(5 * GB, held=4 * GB) is MemoryMode.FULL
    with pytest.raises(OutOfMemory, match="precision fp16"):
        mode(3 * GB)
    with pytest.raises(OutOfMemory, match="choose memory low, or a smaller size"):
        fitted(asked(), stable_diffusion, Room(free=5 * GB))


def test_loras_take_memory_too(stable_diffusion: Identity, tmp_path: Path) -> None:
    path = tmp_path / "fox.safetensors"
    save_file({"a.lora_down.weight": torch.zeros(1000, 10, dtype=torch.float16)}, path)
    assert adapter_bytes([path, path], Precision.FP32) == 2 * 1000 * 10 * 4
    request = asked(memory=MemoryMode.AUTO, loras=(LoraUse(path=str(path)),))
    room = Room(free=int(5.7 * GB))
    assert fitted(request, stable_diffusion, room)[0].memory is MemoryMode.FULL
    assert fitted(request, stable_diffusion, room, adapters=GB)[0].memory is MemoryMode.LOW


def test_what_is_settled_stays_so(stable_diffusion: Identity) -> None:
    request = asked(memory=MemoryMode.AUTO, batch_size=0, count=3, width=1024)
    for free in (30 * GB, 5 * GB):
        settled, _ = fitted(request, stable_diffusion, Room(free=free))
        assert Tiling.AUTO is not settled.vae_tiling
        assert fitted(settled, stable_diffusion, Room(free=64 * GB))[0] == settled


def test_the_next_lower_mode(identity: Identity) -> None:
    request = asked(memory=MemoryMode.AUTO, batch_size=4, count=4, width=1024)
    made = fitted(request, identity, Room(free=64 * GB))[0]
    assert (made.memory, made.batch_size) == (MemoryMode.FULL, 4)
    lowest = lower(request, made, identity)
    assert lowest is not None
    assert (lowest.memory, lowest.batch_size) == (MemoryMode.LOW, 1)
    assert lowest.vae_tiling is Tiling.ON
    assert lower(request, lowest, identity) is None
    kept = lower(dataclasses.replace(request, vae_tiling=Tiling.OFF), made, identity)
    assert kept is not None
    assert kept.vae_tiling is Tiling.OFF


def test_a_word_is_said_where_memory_is_short() -> None:
    auto, full, low = (asked(memory=mode) for mode in MemoryMode)
    assert notice(auto, full, GB, 8 * GB) == ""
    assert "7.0 of 8.0 GB" in notice(auto, full, 7 * GB, 8 * GB)
    assert "memory low" in notice(auto, low, GB, 8 * GB)
    assert notice(low, low, GB, 8 * GB) == ""


def test_the_vae_works_in_tiles_where_the_last_pass_is_large() -> None:
    large = {"width": 2048, "height": 2048}
    assert choose_tiling(asked(), 8) is Tiling.OFF
    assert choose_tiling(asked(second_pass=SecondPass(scale=3.0)), 8) is Tiling.ON
    assert choose_tiling(asked(**large), 8) is Tiling.ON
    assert choose_tiling(asked(**large, vae_tiling=Tiling.OFF), 8) is Tiling.OFF
    low = {"memory": MemoryMode.LOW}
    assert choose_tiling(asked(width=640, **low), 8) is Tiling.OFF
    assert choose_tiling(asked(width=648, **low), 8) is Tiling.ON


def test_a_window_is_no_smaller_than_the_first_pass() -> None:
    assert window_of(asked()) == 0
    assert window_of(asked(second_pass=SecondPass())) == 0
    assert window_of(asked(second_pass=SecondPass(window=256))) == 512


def test_a_batch_asked_for_is_taken(identity: Identity) -> None:
    request = asked(count=5, batch_size=4)
    assert choose_batch_size(identity, request, one=GB, free=0) == 4
    few = asked(count=2, batch_size=4)
    assert choose_batch_size(identity, few, one=GB, free=0) == 2


def test_a_batch_left_open_is_what_fits_well(identity: Identity) -> None:
    request = asked(count=100, batch_size=0)
    assert choose_batch_size(identity, request, one=GB, free=6 * GB) == 3
    assert choose_batch_size(identity, request, one=GB, free=0) == 1
    assert choose_batch_size(identity, request, one=1, free=GB) == LARGEST_BATCH
    low = dataclasses.replace(request, memory=MemoryMode.LOW)
    assert choose_batch_size(identity, low, one=1, free=GB) == 1
    large = dataclasses.replace(identity, parameters={"unet": BIG_UNET + 1})
    assert choose_batch_size(large, request, one=1, free=GB) == 1


def test_what_fits_is_let_pass() -> None:
    check(GB, 2 * GB, asked())


@pytest.mark.parametrize(
    ("changes", "ways"),
    [
        ({}, "choose memory low, or a smaller size than 512 x 512, or precision fp16, or close"),
        (
            {"count": 2, "batch_size": 2},
            "choose memory low, or a batch size of 1, or a smaller size than 512 x 512, or",
        ),
        (
            {"precision": Precision.FP16, "memory": MemoryMode.LOW},
            "choose a smaller size than 512 x 512, or close",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(changes: dict[str, Any], ways: str) -> None:
    with pytest.raises(OutOfMemory) as caught:
        check(3 * GB, GB, asked(**changes))
    message = str(caught.value)
    assert message.startswith("This needs 2.2 GB more memory than is free; ")
    assert ways in message
    assert message.endswith("other programs.")
