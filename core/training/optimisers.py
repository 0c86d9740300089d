"""What turns gradients into steps, and how large the steps are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import assert_never

import torch
from torch import nn

from core.errors import Unsupported
from core.training.config_parts import OptimiserName, OptimiserSettings, RateSchedule


@dataclass(frozen=True, slots=True)
class Group:
    """Weights that learn at one rate.

    Attributes:
        parameters: The weights, fp32.
        rate: Their learning rate at its highest.
        decays: Whether weight decay is for them.
    """

    parameters: Sequence[nn.Parameter]
    rate: float
    decays: bool = True


def optimiser_of(settings: OptimiserSettings, groups: Sequence[Group]) -> torch.optim.Optimizer:
    """Make an optimiser.

    Each of its groups keeps its highest rate as ``initial_lr``, from which ``set_rates`` computes.

    Raises:
        Unsupported: If what it needs is not installed.
    """
    check_installed(settings.name)
    rows = [
        {
            "params": list(group.parameters),
            "lr": group.rate,
            "initial_lr": group.rate,
            "weight_decay": settings.weight_decay if group.decays else 0.0,
        }
        for group in groups
    ]
    match settings.name:
        case OptimiserName.ADAMW:
            # All of it in one pass over memory, where the plain one takes a dozen for each weight.
            return torch.optim.AdamW(rows, fused=True)
        case OptimiserName.ADAFACTOR:
            # torch's own scales rates by each weight's size, and adapters begin at zero.
            from transformers.optimization import Adafactor

            own: torch.optim.Optimizer = Adafactor(
                rows, scale_parameter=False, relative_step=False, warmup_init=False
            )
            return own
        case OptimiserName.PRODIGY:
            from prodigyopt import Prodigy

            # Without Adam's correction the first steps are three times too long.
            made: torch.optim.Optimizer = Prodigy(
                rows, safeguard_warmup=True, use_bias_correction=True
            )
            return made
        case OptimiserName.ADAMW_8BIT:
            from bitsandbytes.optim import AdamW8bit

            small: torch.optim.Optimizer = AdamW8bit(rows)
            return small
        case unknown:
            assert_never(unknown)


def check_installed(name: OptimiserName) -> None:
    """Make sure that what an optimiser needs is there.

    Raises:
        Unsupported: If it is not.
    """
    if name is OptimiserName.ADAMW_8BIT and find_spec("bitsandbytes") is None:
        raise Unsupported(
            "adamw-8bit needs bitsandbytes, which is not installed; choose adafactor, which takes "
            "little memory too, or install it (pip install bitsandbytes)."
        )


def rate_factor(settings: OptimiserSettings, step: int, total: int) -> float:
    """Give the share of the highest learning rate.

    Args:
        settings: How it goes.
        step: Steps done, 0 to below ``total``.
        total: Steps in all.
    """
    if step < settings.warm_up:
        return (step + 1) / settings.warm_up
    done = (step - settings.warm_up) / max(total - settings.warm_up, 1)
    match settings.schedule:
        case RateSchedule.CONSTANT:
            return 1.0
        case RateSchedule.LINEAR:
            return 1 - done
        case RateSchedule.COSINE:
            return (1 + math.cos(math.pi * done)) / 2
        case unknown:
            assert_never(unknown)


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> float:
    """Set every group's learning rate to that share of its highest; give the first one's.

    Prodigy's own is what it has found so far, times that.
    """
    for group in optimiser.param_groups:
        group["lr"] = group["initial_lr"] * factor
    first = optimiser.param_groups[0]
    rate: float = first["lr"] * first.get("d", 1.0)
    return rate
