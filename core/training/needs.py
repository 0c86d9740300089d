"""Settings of a training that do nothing without another one. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from core.errors import InvalidRequest
from core.training.config_parts import LossKind


@dataclass(frozen=True, slots=True)
class Need:
    """What a setting needs to do anything.

    Attributes:
        setting: The other one, by its place in a training's settings, parted by dots.
        words: What it has to be, in a sentence.
        value: The value that it has to have; None for any that is not empty.
    """

    setting: str
    words: str
    value: object = None


_PROMPTS = Need("samples.prompts", "a sample prompt")
_CLASS = Need("class_prompt", "a class prompt")

NEEDS: Mapping[str, Need] = {
    "samples.every": _PROMPTS,
    "samples.negative_prompt": _PROMPTS,
    "samples.steps": _PROMPTS,
    "samples.guidance_scale": _PROMPTS,
    "samples.seed": _PROMPTS,
    "class_images": _CLASS,
    "prior_weight": _CLASS,
    "optimiser.text_learning_rate": Need("train_text", "text encoders that learn"),
    "data.keep_tags": Need("data.shuffle_tags", "tags that are shuffled"),
    "loss.huber_delta": Need("loss.kind", "Huber's distance", LossKind.HUBER),
}
"""The needs of settings, by their places."""


def check_needs(given: Iterable[str], value: Callable[[str], object]) -> None:
    """Refuse settings that do nothing beside the others.

    Args:
        given: The places of settings that somebody gave.
        value: Gives the value of any; None where it is not set.

    Raises:
        InvalidRequest: Naming the first of them, and what it needs.
    """
    for name in given:
        need = NEEDS.get(name)
        if need is None:
            continue
        found = value(need.setting)
        if not (found if need.value is None else found == need.value):
            raise InvalidRequest(
                name, f"does nothing without {need.words}; add that, or leave this out."
            )
