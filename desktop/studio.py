"""The pieces of work that the window's engine is given."""

from __future__ import annotations

from dataclasses import dataclass

from core.events import PreviewSettings
from core.request import Request
from core.training.config import TrainConfig


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures to be made.

    Attributes:
        request: Which.
        preview: How they are watched.
    """

    request: Request
    preview: PreviewSettings


@dataclass(frozen=True, slots=True)
class Teaching:
    """A model to be taught, from the beginning or from where it was stopped.

    Attributes:
        config: What.
        resume: Whether it goes on from the latest checkpoint.
    """

    config: TrainConfig
    resume: bool = False


Work = Pictures | Teaching
