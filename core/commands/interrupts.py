"""Ctrl-C and the system's request to end, held back while pictures are being finished."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator
from contextlib import closing
from types import FrameType, TracebackType
from typing import TypeVar

from core.events import Event, EventStream, Stream, is_finishing

EventT = TypeVar("EventT")

_Handler = Callable[[int, FrameType | None], object]


def whole_batches(events: EventStream) -> Generator[Event, None, None]:
    """Pass a run's events on; a first interrupt waits until the batch under way is on the disk.

    Between the last step of a batch and its last file it would cost pictures that took all of their
    time. A second one is obeyed at once. Closing this closes the run.

    Args:
        events: What a run gives that saves its pictures.

    Raises:
        KeyboardInterrupt: After the batch, where one came meanwhile.
    """
    with closing(events), _Hold() as hold:
        for event in events:
            if is_finishing(event):
                hold.begin()
                yield event
            else:
                yield event
                hold.end()


def between_events(events: Stream[EventT]) -> Generator[EventT, None, None]:
    """Pass a run's events on; a first interrupt waits until the work on the next one is done.

    A step of a training cut in two would cost all that was learned since the last checkpoint;
    stopped between two, it writes one. A second interrupt is obeyed at once. Closing this closes
    the run.

    Raises:
        KeyboardInterrupt: Between two events, where one came meanwhile.
    """
    with closing(events), _Hold() as hold:
        hold.begin()
        for event in events:
            hold.end()
            yield event
            hold.begin()
        hold.end()


class _Hold:
    """Stands before the handlers that there are; signals without one are left alone."""

    def __init__(self) -> None:
        self._handlers: dict[int, _Handler] = {}
        self._is_on = False
        self._came: int | None = None

    def __enter__(self) -> _Hold:
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(handler := signal.getsignal(number)):
                self._handlers[number] = handler
                signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def begin(self) -> None:
        self._is_on = True

    def end(self) -> None:
        self._is_on = False
        if self._came is not None:
            number, self._came = self._came, None
            self._handlers[number](number, None)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._is_on and self._came is None:
            self._came = number
            return
        self._handlers[number](number, frame)
