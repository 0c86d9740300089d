"""What happens while captions are written: plain, picklable values. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from core.events import Loading


@dataclass(frozen=True, slots=True, kw_only=True)
class Captioned:
    """A picture has its caption, on the disk.

    Attributes:
        picture: The picture's file.
        path: The caption's.
        caption: What it says.
        kept: Whether it was there before and was left alone.
        index: 1 to ``total``.
        total: Pictures of the whole folder.
        seconds: Time that it took.
    """

    picture: Path
    path: Path
    caption: str
    kept: bool
    index: int
    total: int
    seconds: float = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassedOver:
    """A picture gets no caption.

    Attributes:
        picture: The picture's file.
        reason: One sentence.
        index: 1 to ``total``.
        total: Pictures of the whole folder.
    """

    picture: Path
    reason: str
    index: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionsDone:
    """All pictures of the folder were seen to.

    Attributes:
        written: How many captions were.
        kept: How many were there before and were left alone.
        passed_over: How many pictures got none.
        seconds: Time of it all, loading included.
    """

    written: int
    kept: int
    passed_over: int
    seconds: float = field(compare=False)


CaptionEvent = Loading | Captioned | PassedOver | CaptionsDone
