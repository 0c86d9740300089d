"""What a job is estimated to need, and the sentence that refuses one that does not fit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from core.errors import OutOfMemory
from core.models.identify import Identity, identify
from core.request import Precision, SecondPass, TextToImage, Tiling
from core.sampling.memory import (
    BIG_UNET,
    LARGEST_BATCH,
    activation_bytes,
    check,
    choose_batch_size,
    choose_tiling,
    weight_bytes,
    window_of,
)

GB = 10**9


@pytest.fixture(scope="module")
def identity(tiny_model: Path) -> Identity:
    return identify(tiny_model)


def asked(**changes: Any) -> TextToImage:
    settings = {"prompts": ("a",), "batch_size": 1, "precision": Precision.FP32}
    return TextToImage(**(settings | changes))


def test_weights_are_counted_in_their_number_format(identity: Identity, tiny_model: Path) -> None:
    files = sum(path.stat().st_size for path in tiny_model.rglob("*.safetensors"))
    full = weight_bytes(identity, Precision.FP32)
    assert 0.8 * files < full <= files  # A file has its header too.
    assert weight_bytes(identity, Precision.FP16) == weight_bytes(identity, Precision.BF16)
    assert weight_bytes(identity, Precision.FP16) == full // 2


def test_the_estimate_is_that_of_stable_diffusion(identity: Identity) -> None:
    stable_diffusion = dataclasses.replace(
        identity, unet_channels=320, vae_channels=128, attention_heads=8, vae_scale=8
    )

    def need(side: int, *, in_full: bool = False) -> int:
        return activation_bytes(
            stable_diffusion, Precision.FP32, width=side, height=side, attention_in_full=in_full
        )

    assert 0.9 * GB < need(512) < 1.3 * GB
    assert need(1024) == 4 * need(512)
    # (H/8 * W/8)^2 numbers a head, twice for guidance.
    assert need(1024, in_full=True) > 2 * 8 * 128**4 * 4


def test_tiles_and_windows_bound_what_a_large_picture_needs(identity: Identity) -> None:
    stable_diffusion = dataclasses.replace(
        identity, unet_channels=320, vae_channels=128, attention_heads=8, vae_scale=8
    )

    def need(**options: Any) -> int:
        size = {"width": 2048, "height": 2048, "attention_in_full": False}
        return activation_bytes(stable_diffusion, Precision.FP32, **(size | options))

    assert need() > 16 * GB
    assert need(tiled=True) < 7 * GB
    assert need(tiled=True, window=512) < 6 * GB
    assert need(tiled=True, window=512, attention_in_full=True) < 6 * GB


def test_the_vae_works_in_tiles_where_the_last_pass_is_large() -> None:
    assert choose_tiling(asked()) is Tiling.OFF
    assert choose_tiling(asked(second_pass=SecondPass(scale=3.0))) is Tiling.ON
    assert choose_tiling(asked(width=2048, height=2048)) is Tiling.ON
    assert choose_tiling(asked(width=2048, height=2048, vae_tiling=Tiling.OFF)) is Tiling.OFF


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
    large = dataclasses.replace(identity, parameters={"unet": BIG_UNET + 1})
    assert choose_batch_size(large, request, one=1, free=GB) == 1


def test_what_fits_is_let_pass() -> None:
    check(GB, 2 * GB, asked())


@pytest.mark.parametrize(
    ("changes", "ways"),
    [
        ({}, "choose a smaller size than 512 x 512, or precision fp16, or close"),
        (
            {"count": 2, "batch_size": 2},
            "choose a batch size of 1, or a smaller size than 512 x 512, or precision fp16, or",
        ),
        ({"precision": Precision.FP16}, "choose a smaller size than 512 x 512, or close"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(changes: dict[str, Any], ways: str) -> None:
    with pytest.raises(OutOfMemory) as caught:
        check(3 * GB, GB, asked(**changes))
    message = str(caught.value)
    assert message.startswith("This needs 2.2 GB more memory than is free; ")
    assert ways in message
    assert message.endswith("other programs.")
