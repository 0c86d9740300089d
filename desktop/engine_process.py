"""The engine in a process of its own, behind the same protocol."""

from __future__ import annotations

from collections.abc import Callable

from core.errors import OutOfMemory
from core.events import EventStream, PreviewSettings, Stream, Studio, TrainingEvent
from core.request import Request
from core.training.caption_events import CaptionEvent
from core.training.caption_request import CaptionRequest
from core.training.captioning import write_captions
from core.training.config import TrainConfig
from desktop.child_process import ChildProcess


class ProcessEngine:
    """An engine whose work is done in a child process; see ``ChildProcess``."""

    def __init__(self, make_engine: Callable[[], Studio]) -> None:
        """Prepare; ``make_engine`` is called in the child and must be picklable."""
        self._child = ChildProcess(
            make_engine,
            killed=OutOfMemory(
                "The engine was ended by the system, most likely for want of memory; make the "
                "picture smaller or close other programs, and try again."
            ),
        )

    def generate(
        self, request: Request, *, preview: PreviewSettings, only: int | None = None
    ) -> EventStream:
        """Make the request's pictures; see ``core.events.Engine.generate``.

        Raises:
            OutOfMemory: From ``next`` too, if the system has ended the child.
            ChildEnded: Likewise, if it ended otherwise.
        """
        return self._child.stream(_generate, request, preview, only)

    def warm_up(self, model: str) -> EventStream:
        """Load a model; see ``core.events.Engine.warm_up``."""
        return self._child.stream(_warm_up, model)

    def train(self, config: TrainConfig, *, resume: bool = False) -> Stream[TrainingEvent]:
        """Teach a model; see ``core.events.Trainer.train``.

        Raises:
            OutOfMemory: From ``next`` too, if the system has ended the child.
            ChildEnded: Likewise, if it ended otherwise.
        """
        return self._child.stream(_train, config, resume)

    def caption(self, request: CaptionRequest) -> Stream[CaptionEvent]:
        """Write captions; see ``core.training.captioning.write_captions``.

        Raises:
            OutOfMemory: From ``next`` too, if the system has ended the child.
            ChildEnded: Likewise, if it ended otherwise.
        """
        return self._child.stream(_caption, request)

    def close(self) -> None:
        """End the child at once, for good; what it was at is lost and raises ``ChildEnded``."""
        self._child.close()


def _generate(
    engine: Studio, request: Request, preview: PreviewSettings, only: int | None
) -> EventStream:
    return engine.generate(request, preview=preview, only=only)


def _warm_up(engine: Studio, model: str) -> EventStream:
    return engine.warm_up(model)


def _train(engine: Studio, config: TrainConfig, resume: bool) -> Stream[TrainingEvent]:  # noqa: FBT001
    return engine.train(config, resume=resume)


def _caption(_engine: Studio, request: CaptionRequest) -> Stream[CaptionEvent]:
    return write_captions(request)
