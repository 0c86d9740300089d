"""The engine in a process of its own, behind the same protocol.

Importing torch holds Python's lock for a fifth of a second at a time, and a window in the same
process would not answer for so long. Here it never waits, and an engine that the system ends for
want of memory takes no window along.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import TypeVar

from core.errors import OutOfMemory
from core.events import Engine, Event, EventStream, PreviewSettings
from core.request import Request

ResultT = TypeVar("ResultT")

_KILLED = {-signal.SIGTERM, -getattr(signal, "SIGKILL", signal.SIGTERM)}
"""Exit codes of a process that the system ended."""


class EngineEnded(RuntimeError):
    """The child ended while it was at work, by ``close`` or by a fault of its own."""


class ProcessEngine:
    """An engine whose work is done in a child process, event by event.

    The child begins with the first call and works only while it is asked for the next event. Its
    errors are raised here, with its traceback as their cause. It ends with this process, however
    that ends. One run at a time, from one thread; ``close`` may be called from any.
    """

    def __init__(self, make_engine: Callable[[], Engine]) -> None:
        """Prepare; ``make_engine`` is called in the child and must be picklable."""
        self._make_engine = make_engine
        self._lock = threading.Lock()
        self._child: _Link | None = None
        self._closed = False

    def generate(
        self, request: Request, *, preview: PreviewSettings, only: int | None = None
    ) -> EventStream:
        """Make the request's pictures; see ``core.events.Engine.generate``.

        Raises:
            OutOfMemory: From ``next`` too, if the system has ended the child.
            EngineEnded: Likewise, if it ended otherwise.
        """
        self.call(_generate, request, preview, only)
        return _Stream(self)

    def warm_up(self, model: str) -> EventStream:
        """Load a model; see ``core.events.Engine.warm_up``."""
        self.call(_warm_up, model)
        return _Stream(self)

    def close(self) -> None:
        """End the child at once, for good; what it was at is lost and raises ``EngineEnded``."""
        with self._lock:
            self._closed = True
            if self._child is not None:
                self._child.process.kill()
                self._child.process.join()

    def call(self, function: Callable[..., ResultT], *arguments: object) -> ResultT:
        """Call a function in the child and wait for what it gives."""
        child = self._started()
        try:
            child.connection.send((function, arguments))
            result, error, trace = child.connection.recv()
        except (EOFError, OSError) as lost:
            raise self._ended(child) from lost
        if error is not None:
            raise error from _RemoteTraceback(trace)
        value: ResultT = result
        return value

    def _started(self) -> _Link:
        with self._lock:
            if self._closed:
                raise EngineEnded("The engine has been closed.")
            if self._child is None:
                self._child = _Link(self._make_engine)
            return self._child

    def _ended(self, child: _Link) -> Exception:
        """Clear away a child that is no more, and say why."""
        child.process.join()
        child.connection.close()
        with self._lock:
            self._child, closed = None, self._closed
        code = child.process.exitcode
        if code in _KILLED and not closed:
            return OutOfMemory(
                "The engine was ended by the system, most likely for want of memory; make the "
                "picture smaller or close other programs, and try again."
            )
        return EngineEnded(f"The engine's process ended with exit code {code}.")


class _Link:
    """A child process and the way to it."""

    def __init__(self, make_engine: Callable[[], Engine]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        # A daemon, so that the interpreter ends it when it exits by whatever way.
        self.process = context.Process(target=_serve, args=(theirs, make_engine), daemon=True)
        self.process.start()
        # Only the child may hold its end, or its death would go unnoticed here.
        theirs.close()


class _RemoteTraceback(Exception):
    """Where in the child an error arose, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _Stream:
    """The events of the run that goes on in the child."""

    def __init__(self, engine: ProcessEngine) -> None:
        self._engine = engine
        self._open = True

    def __iter__(self) -> _Stream:
        return self

    def __next__(self) -> Event:
        if not self._open:
            raise StopIteration
        # An error ends the run, so that there is nothing left to close.
        self._open = False
        event = self._engine.call(_next)
        if event is None:
            raise StopIteration
        self._open = True
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


def _serve(connection: Connection, make_engine: Callable[[], Engine]) -> None:
    """Carry out calls until the window's process is gone, which alone answers to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    child = _Child(make_engine)
    # All calls in one thread; the executor hands over whatever they raise.
    with ThreadPoolExecutor(1) as thread:
        while True:
            try:
                function, arguments = connection.recv()
            except (EOFError, OSError):
                return
            connection.send(_answer(thread.submit(function, child, *arguments)))


def _answer(call: Future[object]) -> tuple[object, BaseException | None, str]:
    """Wait for a call and give its result, or its error and where that arose."""
    error = call.exception()
    if error is None:
        return call.result(), None, ""
    return None, _sendable(error), "".join(traceback.format_exception(error))


def _sendable(error: BaseException) -> BaseException:
    """Give an error that arrives: itself, or its words if it cannot be pickled there and back."""
    try:
        pickle.loads(pickle.dumps(error))
    except (pickle.PickleError, TypeError, AttributeError, ValueError, KeyError, IndexError):
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _generate(child: _Child, request: Request, preview: PreviewSettings, only: int | None) -> None:
    child.stream = child.ready().generate(request, preview=preview, only=only)


def _warm_up(child: _Child, model: str) -> None:
    child.stream = child.ready().warm_up(model)


def _next(child: _Child) -> Event | None:
    """Give the run's next event; None after its last."""
    return next(iter(child.stream), None) if child.stream is not None else None


def _close(child: _Child) -> None:
    stream, child.stream = child.stream, None
    if stream is not None:
        stream.close()
