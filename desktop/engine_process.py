"""The engine in a process of its own, behind the same protocol."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial

from core.child_process import ChildProcess
from core.errors import OutOfMemory
from core.events import EventStream, PreviewSettings, Stream, Studio, TrainingEvent
from core.request import DeviceName, Request
from core.training.caption_events import CaptionEvent
from core.training.caption_request import CaptionRequest
from core.training.captioning import write_captions
from core.training.config import TrainConfig


class ProcessEngine:
    """An engine whose work is done in a child process; see ``ChildProcess``."""

    def __init__(self, make_engine: Callable[[DeviceName], Studio]) -> None:
        """Prepare; ``make_engine`` is called in the child and must be picklable."""
        self._child = ChildProcess(
            partial(_Engines, make_engine),
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

    def train(
        self, config: TrainConfig, *, resume: bool = False, device: DeviceName = DeviceName.AUTO
    ) -> Stream[TrainingEvent]:
        """Teach a model; see ``desktop.studio.Workshop.train``.

        Raises:
            OutOfMemory: From ``next`` too, if the system has ended the child.
            ChildEnded: Likewise, if it ended otherwise.
        """
        return self._child.stream(_train, config, resume, device)

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


class _Engines:
    """Makes the engine of a device when it is asked for; one at a time holds a model."""

    def __init__(self, make_engine: Callable[[DeviceName], Studio]) -> None:
        self._make_engine = make_engine
        self._device = DeviceName.AUTO
        self._engine: Studio | None = None

    def on(self, device: DeviceName = DeviceName.AUTO) -> Studio:
        if self._engine is None or device is not self._device:
            self._engine = None
            gc.collect()  # What a model holds goes round in circles.
            self._engine, self._device = self._make_engine(device), device
        return self._engine


def _generate(
    engines: _Engines, request: Request, preview: PreviewSettings, only: int | None
) -> EventStream:
    return engines.on().generate(request, preview=preview, only=only)


def _warm_up(engines: _Engines, model: str) -> EventStream:
    return engines.on().warm_up(model)


def _train(
    engines: _Engines,
    config: TrainConfig,
    resume: bool,  # noqa: FBT001
    device: DeviceName,
) -> Stream[TrainingEvent]:
    return engines.on(device).train(config, resume=resume)


def _caption(_engines: _Engines, request: CaptionRequest) -> Stream[CaptionEvent]:
    return write_captions(request)
