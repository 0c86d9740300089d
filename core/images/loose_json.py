"""JSON from strangers: any text in, plain values out, never an error. Imports no torch."""

from __future__ import annotations

import json
import math
from typing import Any

LONGEST_SHOWN = 300
"""Characters of a value that is kept only to be shown."""

_LARGEST = 2**64


def json_object(text: object) -> dict[str, Any] | None:
    """Parse a JSON object; None if the text is none, is damaged, or nests without end."""
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def as_object(value: object) -> dict[str, Any]:
    """Give an object, parsed if it is one in a text; empty if it is none."""
    if isinstance(value, dict):
        return value
    return json_object(value) or {}


def as_list(value: object) -> list[Any]:
    """Give a list; empty if it is none."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    """Give a text; empty if it is none."""
    return value if isinstance(value, str) else ""


def as_float(value: object) -> float | None:
    """Give a finite number, also one that stands as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def as_int(value: object) -> int | None:
    """Give a whole number of at most 64 bits, also one that stands as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < _LARGEST else None


def as_shown(value: object) -> str:
    """Give any value as a short text for people."""
    if not isinstance(value, str):
        try:
            value = json.dumps(value, ensure_ascii=False)
        except (ValueError, RecursionError):
            return "..."
    return value if len(value) <= LONGEST_SHOWN else value[:LONGEST_SHOWN] + " ..."


def says_nothing(value: object) -> bool:
    """Whether a value is none, off, zero or empty, as settings are that were not used."""
    return value in (None, False, 0, "", [], {})
