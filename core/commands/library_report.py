"""What work on the library says while it goes on: to a program on stdout, or to a person."""

from __future__ import annotations

import sys
from typing import Any, assert_never

from tqdm import tqdm

from core.events import Notice
from core.models.library_events import (
    Added,
    Checked,
    LibraryEvent,
    Outcome,
    Progress,
    Task,
)
from core.models.library_file import Entry

DOING = {Task.HASH: "Reading", Task.COPY: "Copying", Task.DOWNLOAD: "Downloading"}


class ProgressReport:
    """A progress bar on stderr; on stdout what came of it."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._bar: tqdm[None] | None = None
        self._task: Task | None = None

    def show(self, event: LibraryEvent) -> None:
        """Move the bar, or print a line."""
        match event:
            case Progress():
                self._progress(event)
            case Notice():
                tqdm.write(event.message, file=sys.stderr)
            case Added():
                self.close()
                print(_added(event), flush=True)
            case Checked():
                self.close()
                line = f"{event.entry.name}: {event.state.value}"
                print(f"{line}. {event.reason}" if event.reason else line, flush=True)
            case _:
                assert_never(event)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = self._task = None

    def _progress(self, progress: Progress) -> None:
        if progress.total == 0:
            return
        if self._bar is None or self._task is not progress.task:
            self.close()
            self._task = progress.task
            # What was there before this run is no speed of it.
            self._bar = tqdm(
                total=progress.total,
                initial=progress.done,
                unit="B",
                unit_scale=True,
                file=sys.stderr,
            )
        self._bar.set_description(f"{DOING[progress.task]} {progress.what}", refresh=False)
        self._bar.update(progress.done - self._bar.n)


def entry_json(entry: Entry) -> dict[str, Any]:
    """Give an entry's plain values, and whether its files are where they were."""
    return {
        "name": entry.name,
        "title": entry.title,
        "path": str(entry.path),
        "kind": entry.kind.value,
        "family": entry.family,
        "size": entry.size,
        "precision": entry.precision,
        "sha256": entry.sha256,
        "autov2": entry.autov2,
        "owned": entry.owned,
        "source": entry.source,
        "added": entry.added,
        "missing": bool(entry.missing()),
    }


def as_json(event: LibraryEvent) -> dict[str, Any]:
    """Give an event's plain values."""
    match event:
        case Progress():
            return {
                "event": "progress",
                "task": event.task.value,
                "what": event.what,
                "done": event.done,
                "total": event.total,
                "speed": round(event.speed, 1),
                "eta": None if event.eta is None else round(event.eta, 1),
            }
        case Notice():
            return {"event": "notice", "message": event.message}
        case Added():
            return {
                "event": "added",
                "outcome": event.outcome.value,
                "same_as": list(event.same_as),
            } | entry_json(event.entry)
        case Checked():
            return {
                "event": "checked",
                "name": event.entry.name,
                "state": event.state.value,
                "reason": event.reason,
                "path": str(event.entry.path),
            }
        case _:
            assert_never(event)


def _added(event: Added) -> str:
    entry = event.entry
    precision = f" ({entry.precision})" if entry.precision else ""
    where = f"{entry.title}{precision}, {entry.path}"
    match event.outcome:
        case Outcome.NEW:
            same = f"; the same bytes as {', '.join(event.same_as)}" if event.same_as else ""
            return f"{entry.name}: {where}{same}"
        case Outcome.KNOWN:
            return f"{entry.name} is in the library already: {where}"
        case Outcome.FOUND_AGAIN:
            return f"{entry.name} is found again: {where}"
        case Outcome.UPDATED:
            return f"{entry.name} is brought up to date: {where}"
        case _:
            assert_never(event.outcome)
