"""What the window's engine does, and the pieces of work it is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from core.events import PreviewSettings, Stream, Studio, TrainingEvent
from core.request import DeviceName, Request
from core.training.caption_events import CaptionEvent
from core.training.caption_request import CaptionRequest
from core.training.config import TrainConfig

WorkEvent = TrainingEvent | CaptionEvent
"""What happens while a piece of work is done."""


class Workshop(Studio, Protocol):
    """Does everything that needs a model, one thing at a time."""

    def train(
        self, config: TrainConfig, *, resume: bool = False, device: DeviceName = DeviceName.AUTO
    ) -> Stream[TrainingEvent]:
        """Teach a model; see ``core.events.Trainer.train``.

        Args:
            config: What to train.
            resume: Whether to go on from the latest checkpoint.
            device: Where to compute.
        """

    def caption(self, request: CaptionRequest) -> Stream[CaptionEvent]:
        """Write captions; see ``core.training.captioning.write_captions``."""


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
        device: Where.
    """

    config: TrainConfig
    resume: bool = False
    device: DeviceName = DeviceName.AUTO


@dataclass(frozen=True, slots=True)
class Captioning:
    """Captions to be written.

    Attributes:
        request: For what.
    """

    request: CaptionRequest


Work = Pictures | Teaching | Captioning
