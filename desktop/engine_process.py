"""The engine in a process of its own, behind the same protocol.

Importing torch holds Python's lock for a fifth of a second at a time, and a window in the same
process would not answer for so long. Here it never waits, and an engine that the system ends for
want of memory takes no window along.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from core.errors import OutOfMemory
from core.events import Engine, Event, EventStream, PreviewSettings
from core.request import Request

ResultT = TypeVar("ResultT")


class ProcessEngine:
    """An engine whose work is done in a child process, event by event.

    The child begins with the first call and works only while it is asked for the next event. Its
    errors are raised here, with its traceback as their cause. It ends with this process, however
    that ends. One run at a time.
    """

    def __init__(self, make_engine: Callable[[], Engine]) -> None:
        """Prepare; ``make_engine`` is called in the child and must be picklable."""
        self._make_engine = make_engine
        self._child: ProcessPoolExecutor | None = None

    def generate(
        self, request: Request, *, preview: PreviewSettings, only: int | None = None
    ) -> EventStream:
        """Make the request's pictures; see ``core.events.Engine.generate``.

        Raises:
            OutOfMemory: From ``next`` too, if the system has ended the child.
        """
        self.call(_generate, request, preview, only)
        return _Stream(self)

    def warm_up(self, model: str) -> EventStream:
        """Load a model; see ``core.events.Engine.warm_up``."""
        self.call(_warm_up, model)
        return _Stream(self)

    def close(self) -> None:
        """End the child at once; what it was at is lost."""
        if self._child is None:
            return
        child, self._child = self._child, None
        child.shutdown(wait=True, cancel_futures=True)

    def call(self, function: Callable[..., ResultT], *arguments: object) -> ResultT:
        """Call a function in the child and wait for what it gives."""
        if self._child is None:
            self._child = ProcessPoolExecutor(
                max_workers=1,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(self._make_engine,),
            )
        try:
            return self._child.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            self._child.shutdown()
            self._child = None
            raise OutOfMemory(
                "The engine was ended by the system, most likely for want of memory; make the "
                "picture smaller or close other programs, and try again."
            ) from error


class _Stream:
    """The events of the run that goes on in the child."""

    def __init__(self, engine: ProcessEngine) -> None:
        self._engine = engine
        self._open = True

    def __iter__(self) -> _Stream:
        return self

    def __next__(self) -> Event:
        event = self._engine.call(_next) if self._open else None
        if event is None:
            self._open = False
            raise StopIteration
        return event

    def close(self) -> None:
        if self._open:
            self._open = False
            self._engine.call(_close)


class _Child:
    """The child's side: the engine and the run that goes on.

    Attributes:
        engine: Made by the first call that needs it, so that its errors reach the caller.
        stream: The present run.
    """

    def __init__(self, make_engine: Callable[[], Engine]) -> None:
        self.make_engine = make_engine
        self.engine: Engine | None = None
        self.stream: EventStream | None = None

    def ready(self) -> Engine:
        self.engine = self.engine or self.make_engine()
        return self.engine


_child: _Child
"""There is one in a child process, and none elsewhere."""


def _begin(make_engine: Callable[[], Engine]) -> None:
    """Prepare the child: it ends when the window's process does and leaves Ctrl-C to that."""
    global _child
    _child = _Child(make_engine)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _generate(request: Request, preview: PreviewSettings, only: int | None) -> None:
    _child.stream = _child.ready().generate(request, preview=preview, only=only)


def _warm_up(model: str) -> None:
    _child.stream = _child.ready().warm_up(model)


def _next() -> Event | None:
    """Give the run's next event; None after its last."""
    return next(iter(_child.stream), None) if _child.stream is not None else None


def _close() -> None:
    stream, _child.stream = _child.stream, None
    if stream is not None:
        stream.close()
