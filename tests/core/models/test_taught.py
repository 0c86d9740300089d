"""What names of few steps bring to a request, and that a person may know better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.commands.task import Task, new_task
from core.models.identify import identify
from core.models.safetensors_header import TensorInfo
from core.models.taught import lora_teaching, model_teaching
from core.paths import Profile
from core.request import LoraUse, SchedulerName, TextToImage
from tests.fixtures.layouts import layout, write_stripped

S = SchedulerName
CONFIG = {"timestep_spacing": "leading"}


def lora(folder: Path, name: str) -> Path:
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    names = {f"{stem}.lora_down.weight": (4, 768), f"{stem}.lora_up.weight": (320, 4)}
    tensors = {name: TensorInfo("F16", shape) for name, shape in names.items()}
    return write_stripped(folder / f"{name}.safetensors", tensors)


def task(profile: Path, model: Path, lora: Path | None = None, **given: Any) -> Task:
    loras = () if lora is None else (LoraUse(path=str(lora)),)
    asked = {"model": str(model), "prompts": ("a",), "seed": 1, "loras": loras}
    return new_task(asked | given, Profile(profile))


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_stripped(tmp_path / "plain.safetensors", layout("sd1-original"))


def test_a_word_that_people_use_for_other_things_changes_nothing(
    tmp_path: Path, plain: Path
) -> None:
    found = task(tmp_path, plain, lora(tmp_path, "lightning_storm_style"))
    assert (found.request.steps, found.request.guidance_scale) == (25, 7.5)
    assert (found.request.scheduler, found.notices) == (S.PNDM, ())


def test_what_a_loras_name_decides_is_said(tmp_path: Path, plain: Path) -> None:
    file = lora(tmp_path, "sd_lightning_4step")
    found = task(tmp_path, plain, file)
    assert (found.request.steps, found.request.guidance_scale) == (4, 1.0)
    assert found.notices == (
        "sd_lightning_4step.safetensors is taken for a Lightning LoRA by its name: 4 steps, "
        "guidance 1, euler; --steps, --guidance, --scheduler set others.",
    )
    (told,) = task(tmp_path, plain, file, steps=30, scheduler=S.PNDM).notices
    assert told.endswith("by its name: guidance 1; --guidance sets another.")
    own = {"steps": 30, "scheduler": S.PNDM, "guidance_scale": 7.0}
    assert task(tmp_path, plain, file, **own).notices == ()


def test_settings_that_contradict_a_name_leave_the_timesteps_alone(
    tmp_path: Path, plain: Path
) -> None:
    file = lora(tmp_path, "sd_lightning_4step")
    teaching = lora_teaching(identify(plain).distillation, [file])
    assert teaching is not None

    def spacing(scheduler: SchedulerName, guidance: float) -> object:
        request = TextToImage(prompts=("a",), scheduler=scheduler, guidance_scale=guidance)
        return teaching.on(CONFIG, request)["timestep_spacing"]

    assert spacing(S.EULER, 1.0) == "trailing"
    assert spacing(S.EULER, 7.0) == "leading"
    assert spacing(S.PNDM, 1.0) == "leading"


def test_a_person_knows_better_than_a_models_name(tmp_path: Path) -> None:
    path = write_stripped(tmp_path / "sd_lightning_4step.safetensors", layout("sd1-original"))
    identity = identify(path)
    teaching = model_teaching(identity)
    assert teaching is not None
    config = identity.configs["scheduler"]
    few = TextToImage(prompts=("a",), scheduler=S.EULER, guidance_scale=1.0)
    many = TextToImage(prompts=("a",), scheduler=S.PNDM, guidance_scale=7.0)
    assert teaching.on(config, few)["timestep_spacing"] == "trailing"
    assert teaching.on(config, many)["timestep_spacing"] == "leading"
    assert "taken for a Lightning model by its name" in teaching.doubts(S.PNDM)
    (told,) = task(tmp_path, path).notices
    assert "taken for a Lightning model by its name: 4 steps, guidance 1, euler" in told
