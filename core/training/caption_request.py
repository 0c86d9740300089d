"""How captions are asked for. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from core.errors import InvalidRequest
from core.request import DeviceName
from core.training.caption_models import STARTER

_PUNCTUATION = ",.;:!?"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionSettings:
    """How one caption is written.

    Attributes:
        prefix: What it begins with; the model goes on from there.
        suffix: What is put behind it as it stands.
        beams: How many captions are followed at once, of which the likeliest is taken.
        max_tokens: Tokens behind the prefix, at most.
    """

    BEAMS: ClassVar[int] = 3
    MAX_TOKENS: ClassVar[int] = 40

    prefix: str = ""
    suffix: str = ""
    beams: int = BEAMS
    max_tokens: int = MAX_TOKENS

    def __post_init__(self) -> None:
        """Hold the numbers to their ranges.

        Raises:
            InvalidRequest: One is out of its range.
        """
        for name, highest in (("beams", 64), ("max_tokens", 400)):
            value = getattr(self, name)
            if not 1 <= value <= highest:
                raise InvalidRequest(name, f"{value} is not from 1 to {highest}.")

    def finished(self, caption: str) -> str:
        """Put the suffix behind a caption, on one line."""
        suffix = " ".join(self.suffix.split())
        gap = "" if not caption or suffix.startswith(tuple(_PUNCTUATION)) else " "
        return f"{caption}{gap}{suffix}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionRequest:
    """What to write captions for.

    Attributes:
        folder: Of the pictures; see ``picture_folders``.
        model: See ``find_captioner``.
        overwrite: Whether captions that are there are written anew; else they are kept.
        settings: How each is written.
        device: Where to compute.
    """

    folder: Path
    model: str = STARTER
    overwrite: bool = False
    settings: CaptionSettings = CaptionSettings()
    device: DeviceName = DeviceName.AUTO
