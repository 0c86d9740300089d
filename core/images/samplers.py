"""Other programs' names of sampling methods, and ours that mean the same. Imports no torch.

What means the same follows diffusers' own table
(https://huggingface.co/docs/diffusers/main/en/api/schedulers/overview).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.request import SchedulerName

SAMPLERS = {
    SchedulerName.PNDM: "PLMS",
    SchedulerName.DDIM: "DDIM",
    SchedulerName.LMS: "LMS",
    SchedulerName.EULER: "Euler",
    SchedulerName.EULER_ANCESTRAL: "Euler a",
    SchedulerName.HEUN: "Heun",
    SchedulerName.DPMPP_2M: "DPM++ 2M",
    SchedulerName.DPMPP_2M_KARRAS: "DPM++ 2M Karras",
    SchedulerName.DPMPP_SDE: "DPM++ 2M SDE",
    SchedulerName.UNIPC: "UniPC",
    SchedulerName.DDPM: "DDPM",
    SchedulerName.LCM: "LCM",
    SchedulerName.TCD: "TCD",
}
"""Our methods by the names of AUTOMATIC1111's web UI, sampler and schedule type joined."""

_SAME = {
    "plms": SchedulerName.PNDM,
    "pndm": SchedulerName.PNDM,
    "ddim": SchedulerName.DDIM,
    "lms": SchedulerName.LMS,
    "euler": SchedulerName.EULER,
    "eulera": SchedulerName.EULER_ANCESTRAL,
    "eulerancestral": SchedulerName.EULER_ANCESTRAL,
    "heun": SchedulerName.HEUN,
    "dpm++2m": SchedulerName.DPMPP_2M,
    "dpm++2msde": SchedulerName.DPMPP_SDE,
    "unipc": SchedulerName.UNIPC,
    "unipcbh2": SchedulerName.UNIPC,
    "ddpm": SchedulerName.DDPM,
    "lcm": SchedulerName.LCM,
    "tcd": SchedulerName.TCD,
}

_NEAR = {
    "dpm2": SchedulerName.HEUN,
    "kdpm2": SchedulerName.HEUN,
    "restart": SchedulerName.HEUN,
    "heunpp2": SchedulerName.HEUN,
    "dpm2a": SchedulerName.EULER_ANCESTRAL,
    "dpm2ancestral": SchedulerName.EULER_ANCESTRAL,
    "kdpm2a": SchedulerName.EULER_ANCESTRAL,
    "dpm++2sa": SchedulerName.EULER_ANCESTRAL,
    "dpm++2sancestral": SchedulerName.EULER_ANCESTRAL,
    "eulercfg++": SchedulerName.EULER,
    "eulercfgpp": SchedulerName.EULER,
    "eulerancestralcfgpp": SchedulerName.EULER_ANCESTRAL,
    "dpm++sde": SchedulerName.DPMPP_SDE,
    "dpm++3msde": SchedulerName.DPMPP_SDE,
    "dpm++2msdeheun": SchedulerName.DPMPP_SDE,
    "dpm++2s": SchedulerName.DPMPP_2M,
    "dpm++2mv2": SchedulerName.DPMPP_2M,
    "dpm++2mcfgpp": SchedulerName.DPMPP_2M,
    "dpmfast": SchedulerName.DPMPP_2M,
    "dpmadaptive": SchedulerName.DPMPP_2M,
    "deis": SchedulerName.DPMPP_2M,
    "ipndm": SchedulerName.PNDM,
    "ipndmv": SchedulerName.PNDM,
    "resmultistep": SchedulerName.DPMPP_2M,
}
"""Other solvers of the same order and kind, with noise at each step where theirs draw it."""

_USUAL_SCHEDULES = {"", "automatic", "normal", "discrete", "default", "native", "uniform", "ddim"}
"""The noise levels that the model was trained with, evenly in time: what ours use too."""

_JOINED_SCHEDULES = (
    "karras",
    "exponential",
    "polyexponential",
    "sgmuniform",
    "trailing",
    "substep",
    "ays",
    "normal",
    "simple",
    "discrete",
    "beta",
    "k",
)
"""Schedules that programs join to the sampler's name; InvokeAI shortens Karras to a ``k``."""


@dataclass(frozen=True, slots=True)
class SamplerMatch:
    """One of our schedulers in the place of another program's sampler.

    Attributes:
        scheduler: Ours.
        same_method: Whether it is the same solver, not just the nearest.
        same_schedule: Whether the noise levels are spaced alike.
    """

    scheduler: SchedulerName
    same_method: bool
    same_schedule: bool


def match_sampler(sampler: str, schedule: str = "") -> SamplerMatch | None:
    """Find our scheduler for a sampler.

    Args:
        sampler: Any program's name: ``DPM++ 2M Karras``, ``dpmpp_2m``, ``k_euler_a``.
        schedule: Its noise schedule, where the program says it apart.

    Returns:
        None if the name is not known.
    """
    name, joined = _split(_plain(sampler))
    spacing = _plain(schedule) or joined
    if joined in ("karras", "k") and spacing in _USUAL_SCHEDULES:
        spacing = joined
    scheduler = _SAME.get(name)
    same_method = scheduler is not None
    scheduler = scheduler or _NEAR.get(name)
    if scheduler is None:
        return None
    if spacing in ("karras", "k"):
        if scheduler is SchedulerName.DPMPP_2M:
            return SamplerMatch(SchedulerName.DPMPP_2M_KARRAS, same_method, same_schedule=True)
        return SamplerMatch(scheduler, same_method, same_schedule=False)
    usual = spacing in _USUAL_SCHEDULES or (name == "ddim" and spacing == "ddimuniform")
    return SamplerMatch(scheduler, same_method, same_schedule=usual)


def _plain(name: str) -> str:
    """Give the letters and digits that programs agree on: ``dpm++2mkarras``."""
    small = name[:100].casefold().replace("dpmpp", "dpm++").removeprefix("k_")
    return re.sub(r"[^a-z0-9+]", "", small).removesuffix("gpu")


def _split(name: str) -> tuple[str, str]:
    """Part a sampler's name from a schedule that is joined to it."""
    if name in _SAME or name in _NEAR:
        return name, ""
    for schedule in _JOINED_SCHEDULES:
        rest = name.removesuffix(schedule)
        if rest != name and (rest in _SAME or rest in _NEAR):
            return rest, schedule
    return name, ""
