"""``caption``: captions for a folder of pictures. Imports no torch until it begins."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import Any, assert_never

from tqdm import tqdm

from core.commands.report import JsonReport
from core.events import Loading
from core.models.library import Library
from core.models.verdict import Kind
from core.paths import expanded
from core.training.caption_events import Captioned, CaptionEvent, CaptionsDone, PassedOver
from core.training.caption_request import CaptionRequest, CaptionSettings
from core.training.captioning import write_captions


def run(arguments: argparse.Namespace, library: Library) -> None:
    """Write the captions and say what happens.

    Raises:
        CoreError: It cannot be done; see ``write_captions``.
        KeyboardInterrupt: It was stopped; what was written is kept.
    """
    request = CaptionRequest(
        folder=expanded(arguments.folder),
        model=arguments.model,
        overwrite=arguments.overwrite,
        settings=CaptionSettings(
            prefix=arguments.prefix,
            suffix=arguments.suffix,
            beams=arguments.beams,
            max_tokens=arguments.max_tokens,
        ),
        device=arguments.device,
    )
    events = write_captions(request, library.finder(Kind.CAPTIONER))
    report = JsonReport(_as_json) if arguments.json else ProgressReport()
    with closing(report), closing(events):
        for event in events:
            report.show(event)


class ProgressReport:
    """A progress bar on stderr; on stdout each caption with its path."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._bar: tqdm[None] | None = None

    def show(self, event: CaptionEvent) -> None:
        """Move the bar, or print a line."""
        match event:
            case Loading():
                tqdm.write(f"Loading {event.what} ...", file=sys.stderr)
            case Captioned():
                if not event.kept:
                    tqdm.write(f"{event.path}: {event.caption}", file=sys.stdout)
                    sys.stdout.flush()
                self._move(event)
            case PassedOver():
                tqdm.write(event.reason, file=sys.stderr)
                self._move(event)
            case CaptionsDone():
                self.close()
                print(_summary(event), file=sys.stderr)
            case _:
                assert_never(event)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None

    def _move(self, event: Captioned | PassedOver) -> None:
        if self._bar is None:
            self._bar = tqdm(total=event.total, unit="picture", file=sys.stderr)
        self._bar.update(event.index - self._bar.n)


def _as_json(event: CaptionEvent) -> dict[str, Any]:
    match event:
        case Loading():
            return {"event": "loading", "what": event.what}
        case Captioned():
            return {
                "event": "caption",
                "picture": str(event.picture),
                "path": str(event.path),
                "caption": event.caption,
                "kept": event.kept,
                "index": event.index,
                "total": event.total,
                "seconds": round(event.seconds, 4),
            }
        case PassedOver():
            return {
                "event": "passed-over",
                "picture": str(event.picture),
                "reason": event.reason,
                "index": event.index,
                "total": event.total,
            }
        case CaptionsDone():
            return {
                "event": "finished",
                "written": event.written,
                "kept": event.kept,
                "passed_over": event.passed_over,
                "seconds": round(event.seconds, 4),
            }
        case _:
            assert_never(event)


def _summary(done: CaptionsDone) -> str:
    """Say in one sentence what became of the pictures."""
    parts = [f"{done.written} {'caption' if done.written == 1 else 'captions'} written"]
    if done.kept:
        parts.append(f"{done.kept} kept; --overwrite writes them anew")
    if done.passed_over:
        parts.append(f"{done.passed_over} passed over")
    return f"{', '.join(parts)} ({done.seconds:.1f} s)."
