"""What a run says while it goes on: to a program on stdout, or to a person on the terminal."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, assert_never

from tqdm import tqdm

from core.events import (
    Event,
    Finished,
    ImageReady,
    Loading,
    MemoryEstimate,
    Notice,
    Saved,
    Step,
)
from core.models.copying import format_size

EventT = TypeVar("EventT")


class JsonReport(Generic[EventT]):
    """One JSON object a line on stdout, at once, and nothing else."""

    def __init__(self, as_json: Callable[[EventT], Mapping[str, Any]]) -> None:
        """Print what ``as_json`` gives of an event, unless that is empty."""
        self._as_json = as_json

    def show(self, event: EventT) -> None:
        """Print the event."""
        if values := self._as_json(event):
            print(json.dumps(values), flush=True)

    def close(self) -> None:
        """Leave it at that."""


def as_json(event: Event) -> dict[str, Any]:
    """Give an event's plain values; nothing for a picture that is not on the disk yet."""
    match event:
        case Loading():
            since = {"seconds": round(event.seconds, 1)} if event.seconds else {}
            return {"event": "loading", "what": event.what} | since
        case MemoryEstimate():
            return {
                "event": "memory",
                "needed": event.needed,
                "free": event.free,
                "mode": str(event.mode),
            }
        case Step():
            return {
                "event": "step",
                "index": event.index,
                "total": event.total,
                "pictures": event.pictures,
                "total_pictures": event.total_pictures,
                "seconds": round(event.seconds, 4),
                "preview": bool(event.previews),
            }
        case Saved():
            request = event.image.request
            return {
                "event": "image",
                "path": str(event.path),
                "seed": event.image.seed,
                "picture": event.image.picture,
                "prompt": request.prompt_of(event.image.picture),
                "tokens": event.image.tokens,
                "width": event.image.pixels.shape[1],
                "height": event.image.pixels.shape[0],
                "seconds": round(event.image.seconds, 4),
                "model_sha256": event.image.model_sha256,
            }
        case Notice():
            return {"event": "notice", "message": event.message}
        case Finished():
            return {
                "event": "finished",
                "pictures": event.pictures,
                "seconds": round(event.seconds, 4),
            }
        case ImageReady():
            return {}
        case _:
            assert_never(event)


class ProgressReport:
    """A progress bar on stderr; on stdout the path of each picture."""

    def __init__(self, *, one_batch: bool = False) -> None:
        """Show nothing yet.

        Args:
            one_batch: Whether but one batch of the request is run.
        """
        self._one_batch = one_batch
        self._bar: tqdm[None] | None = None
        self._done = 0
        """Steps of the batches before the present one."""
        self._saved = 0

    def show(self, event: Event) -> None:
        """Move the bar, or print a line."""
        if isinstance(event, Step):
            self._step(event)
            return
        if isinstance(event, Saved):
            self._saved += 1
        if isinstance(event, Finished):
            self.close()
        print_event(event)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
        # A next request has a bar of its own.
        self._bar, self._done = None, 0

    def _step(self, step: Step) -> None:
        # Counted anew at each batch: after a lack of memory they are smaller than before.
        left = 1 if self._one_batch else step.total_pictures - self._saved
        total = self._done + math.ceil(left / len(step.pictures)) * step.total
        if self._bar is None:
            self._bar = tqdm(total=total, unit="it", file=sys.stderr)
            count_from(self._bar, step.seconds)
        self._bar.total = total
        self._bar.update(self._done + step.index - self._bar.n)
        if step.index == step.total:
            self._done += step.total


def count_from(bar: tqdm[None], seconds: float) -> None:
    """Count the time that the first step took too: a bar appears when it is done."""
    # A bar that ``TQDM_DISABLE`` switches off has no clock.
    if not bar.disable:
        bar.start_t -= seconds


def print_loading(event: Loading) -> None:
    """Say that something is loaded, and once a minute how long that has been going on."""
    if event.seconds == 0:
        print_line(f"Loading {event.what} ...")
    elif event.seconds % 60 < 1:
        print_line(f"Loading {event.what} ... {event.seconds:.0f} s")


def print_event(
    event: Loading | MemoryEstimate | Saved | Notice | Finished | ImageReady,
) -> None:
    """Tell a person of anything but a step: beside a bar if there is one, a picture on stdout."""
    match event:
        case Loading():
            print_loading(event)
        case Saved():
            tqdm.write(str(event.path), file=sys.stdout)
            sys.stdout.flush()
        case Notice():
            print_line(event.message)
        case Finished():
            many = "picture" if event.pictures == 1 else "pictures"
            print_line(f"{event.pictures} {many} in {event.seconds:.1f} s.")
        case MemoryEstimate():
            needed, free = format_size(event.needed), format_size(event.free)
            print_line(f"Needs about {needed} of {free} of free memory (memory {event.mode}).")
        case ImageReady():
            pass  # Its path is told, once it is saved.
        case _:
            assert_never(event)


def print_line(text: str) -> None:
    """Print a line on stderr, above a bar if there is one."""
    tqdm.write(text, file=sys.stderr)
