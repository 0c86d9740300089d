"""What happens while the library works: plain, picklable values. Imports no torch.

As with an engine's events, whoever iterates decides: closing the iterator stops the work and leaves
nothing half done behind.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from core.events import Notice
from core.models.library_file import Entry

SHORTEST_SECONDS = 0.2
"""Time between two reports of progress."""

WINDOW_SECONDS = 5.0
"""The past from which the speed is taken."""


class Task(StrEnum):
    """What is being done to a file."""

    HASH = "hash"
    COPY = "copy"
    DOWNLOAD = "download"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """So much of a task is done.

    Attributes:
        task: What is being done.
        what: The file it is done to at the moment, for people.
        done: Bytes of the whole task that are done.
        total: Bytes of the whole task.
        speed: Bytes a second of late; 0 while nothing arrives.
    """

    task: Task
    what: str
    done: int
    total: int
    speed: float = field(compare=False)

    @property
    def eta(self) -> float | None:
        """Seconds that are left at this speed; None while nobody can say."""
        return (self.total - self.done) / self.speed if self.speed > 0 else None


class Outcome(StrEnum):
    """What became of a model that was to be added."""

    NEW = "new"
    KNOWN = "known"  # It is in the library already, there or with the same bytes elsewhere.
    FOUND_AGAIN = "found-again"  # It had gone from its old place.
    UPDATED = "updated"  # Its bytes have changed, or it was copied into the data folder.


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A model is in the library.

    Attributes:
        entry: It, as it stands in the library.
        outcome: How it came to be there.
        same_as: Names of other entries with the same bytes.
    """

    entry: Entry
    outcome: Outcome
    same_as: tuple[str, ...] = ()


class State(StrEnum):
    """What a check of an entry found."""

    SOUND = "sound"
    MOVED = "moved"  # Found elsewhere by its hash; the library knows the new place now.
    MISSING = "missing"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """An entry was held against its files.

    Attributes:
        entry: It, with its new place if it has one.
        state: What was found.
        reason: One sentence where something is wrong or has changed, or empty.
    """

    entry: Entry
    state: State
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """An entry is no longer in the library.

    Attributes:
        entry: What it was.
        deleted: Whether its files went with it; those that were only referred to never do.
    """

    entry: Entry
    deleted: bool


LibraryEvent = Progress | Notice | Added | Checked


class Meter:
    """Turns bytes done into reports of progress, neither too many nor too few."""

    def __init__(
        self,
        task: Task,
        total: int,
        *,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to measure.

        Args:
            task: What is being done.
            total: Bytes that it takes.
            done: Bytes that were done before; they do not count as speed.
            clock: Gives the time in seconds.
        """
        self._task, self._total, self._clock = task, total, clock
        self._past = deque([(clock(), done)])
        self._reported = float("-inf")

    def at(self, what: str, done: int) -> Progress | None:
        """Give a report, or None if the last one was but a moment ago and there is more to come."""
        now = self._clock()
        if now - self._reported < SHORTEST_SECONDS and done < self._total:
            return None
        self._reported = now
        if done < self._past[-1][1]:
            # A file that arrived wrong is begun again.
            self._past = deque([(now, done)])
        self._past.append((now, done))
        while len(self._past) > 2 and now - self._past[1][0] > WINDOW_SECONDS:
            self._past.popleft()
        (begin, before), seconds = self._past[0], now - self._past[0][0]
        assert begin <= now
        return Progress(
            task=self._task,
            what=what,
            done=done,
            total=self._total,
            speed=(done - before) / seconds if seconds > 0 else 0.0,
        )
