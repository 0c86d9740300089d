"""What a name promises that sets the pace of a request: of a LoRA or a model of few steps.

Imports no torch. A name may be wrong, so that all that it decides gives way to what a person sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.models.families import (
    DISTILLATION_TITLES,
    Defaults,
    Distillation,
    Family,
    defaults_for,
    distilled_steps,
)
from core.models.identify import Identity
from core.models.verdict import judge
from core.request import Request, SchedulerName

MOST_GUIDANCE = 3.0
"""Guidance above which nobody runs a model of few steps; its pictures burn."""

_OPTIONS = {"steps": "--steps", "guidance_scale": "--guidance", "scheduler": "--scheduler"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Teaching:
    """How a model came to need few steps, by the name of a file (LCM-LoRA: arXiv:2311.05556).

    Attributes:
        source: The LoRA's file, or the model's file or folder.
        noun: Which of the two.
        how: The distillation that its name tells.
        defaults: Good settings with it.
        spacings: How timesteps are to be spread where a request goes by it and where one does not;
            empty to leave them as the model has them.
    """

    source: Path
    noun: str
    how: Distillation
    defaults: Defaults
    spacings: tuple[str, str]

    def on(self, scheduler_config: Mapping[str, Any], request: Request) -> Mapping[str, Any]:
        """Give a scheduler's configuration with the timesteps that go with a request."""
        spacing = self.spacings[self._is_contradicted(request)]
        if not spacing:
            return scheduler_config
        return {**scheduler_config, "timestep_spacing": spacing}

    def _is_contradicted(self, request: Request) -> bool:
        """Whether a request's settings are none that anyone would use with it."""
        served = self.defaults.schedulers
        return request.scheduler not in served or request.guidance_scale > MOST_GUIDANCE

    def doubts(self, scheduler: SchedulerName) -> str:
        """Say what speaks against a sampling method; empty if nothing does."""
        served = self.defaults.schedulers
        if scheduler in served:
            return ""
        return (
            f"{self._told()}, distilled for {' and '.join(served)}, in about "
            f"{self.defaults.steps} steps at guidance {self.defaults.guidance_scale:g}; with "
            f"{scheduler} pictures may come out spoiled if that is so."
        )

    def taken(self, given: Mapping[str, Any]) -> str:
        """Say which settings are taken from it; empty if a person gave them all.

        Args:
            given: What the person set, by the request's names.
        """
        values = {
            "steps": f"{self.defaults.steps} steps",
            "guidance_scale": f"guidance {self.defaults.guidance_scale:g}",
            "scheduler": str(self.defaults.scheduler),
        }
        left = [name for name in values if name not in given]
        if not left:
            return ""
        options = ", ".join(_OPTIONS[name] for name in left)
        sets = "sets another" if len(left) == 1 else "set others"
        return f"{self._told()}: {', '.join(values[name] for name in left)}; {options} {sets}."

    def _told(self) -> str:
        title = DISTILLATION_TITLES[self.how]
        article = "an" if self.how is Distillation.LCM else "a"
        return f"{self.source.name} is taken for {article} {title} {self.noun} by its name"


def model_teaching(identity: Identity) -> Teaching | None:
    """Give what a model's own name promises, if nothing else says it."""
    if not identity.is_guess:
        return None
    return Teaching(
        source=identity.path,
        noun="model",
        how=identity.distillation,
        defaults=identity.defaults,
        spacings=("", identity.own_spacing),
    )


def lora_teaching(model: Distillation, loras: Sequence[Path]) -> Teaching | None:
    """Find the LoRA that sets the pace by its name.

    Args:
        model: How the model itself was distilled; if it was, no LoRA has a say.
        loras: Their files, the first of them first. How strongly they work does not count, so that
            pictures of several weights can be compared.

    Raises:
        CoreError: If a file cannot be read; see ``judge``.
    """
    if model is not Distillation.NONE:
        return None
    for lora in loras:
        how = Distillation(judge(lora).distillation)
        if how is not Distillation.NONE:
            defaults = defaults_for(
                Family.CUSTOM,
                how,
                guidance_embedding=False,
                zero_terminal_snr=False,
                steps=distilled_steps(lora),
            )
            spacings = (defaults.timestep_spacing, "")
            return Teaching(source=lora, noun="LoRA", how=how, defaults=defaults, spacings=spacings)
    return None
