"""What a request's values may be, and the sentences that refuse the others. Imports no torch.

Every ``check_`` raises ``InvalidRequest`` of the field that it is told.
"""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from core.errors import InvalidRequest

MAX_SEED = 2**32 - 1
MAX_SIDE = 4096
MAX_STEPS = 1000
MAX_COUNT = 1000
LATENT_SCALE = 8
"""Pixels a latent covers on a side: Stable Diffusion's VAE halves the picture three times."""

ChoiceT = TypeVar("ChoiceT", bound=StrEnum)


def parse_choice(field: str, value: object, enum: type[ChoiceT]) -> ChoiceT:
    """Read one of ``enum``'s values.

    Raises:
        InvalidRequest: Listing the values there are.
    """
    try:
        return enum(str(value))
    except ValueError:
        names = ", ".join(enum)
        raise InvalidRequest(field, f"{value!r} is none of {names}.") from None


def check_prompts(prompts: object) -> None:
    """Refuse what is no tuple of texts, or empty."""
    if not isinstance(prompts, tuple) or not prompts:
        raise InvalidRequest("prompts", "is empty; give at least one prompt.")
    for prompt in prompts:
        check_text("prompts", prompt, empty_ok=True)


def check_text(field: str, value: object, *, empty_ok: bool) -> None:
    """Refuse what is no text that can be written to a file."""
    if not isinstance(value, str):
        raise InvalidRequest(field, f"{value!r} is not text.")
    if not empty_ok and not value.strip():
        raise InvalidRequest(field, "is empty.")
    if "\0" in value:
        raise InvalidRequest(field, "contains a NUL character; remove it.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(field, "contains a character that is not valid Unicode.") from None


def check_int(field: str, value: object, low: int, high: int) -> None:
    """Refuse what is no whole number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidRequest(field, f"{value!r} must be a whole number from {low} to {high}.")


def check_float(field: str, value: object, low: float, high: float) -> None:
    """Refuse what is no number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidRequest(field, f"{value!r} must be a number from {low:g} to {high:g}.")


def check_above(field: str, value: object, low: float, high: float) -> None:
    """Refuse what is no number above ``low`` and up to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low < value <= high:
        raise InvalidRequest(field, f"{value!r} must be a number above {low:g} and up to {high:g}.")


def check_bool(field: str, value: object) -> None:
    """Refuse what is neither true nor false."""
    if not isinstance(value, bool):
        raise InvalidRequest(field, f"{value!r} must be true or false.")


def check_run(field: str, strength: float, steps: int) -> None:
    """Refuse a strength that leaves no step of so many."""
    if int(steps * strength) < 1:
        raise InvalidRequest(
            field,
            f"{strength:g} of {steps} steps leaves none to run; "
            f"use at least {math.ceil(1000 / steps) / 1000:g}.",
        )


def check_window(field: str, value: object) -> None:
    """Refuse what is no side of a window, in pixels, nor 0."""
    if value != 0:
        check_side(field, value)


def check_side(field: str, value: object) -> None:
    """Refuse what is no side of a picture, in pixels."""
    check_int(field, value, LATENT_SCALE, MAX_SIDE)
    assert isinstance(value, int)
    if value % LATENT_SCALE:
        below = max(value - value % LATENT_SCALE, LATENT_SCALE)
        above = below + LATENT_SCALE
        raise InvalidRequest(
            field, f"{value} must be a multiple of {LATENT_SCALE}; {below} or {above} would do."
        )


def check_unchanged(field: str, path: Path, recorded: str, found: str) -> None:
    """Refuse another file than the one that a request was made with.

    Args:
        field: The setting that names it.
        path: Where it lies.
        recorded: The hash that the request has of it, or empty.
        found: The hash that it has now.
    """
    if recorded not in ("", found):
        raise InvalidRequest(
            field,
            f"{path} has changed since this request was made; put the old file back, or start "
            "anew with this one.",
        )


def check_choice(field: str, value: object, enum: type[StrEnum]) -> None:
    """Refuse what is none of ``enum``'s values."""
    if not isinstance(value, enum):
        raise InvalidRequest(field, f"{value!r} is none of {', '.join(enum)}.")
