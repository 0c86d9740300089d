"""What is set by itself where a training leaves it open. Imports no torch."""

from __future__ import annotations

from core.models.families import Family
from core.training.config import DreamBooth, Finetune, LoraTraining, TextualInversion, TrainConfig
from core.training.config_parts import OptimiserName

_RATES: dict[type[TrainConfig], float] = {
    LoraTraining: 1e-4,
    TextualInversion: 5e-3,
    DreamBooth: 5e-6,
    Finetune: 1e-5,
}
"""Rates in use for Stable Diffusion's sizes at small batches."""

_SMALL_RATES: dict[type[TrainConfig], float] = {
    LoraTraining: 1e-3,
    TextualInversion: 1e-2,
    DreamBooth: 5e-5,
    Finetune: 2e-4,
}
"""The same for models of some millions of weights, measured on the starter model."""

_TEXT = 0.5
"""Share of the rate at which text encoders learn adapters: they forget sooner."""


def usual_rate(config: TrainConfig, family: Family) -> float:
    """Give the learning rate of what is not a text encoder.

    Args:
        config: What is trained.
        family: The model's architecture.
    """
    optimiser = config.optimiser
    if optimiser.learning_rate:
        return optimiser.learning_rate
    if optimiser.name is OptimiserName.PRODIGY:
        return 1.0
    has_adapter = isinstance(config, DreamBooth) and config.adapter is not None
    method = LoraTraining if has_adapter else type(config)
    return (_SMALL_RATES if family is Family.CUSTOM else _RATES)[method]


def usual_text_rate(config: TrainConfig, family: Family) -> float:
    """Give the learning rate of text encoders; see ``usual_rate``."""
    if config.optimiser.text_learning_rate:
        return config.optimiser.text_learning_rate
    rate = usual_rate(config, family)
    return rate if config.optimiser.name is OptimiserName.PRODIGY else rate * _TEXT
