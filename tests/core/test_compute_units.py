from __future__ import annotations

import pytest

from core.compute_units import (
    ComputeUnits,
    check_units,
    unit_of,
    units_of,
    units_text,
    usual_units,
)
from core.coreml_folder import Layout
from core.errors import InvalidRequest

ANE, GPU, CPU = ComputeUnits.CPU_ANE, ComputeUnits.CPU_GPU, ComputeUnits.CPU
PARTS = ("TextEncoder", "Unet", "VAEDecoder")
ON_GPU, ON_ANE = dict.fromkeys(PARTS, GPU), dict.fromkeys(PARTS, ANE)


@pytest.mark.parametrize(
    ("layout", "is_xl", "machine", "units"),
    [
        (Layout.SPLIT_EINSUM, False, "arm64", ANE),
        (Layout.ORIGINAL, False, "arm64", GPU),
        (Layout.SPLIT_EINSUM, True, "arm64", GPU),
        (Layout.ORIGINAL, False, "x86_64", CPU),
    ],
)
def test_the_usual_units_are_those_that_apple_recommends(layout, is_xl, machine, units):
    assert usual_units(layout, is_xl=is_xl, machine=machine) is units


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("auto", (GPU, GPU, GPU)),
        ("all", (ComputeUnits.ALL,) * 3),
        ("Unet=cpu-ane", (GPU, ANE, GPU)),
        ("cpu, Unet=cpu-ane,VAEDecoder=auto", (CPU, ANE, GPU)),
    ],
)
def test_units_for_all_parts_or_some(text, units):
    check_units(text)
    chosen = units_of(text, ON_GPU)
    assert tuple(chosen[part] for part in PARTS) == units
    assert units_of(units_text(chosen), ON_ANE) == chosen


def test_units_of_one_part():
    assert unit_of("cpu, Unet=cpu-ane", "Unet", GPU) is ANE
    assert unit_of("cpu, Unet=cpu-ane", "VAEDecoder", GPU) is CPU
    assert unit_of("Unet=cpu-ane", "VAEDecoder", GPU) is GPU


def test_units_that_all_parts_share_are_written_once():
    assert units_text(units_of("auto", ON_ANE)) == "cpu-ane"


@pytest.mark.parametrize("text", ["gpu", "", "Unet", "Unet=gpu", "unet=cpu", "cpu-ane,", 3])
def test_other_texts_are_refused(text):
    with pytest.raises(InvalidRequest, match="compute_units"):
        check_units(text)


def test_a_part_that_the_model_does_not_have_is_refused():
    with pytest.raises(InvalidRequest, match="TextEncoder2 is no part of this model"):
        units_of("TextEncoder2=cpu", ON_GPU)
