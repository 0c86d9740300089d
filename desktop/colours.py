"""The colours of the window, by what they are for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Colours:
    """The colours of one palette, each ``#rrggbb``."""

    canvas: str
    window: str
    field: str
    hover: str
    line: str
    text: str
    quiet: str
    disabled: str
    accent: str
    accent_hover: str
    accent_line: str
    on_accent: str
    error: str
    error_ground: str
    notice_ground: str


DARK = Colours(
    canvas="#0f1012",
    window="#1a1b1f",
    field="#25272c",
    hover="#2e3138",
    line="#34373f",
    text="#e9eaee",
    quiet="#9ba1ad",
    disabled="#646974",
    accent="#5563e6",
    accent_hover="#6371f2",
    accent_line="#8f99ff",
    on_accent="#ffffff",
    error="#ff8b85",
    error_ground="#3a2224",
    notice_ground="#232742",
)
LIGHT = Colours(
    canvas="#dfe1e6",
    window="#f6f7f9",
    field="#ffffff",
    hover="#e9ebf0",
    line="#d0d4dc",
    text="#1b1d22",
    quiet="#5c626e",
    disabled="#a0a5b0",
    accent="#4c58d8",
    accent_hover="#3f4bc9",
    accent_line="#4550cf",
    on_accent="#ffffff",
    error="#b3261e",
    error_ground="#fbe4e2",
    notice_ground="#e4e6fb",
)
