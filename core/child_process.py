"""A child process that works behind the same protocol as an object here, event by event.

Imports no torch: that holds Python's lock for a fifth of a second at a time, and a window in the
same process would not answer for so long. In a child it never waits, and a child that the system
ends for want of memory takes no window along.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from core.errors import CoreError

RootT = TypeVar("RootT")
EventT = TypeVar("EventT")
ResultT = TypeVar("ResultT")
ArgumentsT = ParamSpec("ArgumentsT")

_KILLED = {-signal.SIGTERM, -getattr(signal, "SIGKILL", signal.SIGTERM)}
"""Exit codes of a process that the system ended."""


class ChildEnded(RuntimeError):
    """The child ended while it was at work, by ``close`` or by a fault of its own."""


class ChildProcess(Generic[RootT]):
    """A child process that holds one object and runs one iterator of events at a time.

    The child begins with the first call and works only while it is asked for the next event. Its
    errors are raised here, with its traceback as their cause. It ends with this process, however
    that ends. One run at a time, from one thread; ``close`` may be called from any.
    """

    def __init__(self, make: Callable[[], RootT], *, killed: CoreError) -> None:
        """Prepare.

        Args:
            make: Makes the object in the child; must be picklable.
            killed: What to raise when the system has ended the child.
        """
        self._make = make
        self._killed = killed
        self._lock = threading.Lock()
        self._child: _Link | None = None
        self._closed = False

    def stream(
        self,
        function: Callable[Concatenate[RootT, ArgumentsT], Iterator[EventT]],
        *arguments: ArgumentsT.args,
        **options: ArgumentsT.kwargs,
    ) -> ChildStream[EventT]:
        """Run an iterator of events in the child; closing it closes the one there.

        Args:
            function: Gives it, called in the child with its object; must be picklable.
            arguments: What else it is called with.
            options: Likewise.

        Raises:
            CoreError: What the child raises, and ``killed`` if the system has ended it.
            ChildEnded: If it ended otherwise. Both from ``next`` too.
        """
        self.call(_begin, function, arguments, options)
        return ChildStream(self)

    def close(self) -> None:
        """End the child at once, for good; what it was at is lost and raises ``ChildEnded``."""
        with self._lock:
            self._closed = True
            if self._child is not None:
                self._child.process.kill()
                self._child.process.join()

    def call(self, function: Callable[..., ResultT], *arguments: object) -> ResultT:
        """Call a function in the child, with the child's side first, and wait for what it gives."""
        self.ask(function, *arguments)
        value: ResultT = self.answer()
        return value

    def ask(self, function: Callable[..., object], *arguments: object) -> None:
        """Begin a call, of which ``answer`` gives the result."""
        child = self._started()
        try:
            child.connection.send((function, arguments))
        except OSError as lost:
            raise self._ended(child) from lost

    def has_answer(self, seconds: float) -> bool:
        """Wait for the answer to what was asked, no longer than so long."""
        try:
            return self._started().connection.poll(seconds)
        except OSError:
            # It is gone, which ``answer`` tells.
            return True

    def answer(self) -> Any:
        """Wait for what was asked."""
        child = self._started()
        try:
            result, error, trace = child.connection.recv()
        except (EOFError, OSError) as lost:
            raise self._ended(child) from lost
        if error is not None:
            raise error from _RemoteTraceback(trace)
        return result

    def _started(self) -> _Link:
        with self._lock:
            if self._closed:
                raise ChildEnded("It has been closed.")
            if self._child is None:
                self._child = _Link(self._make)
            return self._child

    def _ended(self, child: _Link) -> Exception:
        """Clear away a child that is no more, and say why."""
        child.process.join()
        child.connection.close()
        with self._lock:
            self._child, closed = None, self._closed
        code = child.process.exitcode
        if code in _KILLED and not closed:
            return self._killed
        return ChildEnded(f"The process ended with exit code {code}.")


class ChildStream(Generic[EventT]):
    """The events of the run that goes on in a child."""

    def __init__(self, child: ChildProcess[Any]) -> None:
        """Follow the run that was begun last."""
        self._child = child
        self._open = True
        self._asked = False

    def __iter__(self) -> ChildStream[EventT]:
        """Give itself."""
        return self

    def __next__(self) -> EventT:
        """Let the child work until the next event."""
        if not self._open:
            raise StopIteration
        self._ask()
        # An error ends the run, so that there is nothing left to close.
        self._open = self._asked = False
        event: EventT | None = self._child.answer()
        if event is None:
            raise StopIteration
        self._open = True
        return event

    def is_ready(self, seconds: float) -> bool:
        """Let the child work until the next event, and wait for it no longer than so long.

        It is for who has something else to say or to do until ``next`` would give the event.
        """
        self._ask()
        return self._child.has_answer(seconds)

    def close(self) -> None:
        """Stop for good, after what the child is at."""
        if self._open:
            self._open = False
            if self._asked:
                self._child.answer()
            self._child.call(_close)

    def _ask(self) -> None:
        if self._open and not self._asked:
            self._open = False
            self._child.ask(_next)
            self._open = self._asked = True


class _Link:
    """A child process and the way to it."""

    def __init__(self, make: Callable[[], Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        # A daemon, so that the interpreter ends it when it exits by whatever way.
        self.process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        self.process.start()
        # Only the child may hold its end, or its death would go unnoticed here.
        theirs.close()


class _RemoteTraceback(Exception):
    """Where in the child an error arose, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _Side:
    """The child's side: its object and the run that goes on.

    Attributes:
        make: Makes the object.
        root: Made by the first call that needs it, so that its errors reach the caller.
        stream: The present run.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.root: Any = None
        self.stream: Any = None

    def ready(self) -> Any:
        if self.root is None:
            self.root = self.make()
        return self.root


def _serve(connection: Connection, make: Callable[[], Any]) -> None:
    """Carry out calls until the window's process is gone, which alone answers to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    side = _Side(make)
    # All calls in one thread; the executor hands over whatever they raise.
    with ThreadPoolExecutor(1) as thread:
        while True:
            try:
                function, arguments = connection.recv()
            except (EOFError, OSError):
                return
            connection.send(_answer(thread.submit(function, side, *arguments)))


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


def _begin(
    side: _Side, function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    side.stream = function(side.ready(), *arguments, **options)


def _next(side: _Side) -> Any:
    """Give the run's next event; None after its last."""
    return next(iter(side.stream), None) if side.stream is not None else None


def _close(side: _Side) -> None:
    stream, side.stream = side.stream, None
    if stream is not None:
        stream.close()
