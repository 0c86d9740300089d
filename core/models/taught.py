"""What a LoRA changes that was distilled to few steps. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.models.families import Defaults, Distillation, Family, defaults_for, distilled_steps
from core.models.verdict import judge
from core.request import SchedulerName


@dataclass(frozen=True, slots=True, kw_only=True)
class Teaching:
    """How a LoRA makes a plain model one of few steps (LCM-LoRA: arXiv:2311.05556).

    Attributes:
        lora: Its file.
        defaults: Good settings with it.
    """

    lora: Path
    defaults: Defaults

    def on(self, scheduler_config: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give a model's scheduler configuration with the timesteps that the LoRA has learned."""
        if not self.defaults.timestep_spacing:
            return scheduler_config
        return {**scheduler_config, "timestep_spacing": self.defaults.timestep_spacing}

    def doubts(self, scheduler: SchedulerName) -> str:
        """Say what speaks against a sampling method; empty if nothing does."""
        served = self.defaults.schedulers
        if scheduler in served:
            return ""
        return (
            f"The LoRA {self.lora.name} was distilled for {' and '.join(served)}, in about "
            f"{self.defaults.steps} steps at guidance {self.defaults.guidance_scale:g}; with "
            f"{scheduler} pictures may come out spoiled."
        )


def teaching_of(model: Distillation, loras: Sequence[Path]) -> Teaching | None:
    """Find the LoRA that sets the pace, by its metadata or its name.

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
            return Teaching(lora=lora, defaults=defaults)
    return None
