"""What each kind of model is good at: its defaults, what it ignores, and why. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.models.naming import name_of, words_in, words_of
from core.request import SchedulerName


class PredictionType(StrEnum):
    """What the UNet predicts: the noise, the velocity (arXiv:2202.00512) or the clean latents."""

    EPSILON = "epsilon"
    V = "v_prediction"
    SAMPLE = "sample"


class Family(StrEnum):
    """The architecture, by its text encoders."""

    SD1 = "sd1"
    SD2 = "sd2"
    SDXL = "sdxl"
    SDXL_REFINER = "sdxl-refiner"
    CUSTOM = "custom"


class Distillation(StrEnum):
    """How a model was taught to need few steps, if it was."""

    NONE = "none"
    TURBO = "turbo"
    LCM = "lcm"
    LIGHTNING = "lightning"
    HYPER = "hyper"
    TCD = "tcd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Good settings for a kind of model.

    Attributes:
        steps: Denoising steps.
        guidance_scale: Guidance; 1 is none.
        scheduler: The sampling method.
        timestep_spacing: How its timesteps are spread, or empty to leave it to the model's files.
        schedulers: Those that it was distilled for; empty if all serve.
    """

    steps: int
    guidance_scale: float
    scheduler: SchedulerName
    timestep_spacing: str = ""
    schedulers: tuple[SchedulerName, ...] = ()


_S = SchedulerName
_MOST_DISTILLED_STEPS = 16

_FEW_STEPS = {
    # Sauer et al. 2023, arXiv:2311.17042; the schedule of the published folders.
    Distillation.TURBO: Defaults(
        steps=4,
        guidance_scale=1.0,
        scheduler=_S.EULER_ANCESTRAL,
        timestep_spacing="trailing",
        schedulers=(_S.EULER_ANCESTRAL, _S.EULER, _S.DPMPP_SDE, _S.LCM),
    ),
    # Luo et al. 2023, arXiv:2310.04378.
    Distillation.LCM: Defaults(
        steps=4, guidance_scale=1.0, scheduler=_S.LCM, schedulers=(_S.LCM, _S.TCD)
    ),
    # Lin et al. 2024, arXiv:2402.13929.
    Distillation.LIGHTNING: Defaults(
        steps=4,
        guidance_scale=1.0,
        scheduler=_S.EULER,
        timestep_spacing="trailing",
        schedulers=(_S.EULER, _S.EULER_ANCESTRAL, _S.DDIM, _S.DPMPP_SDE),
    ),
    # Ren et al. 2024, arXiv:2404.13686.
    Distillation.HYPER: Defaults(
        steps=8,
        guidance_scale=1.0,
        scheduler=_S.DDIM,
        timestep_spacing="trailing",
        schedulers=(_S.DDIM, _S.TCD, _S.EULER, _S.LCM),
    ),
    # Zheng et al. 2024, arXiv:2402.19159.
    Distillation.TCD: Defaults(
        steps=4, guidance_scale=1.0, scheduler=_S.TCD, schedulers=(_S.TCD, _S.LCM)
    ),
}

_NAMES = {
    Distillation.TURBO: "an adversarially distilled Turbo model",
    Distillation.LCM: "a latent consistency model",
    Distillation.LIGHTNING: "a Lightning model",
    Distillation.HYPER: "a Hyper-SD model",
    Distillation.TCD: "a trajectory consistency model",
}

_CANNOT_RESCALE = (SchedulerName.PNDM, SchedulerName.LMS, SchedulerName.HEUN)
"""Diffusers' classes of these know no schedule that ends in pure noise."""

_CANNOT_PREDICT_PICTURES = (SchedulerName.PNDM, SchedulerName.EULER_ANCESTRAL)
"""Diffusers' classes of these cannot step from a prediction of the clean latents."""


