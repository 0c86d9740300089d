"""What each kind of model is good at: its defaults, what it ignores, and why. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.models.naming import name_of, words_in_order
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
    DMD2 = "dmd2"


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
    # Yin et al. 2024, arXiv:2405.14867, whose makers step as consistency models do.
    Distillation.DMD2: Defaults(
        steps=4, guidance_scale=1.0, scheduler=_S.LCM, schedulers=(_S.LCM, _S.EULER_ANCESTRAL)
    ),
}

_NAMES = {
    Distillation.TURBO: "an adversarially distilled Turbo model",
    Distillation.LCM: "a latent consistency model",
    Distillation.LIGHTNING: "a Lightning model",
    Distillation.HYPER: "a Hyper-SD model",
    Distillation.TCD: "a trajectory consistency model",
    Distillation.DMD2: "a DMD2 model",
}

DISTILLATION_TITLES = {
    Distillation.TURBO: "Turbo",
    Distillation.LCM: "LCM",
    Distillation.LIGHTNING: "Lightning",
    Distillation.HYPER: "Hyper",
    Distillation.TCD: "TCD",
    Distillation.DMD2: "DMD2",
}
"""What goes before "model" and "LoRA"."""

_CANNOT_RESCALE = (SchedulerName.PNDM, SchedulerName.LMS, SchedulerName.HEUN)
"""Diffusers' classes of these know no schedule that ends in pure noise."""

_CANNOT_PREDICT_PICTURES = (SchedulerName.PNDM, SchedulerName.EULER_ANCESTRAL)
"""Diffusers' classes of these cannot step from a prediction of the clean latents."""


def stated_distillation(unet: Mapping[str, Any], scheduler: Mapping[str, Any]) -> Distillation:
    """Tell how a model was distilled from its configuration, where that says so.

    Args:
        unet: Its UNet's configuration.
        scheduler: Its scheduler's configuration.
    """
    if unet.get("time_cond_proj_dim") is not None:
        return Distillation.LCM
    match scheduler.get("_class_name"):
        case "LCMScheduler":
            return Distillation.LCM
        case "TCDScheduler":
            return Distillation.TCD
    return Distillation.NONE


def named_distillation(path: Path, metadata: Mapping[str, str]) -> Distillation:
    """Guess how a model or LoRA was distilled from its name, or the title that its maker noted.

    The words that people use for other things as well count only beside more: a number of steps,
    or the name of the family that they are joined to, as in ``sd_xl_turbo`` and ``novaXL_hyper``.

    Args:
        path: Its folder or file.
        metadata: What its maker wrote beside the weights.
    """
    texts = (name_of(path), metadata.get("modelspec.title", ""))
    return next((how for text in texts if (how := _named(text)) is not None), Distillation.NONE)


_TERMS = {"lcm": Distillation.LCM, "tcd": Distillation.TCD}
_WORDS = {
    "lightning": Distillation.LIGHTNING,
    "turbo": Distillation.TURBO,
    "hyper": Distillation.HYPER,
}
_JOINED_TURBO = re.compile(r"turbo[a-z]*xl")
"""As in ``turbovisionxl``; the other words begin too many that mean something else."""


def _named(text: str) -> Distillation | None:
    # Versions come between a family and what was made of it: ``RealVisXL_V4.0_Lightning``.
    words = [word for word in words_in_order(text) if not word.isdigit() and word != "v"]
    if "dmd2" in text.lower():
        return Distillation.DMD2
    for word, how in _WORDS.items():
        if word in words and (_steps_in(text) is not None or _is_joined(word, words)):
            return how
        if any(other in (f"{word}xl", f"xl{word}", f"sdxl{word}", f"sd{word}") for other in words):
            return how
    if any(_JOINED_TURBO.fullmatch(word) for word in words):
        return Distillation.TURBO
    return next((how for term, how in _TERMS.items() if term in words), None)


def _is_joined(word: str, words: Sequence[str]) -> bool:
    """Whether a family's name stands right before or behind a word."""
    places = [place for place, other in enumerate(words) if other == word]
    beside = [words[i] for place in places for i in (place - 1, place + 1) if 0 <= i < len(words)]
    return any(other == "sd" or other.endswith("xl") for other in beside)


def distilled_steps(path: Path) -> int | None:
    """Read the number of steps that a model was distilled to from its name: ``..._4step``."""
    return _steps_in(name_of(path))


def _steps_in(text: str) -> int | None:
    found = re.search(r"(?<!\d)(\d{1,2})[-_ ]?steps?", text.lower())
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
