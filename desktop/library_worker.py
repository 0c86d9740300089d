"""The threads that work on the library: one for what lies on this machine, one for downloads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from core.child_process import ChildProcess
from core.errors import DownloadFailed
from core.models.download import download
from core.models.library import Library
from core.models.library_events import LibraryEvent
from core.paths import Profile
from desktop.worker import Cancelled, Done, Outcome, Worker


class Events(Protocol):
    """An iterator of events that can be stopped between two of them."""

    def __iter__(self) -> Iterator[object]:
        """Give itself."""

    def close(self) -> None:
        """Stop, with nothing left half done."""


@dataclass(frozen=True, slots=True)
class LibraryTask:
    """One piece of work, with the switch that stops it.

    Attributes:
        id: Its number.
        begin: Starts it; called in the worker's thread.
    """

    id: int
    begin: Callable[[], Events]
    cancelled: threading.Event = field(default_factory=threading.Event, compare=False)


class LibraryWorker(Worker[LibraryTask]):
    """Carries out work on the library."""

    def carry_out(self, task: LibraryTask) -> Outcome:
        """Report a task's events until it is over or is to stop."""
        if task.cancelled.is_set():
            return Cancelled()
        with closing(task.begin()) as events:
            for event in events:
                self.job_event.emit(task.id, event)
                if self.is_to_stop(task):
                    return Cancelled()
        return Done()


class Downloads:
    """Downloads in a child process: what they import would keep the window from answering."""

    def __init__(self, profile: Profile) -> None:
        """Prepare for the library of a profile; the child begins with the first download."""
        self._child = ChildProcess(
            partial(Library, profile),
            killed=DownloadFailed(
                "The download was ended by the system; try again, what has arrived is kept."
            ),
        )

    def download(self, model_id: str) -> Events:
        """Download a model; see ``core.models.download``."""
        return self._child.stream(_download, model_id)

    def close(self) -> None:
        """End the child; what has arrived is kept."""
        self._child.close()


def _download(library: Library, model_id: str) -> Iterator[LibraryEvent]:
    return download(model_id, library)