def distillation_of(
    path: Path,
    *,
    unet: Mapping[str, Any],
    scheduler: Mapping[str, Any],
    metadata: Mapping[str, str],
) -> Distillation:
    """Tell how a model was distilled, from its configuration, else from its name.

    Args:
        path: Its folder or file.
        unet: Its UNet's configuration.
        scheduler: Its scheduler's configuration.
        metadata: What its maker wrote beside the weights.
    """
    if unet.get("time_cond_proj_dim") is not None:
        return Distillation.LCM
    match scheduler.get("_class_name"):
        case "LCMScheduler":
            return Distillation.LCM
        case "TCDScheduler":
            return Distillation.TCD
    words = words_of(path) | words_in(metadata.get("modelspec.title", ""))
    # "Hyper" alone is a word that people like in the names of models for realistic pictures.
    is_hyper = "hyper" in words and bool(words & {"sd", "sdxl", "step", "steps"})
    named = (
        (Distillation.LIGHTNING, "lightning" in words),
        (Distillation.TURBO, "turbo" in words),
        (Distillation.LCM, "lcm" in words),
        (Distillation.TCD, "tcd" in words),
        (Distillation.HYPER, is_hyper),
    )
    return next((kind for kind, is_it in named if is_it), Distillation.NONE)


def distilled_steps(path: Path) -> int | None:
    """Read the number of steps that a model was distilled to from its name: ``..._4step``."""
    found = re.search(r"(?<!\d)(\d{1,2})[-_ ]?steps?", name_of(path).lower())
    return int(found[1]) if found and 1 <= int(found[1]) <= _MOST_DISTILLED_STEPS else None


def defaults_for(
    family: Family,
    distillation: Distillation,
    *,
    guidance_embedding: bool,
    zero_terminal_snr: bool,
    steps: int | None,
) -> Defaults:
    """Give a model's good settings.

    Args:
        family: Its architecture.
        distillation: How it was distilled.
        guidance_embedding: Whether guidance is an input of its UNet.
        zero_terminal_snr: Whether its schedule ends in pure noise.
        steps: Those that it was distilled to, if its name tells.
    """
    if guidance_embedding:
        return Defaults(steps=4, guidance_scale=8.0, scheduler=_S.LCM, schedulers=(_S.LCM,))
    if distillation is not Distillation.NONE:
        found = _FEW_STEPS[distillation]
        return Defaults(
            steps=steps or found.steps,
            guidance_scale=found.guidance_scale,
            scheduler=found.scheduler,
            timestep_spacing=found.timestep_spacing,
            schedulers=found.schedulers,
        )
    if family in (Family.SDXL, Family.SDXL_REFINER):
        return Defaults(steps=30, guidance_scale=5.0, scheduler=_S.EULER)
    scheduler = _S.DDIM if zero_terminal_snr else _S.PNDM
    return Defaults(steps=25, guidance_scale=7.5, scheduler=scheduler)


def refused_schedulers(
    prediction_type: PredictionType,
    *,
    zero_terminal_snr: bool = False,
    distillation: Distillation = Distillation.NONE,
    guidance_embedding: bool = False,
) -> dict[SchedulerName, str]:
    """Say which sampling methods do not serve a model, each with the reason."""
    reasons: dict[SchedulerName, str] = {}
    if distillation is not Distillation.NONE:
        served = (_S.LCM,) if guidance_embedding else _FEW_STEPS[distillation].schedulers
        why = (
            f"This is {_NAMES[distillation]}: it was taught to work with "
            f"{' and '.join((', '.join(served[:-1]), served[-1])) if served[1:] else served[0]}."
        )
        reasons |= {name: why for name in SchedulerName if name not in served}
    if prediction_type is PredictionType.SAMPLE:
        why = "It cannot use a model that predicts the picture."
        reasons |= dict.fromkeys(_CANNOT_PREDICT_PICTURES, why)
    if zero_terminal_snr:
        why = "It cannot begin at pure noise, where this model was trained to begin."
        reasons |= dict.fromkeys(_CANNOT_RESCALE, why)
    return reasons


def ignored_settings(distillation: Distillation, *, guidance_embedding: bool) -> dict[str, str]:
    """Say which of a request's settings have no say with a model, each with the reason.

    What depends on another setting, such as the negative prompt at guidance 1, is said for the
    values at which the model stands by default.
    """
    if guidance_embedding:
        why = "This model takes guidance as a number of its own and has no unguided half."
        names = ("negative_prompt", "guidance_rescale", "guidance_start", "guidance_end")
        return dict.fromkeys(names, why)
    if distillation is Distillation.NONE:
        return {}
    why = (
        f"This is {_NAMES[distillation]}, made for guidance 1, at which nothing leads away from "
        "the negative prompt; raise guidance a little to use it."
    )
    return {"negative_prompt": why}
