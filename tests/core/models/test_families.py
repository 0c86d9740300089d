"""What each kind of model declares: its defaults, and what it ignores with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import Unsupported
from core.models.catalog import card
from core.models.families import (
    Distillation,
    Family,
    PredictionType,
    distilled_steps,
    named_distillation,
)
from core.models.identify import identify
from core.models.naming import words_of
from core.models.recognise import FAMILY_TITLES
from core.models.safetensors_header import TensorInfo
from core.models.single_file import doubts_of
from core.request import SchedulerName
from core.sampling.schedulers import make_plan
from tests.fixtures.layouts import layout, write_stripped, write_stripped_folder

S = SchedulerName


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("family", "side", "prediction", "steps", "guidance", "scheduler"),
    [
        ("sd1", 512, "epsilon", 25, 7.5, S.PNDM),
        ("sd2", 768, "v_prediction", 25, 7.5, S.PNDM),
        ("sdxl", 1024, "epsilon", 30, 5.0, S.EULER),
        ("sdxl-refiner", 1024, "epsilon", 30, 5.0, S.EULER),
    ],
)
@pytest.mark.parametrize("form", ["folder", "file"])
def test_the_base_models(
    tmp_path: Path,
    form: str,
    family: str,
    side: int,
    prediction: str,
    steps: int,
    guidance: float,
    scheduler: SchedulerName,
) -> None:
    if form == "folder":
        path = write_stripped_folder(tmp_path / "model", family)
    else:
        path = write_stripped(tmp_path / "model.safetensors", layout(f"{family}-original"))
    found = card(str(path))
    assert (found.family, found.width, found.height) == (family, side, side)
    assert (found.prediction_type, found.steps, found.guidance_scale) == (
        prediction, steps, guidance,
    )  # fmt: skip
    assert found.scheduler is scheduler
    assert found.schedulers == tuple(SchedulerName)
    assert (found.refused_schedulers, found.ignored, found.distillation) == ({}, {}, "none")
    assert found.needs_size == family.startswith("sdxl")
    assert found.title == "model"


@pytest.mark.parametrize(
    ("name", "metadata", "prediction", "side"),
    [
        ("v2-1_768-ema-pruned", {}, PredictionType.V, 768),
        ("v2-1_512-ema-pruned", {}, PredictionType.EPSILON, 512),
        ("512-base-ema", {}, PredictionType.EPSILON, 512),
        ("mine", {"modelspec.prediction_type": "epsilon"}, PredictionType.EPSILON, 768),
        ("mine", {"modelspec.resolution": "512x512"}, PredictionType.V, 512),
        ("mine", {"modelspec.resolution": "99999999x1"}, PredictionType.V, 768),
    ],
)
def test_what_a_file_of_sd2_predicts(
    tmp_path: Path, name: str, metadata: dict[str, str], prediction: PredictionType, side: int
) -> None:
    path = write_stripped(tmp_path / f"{name}.safetensors", layout("sd2-original"), metadata)
    found = identify(path)
    assert (found.prediction_type, found.width) == (prediction, side)


def test_a_configuration_beside_a_file_tells_what_it_predicts(tmp_path: Path) -> None:
    path = write_stripped(tmp_path / "mine.safetensors", layout("sd2-original"))
    assert "mine.yaml" in doubts_of(path)
    for text, prediction, side in (
        ('model:\n  params:\n    parameterization: "v"\n', PredictionType.V, 768),
        ("model:\n  params:\n    linear_start: 0.00085\n", PredictionType.EPSILON, 512),
        ("model:\nparameterization: eps\n", PredictionType.EPSILON, 512),
    ):
        path.with_suffix(".yaml").write_text(text)
        found = identify(path)
        assert (found.prediction_type, found.width) == (prediction, side)
        assert doubts_of(path) == ""
    for name in ("v2-1_512-ema", "v2_vpred"):
        assert doubts_of(path.rename(path.with_name(f"{name}.safetensors"))) == ""
        path = path.with_name(f"{name}.safetensors")
    assert doubts_of(write_stripped(tmp_path / "a.safetensors", layout("sd1-original"))) == ""


def test_sdxl_files_tell_velocity_and_terminal_snr_by_empty_tensors(tmp_path: Path) -> None:
    names = layout("sdxl-original") | {"v_pred": TensorInfo("F16", (0,))}
    path = write_stripped(tmp_path / "a.safetensors", names)
    assert identify(path).prediction_type is PredictionType.V
    assert not card(str(path)).zero_terminal_snr
    found = card(str(write_stripped(path, names | {"ztsnr": TensorInfo("F16", (0,))})))
    assert (found.zero_terminal_snr, found.timestep_spacing) == (True, "trailing")


def test_a_schedule_that_ends_in_pure_noise(tmp_path: Path) -> None:
    path = write_stripped_folder(tmp_path / "model", "sd2")
    edit(path / "scheduler/scheduler_config.json", rescale_betas_zero_snr=True)
    found = card(str(path))
    assert found.scheduler is S.DDIM
    assert set(found.refused_schedulers) == {S.PNDM, S.LMS, S.HEUN}
    config = identify(path).configs["scheduler"]
    for name in SchedulerName:
        if name in found.schedulers:
            plan = make_plan(name, config, steps=4)
            assert plan.scheduler.alphas_cumprod[-1] < 1e-6
        else:
            with pytest.raises(Unsupported, match="cannot begin at pure noise"):
                make_plan(name, config, steps=4)


FEW_STEPS = [
    ("sd_xl_turbo_1.0_fp16", "sdxl", "turbo", 512, 4, S.EULER_ANCESTRAL, "trailing"),
    ("sd_turbo", "sd2", "turbo", 512, 4, S.EULER_ANCESTRAL, "trailing"),
    ("sdxl_lightning_8step", "sdxl", "lightning", 1024, 8, S.EULER, "trailing"),
    ("dreamshaperXL_lightningDPMSDE", "sdxl", "lightning", 1024, 4, S.EULER, "trailing"),
    ("Hyper-SDXL-1step-Unet", "sdxl", "hyper", 1024, 1, S.DDIM, "trailing"),
    ("dreamshaper_8LCM", "sd1", "lcm", 512, 4, S.LCM, "leading"),
    ("my-TCD-mix", "sd1", "tcd", 512, 4, S.TCD, "leading"),
]


@pytest.mark.parametrize(
    ("name", "family", "kind", "side", "steps", "scheduler", "spacing"), FEW_STEPS
)
def test_models_of_few_steps_by_their_names(
    tmp_path: Path,
    name: str,
    family: str,
    kind: str,
    side: int,
    steps: int,
    scheduler: SchedulerName,
    spacing: str,
) -> None:
    path = write_stripped(tmp_path / f"{name}.safetensors", layout(f"{family}-original"))
    found = card(str(path))
    assert (found.distillation, found.width, found.steps) == (kind, side, steps)
    assert (found.scheduler, found.timestep_spacing) == (scheduler, spacing)
    assert found.guidance_scale == 1.0
    assert "guidance 1" in found.ignored["negative_prompt"]
    # A name may be wrong, so that it forbids nothing.
    assert (found.is_guess, found.refused_schedulers) == (True, {})


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("lightning_storm_style", "none"),
        ("lightning_storm_style_sdxl", "none"),
        ("thunderLightningStorm_v1", "none"),
        ("whiteLightning_photo", "none"),
        ("turbocharged", "none"),
        ("my turbo car", "none"),
        ("trained_2000steps_turbo", "none"),
        ("hyperrealismXL", "none"),
        ("hyper_realistic_xl", "none"),
        ("RealitiesEdge_TURBOXL", "turbo"),
        ("turbovisionxlSuperFastXLBasedOnNew", "turbo"),
        ("novaAnimeXL_hyper", "hyper"),
        ("RealVisXL_V4.0_Lightning", "lightning"),
        ("realvisxlV40_v40LightningBakedvae", "lightning"),
        ("Juggernaut_RunDiffusionPhoto2_Lightning_4Steps", "lightning"),
        ("dmd2_sdxl_4step", "dmd2"),
        ("lcm-lora-sdv1-5", "lcm"),
    ],
)
def test_what_a_name_tells_of_few_steps(name: str, how: str) -> None:
    assert named_distillation(Path(f"{name}.safetensors"), {}).value == how
    assert named_distillation(Path("a.safetensors"), {"modelspec.title": name}).value == how


def test_what_files_say_of_few_steps_is_no_guess(tmp_path: Path) -> None:
    path = write_stripped_folder(tmp_path / "lcm", "sd1")
    edit(path / "scheduler/scheduler_config.json", _class_name="LCMScheduler")
    found = card(str(path))
    assert not found.is_guess
    assert "lcm" in found.refused_schedulers[S.PNDM]


def test_a_model_with_guidance_as_an_input(tmp_path: Path) -> None:
    path = write_stripped_folder(tmp_path / "model", "sd1")
    edit(path / "unet/config.json", time_cond_proj_dim=256)
    edit(path / "model_index.json", _class_name="LatentConsistencyModelPipeline")
    found = card(str(path))
    assert (found.distillation, found.guidance_embedding) == ("lcm", True)
    assert (found.schedulers, found.guidance_scale) == ((S.LCM,), 8.0)
    assert set(found.ignored) == {
        "negative_prompt", "guidance_rescale", "guidance_start", "guidance_end",
    }  # fmt: skip


def test_a_model_that_was_merged_with_an_lcm_lora_says_so_by_its_scheduler(tmp_path: Path) -> None:
    path = write_stripped_folder(tmp_path / "model", "sd1")
    edit(path / "scheduler/scheduler_config.json", _class_name="LCMScheduler")
    found = identify(path)
    assert (found.distillation, found.guidance_embedding) == (Distillation.LCM, False)


def test_settings_in_the_folder_go_before_the_kinds_defaults(tmp_path: Path) -> None:
    path = write_stripped_folder(tmp_path / "sdxl-turbo", "sdxl")
    settings = {"title": "Quick", "defaults": {"steps": 2, "scheduler": "pndm"}}
    (path / "stepwise.json").write_text(json.dumps(settings))
    found = card(str(path))
    assert (found.title, found.steps, found.guidance_scale) == ("Quick", 2, 1.0)
    assert (found.scheduler, found.is_guess) == (S.PNDM, False)


def test_sdxl_without_its_second_half_is_refused(tmp_path: Path) -> None:
    path = write_stripped_folder(tmp_path / "model", "sdxl")
    edit(path / "unet/config.json", addition_embed_type=None)
    with pytest.raises(Unsupported, match="its pipeline"):
        identify(path)


def test_words_in_names(tmp_path: Path) -> None:
    def words(name: str) -> set[str]:
        return set(words_of(tmp_path / name))

    assert words("dreamshaperXL_v2TurboDpmppSDE.safetensors") >= {"turbo", "xl"}
    assert words("sd_xl_turbo_1.0.safetensors") >= {"sd", "xl", "turbo"}
    assert "turbo" not in words("turbocharged.safetensors")
    cached = tmp_path / "models--stabilityai--sd-turbo/snapshots" / ("0a" * 20)
    cached.mkdir(parents=True)
    assert words_of(cached) >= {"sd", "turbo"}
    assert distilled_steps(Path("sdxl_lightning_4step.safetensors")) == 4
    assert "lcm" in words_of(tmp_path / "lcm-lora-sdxl" / "pytorch_lora_weights.safetensors")
    assert distilled_steps(Path("sdxl_v4.safetensors")) is None
    assert distilled_steps(Path("dreamshaperXL_v2_lightning_8-steps.safetensors")) == 8
    assert distilled_steps(Path("sd_xl_base_1.0_Hyper 12Steps.safetensors")) == 12
    assert distilled_steps(Path("trained_2000steps_turbo.safetensors")) is None


def test_every_family_has_a_name() -> None:
    assert {family.value for family in Family} == FAMILY_TITLES.keys()
