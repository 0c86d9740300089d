"""What a training needs is estimated, and presets choose what fits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from core.errors import InvalidRequest
from core.models.identify import identify
from core.request import Precision
from core.training.config import Method
from core.training.config_parts import OptimiserName, OptimiserSettings, Preset
from core.training.presets import memory_needed, with_preset
from tests.core.training.conftest import training
from tests.fixtures.layouts import write_stripped_folder

HERE = Path("data")


@pytest.fixture(scope="module")
def sd1(tmp_path_factory):
    return identify(write_stripped_folder(tmp_path_factory.mktemp("sd1"), "sd1"))


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory):
    return identify(write_stripped_folder(tmp_path_factory.mktemp("sdxl"), "sdxl"))


def config(method, **changes):
    return training(method, model=HERE, data=HERE, out=HERE, batch_size=1, **changes)


def total(changed, identity):
    return memory_needed(changed, identity).total / 1e9


def test_a_lora_on_stable_diffusion_1_fits_8_gb(sd1):
    chosen = with_preset(Preset.GB_8, config(Method.LORA), sd1)
    assert total(chosen, sd1) < 8 * 0.85
    assert chosen.batch_size >= 1


def test_more_memory_lets_more_pictures_learn_together(sd1):
    sizes = [with_preset(p, config(Method.LORA), sd1) for p in (Preset.GB_8, Preset.GB_24)]
    assert sizes[0].gradient_checkpointing
    assert sizes[1].batch_size >= sizes[0].batch_size
    assert not sizes[1].gradient_checkpointing


def test_what_is_too_much_is_refused_with_what_would_do(sd1, sdxl):
    with pytest.raises(InvalidRequest, match=r"about .* GB .* choose LoRA"):
        with_preset(Preset.GB_8, config(Method.FINETUNE), sd1)
    with pytest.raises(InvalidRequest, match="24gb"):
        with_preset(Preset.GB_24, config(Method.FINETUNE), sdxl)
    assert with_preset(Preset.GB_16, config(Method.LORA), sdxl).batch_size == 1


def test_each_saving_saves(sd1):
    full = config(Method.FINETUNE, ema=0.0)
    frugal = OptimiserSettings(name=OptimiserName.ADAFACTOR)
    lora = config(Method.LORA)
    pairs = [
        (full, dataclasses.replace(full, optimiser=frugal)),
        (dataclasses.replace(full, ema=0.9), full),
        (full, lora),
        (lora, dataclasses.replace(lora, precision=Precision.BF16)),
        (lora, dataclasses.replace(lora, gradient_checkpointing=True)),
        (dataclasses.replace(lora, batch_size=2), lora),
        (dataclasses.replace(lora, train_text=True), lora),
        (lora, config(Method.TEXTUAL_INVERSION)),
    ]
    for more, less in pairs:
        assert total(more, sd1) > total(less, sd1)


def test_a_larger_preset_takes_back_what_a_smaller_one_saved(sd1):
    full = config(Method.FINETUNE, ema=0.0)
    small = with_preset(Preset.GB_16, full, sd1)
    assert (small.gradient_checkpointing, small.optimiser.name) == (True, OptimiserName.ADAFACTOR)
    large = with_preset(Preset.GB_24, config(Method.LORA), sd1)
    again = with_preset(
        Preset.GB_24, dataclasses.replace(config(Method.LORA), **_saved(small)), sd1
    )
    assert again == large
    assert (again.gradient_checkpointing, again.precision) == (False, Precision.AUTO)
    assert again.optimiser.name is OptimiserName.ADAMW


def _saved(small):
    names = ("batch_size", "gradient_checkpointing", "precision", "optimiser")
    return {name: getattr(small, name) for name in names}


def test_a_preset_chooses_what_the_device_computes_in(sd1):
    full = config(Method.FINETUNE, ema=0.0)
    assert with_preset(Preset.GB_16, full, sd1).precision is Precision.BF16
    older = with_preset(Preset.GB_16, full, sd1, auto=Precision.FP16, half=Precision.FP16)
    assert older.precision is Precision.FP16


def test_what_a_device_chooses_by_itself_counts(sd1):
    lora = config(Method.LORA)
    halves = memory_needed(lora, sd1, auto=Precision.BF16).total
    assert halves == memory_needed(dataclasses.replace(lora, precision=Precision.BF16), sd1).total
    assert halves < memory_needed(lora, sd1).total


def test_a_factor_of_prodigy_is_no_rate_of_another(sd1):
    prodigy = OptimiserSettings(name=OptimiserName.PRODIGY, learning_rate=1.0)
    chosen = with_preset(Preset.GB_16, config(Method.FINETUNE, ema=0.0, optimiser=prodigy), sd1)
    assert chosen.optimiser == OptimiserSettings(name=OptimiserName.ADAFACTOR)


def test_the_rest_of_the_settings_stays(sd1):
    before = config(Method.LORA, seed=77)
    after = with_preset(Preset.GB_8, before, sd1)
    same = {"batch_size": 1, "gradient_checkpointing": False, "precision": before.precision}
    assert dataclasses.replace(after, optimiser=before.optimiser, **same) == before
