"""``export-coreml``: a model written for Apple's runtimes. Imports no torch."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import asdict
from typing import Any, assert_never

from tqdm import tqdm

from core.commands.report import JsonReport, as_json, print_loading
from core.coreml_folder import ExportFormat, PartRecord
from core.events import Loading, Notice
from core.models.copying import format_size
from core.paths import Profile
from coreml_export.events import Exported, ExportEvent, ExportStep, Needs, PartWritten
from coreml_export.export import export
from coreml_export.request import ExportRequest


def run(request: ExportRequest, profile: Profile, *, to_program: bool) -> None:
    """Export, and say what happens: to a program, in JSON, or to a person.

    Raises:
        CoreError: It cannot be done; see ``export``.
        KeyboardInterrupt: It was stopped; finished parts are kept.
    """
    events = export(request, profile)
    report = JsonReport(_as_json) if to_program else ProgressReport()
    with closing(report), closing(events):
        try:
            for event in events:
                report.show(event)
        except KeyboardInterrupt:
            if not to_program:
                report.close()
                _say(
                    "Stopped; finished parts are kept, and the same command goes on with the rest."
                )
            raise


class ProgressReport:
    """A progress bar on stderr; on stdout the path of each part and how close it is to torch."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._bar: tqdm[None] | None = None

    def show(self, event: ExportEvent) -> None:
        """Move the bar, or print a line."""
        match event:
            case Loading():
                print_loading(event)
            case Notice():
                _say(event.message)
            case Needs():
                _say(_needs(event))
            case ExportStep():
                self._move(event)
            case PartWritten():
                tqdm.write(f"{event.path}: {_figures(event.record, kept=event.kept)}", sys.stdout)
                sys.stdout.flush()
            case Exported():
                self.close()
                _say(_summary(event))
            case _:
                assert_never(event)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None

    def _move(self, step: ExportStep) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=100,
                bar_format="{desc}: {n:3.0f}%|{bar}| [{elapsed}{postfix}]",
                file=sys.stderr,
            )
        left = step.seconds_left
        self._bar.set_description_str(f"{step.stage} {step.part}", refresh=False)
        self._bar.set_postfix_str(
            "" if left is None else f"about {tqdm.format_interval(left)} left", refresh=False
        )
        self._bar.update(100 * step.share - self._bar.n)
        self._bar.refresh()


def _as_json(event: ExportEvent) -> dict[str, Any]:
    match event:
        case Loading() | Notice():
            return as_json(event)
        case Needs():
            return {"event": "needs"} | asdict(event)
        case ExportStep():
            left = event.seconds_left
            return {
                "event": "step",
                "part": event.part,
                "stage": str(event.stage),
                "share": round(event.share, 4),
                "seconds_left": None if left is None else round(left, 1),
            }
        case PartWritten():
            return {
                "event": "part",
                "path": str(event.path),
                "kept": event.kept,
                "name": event.record.name,
                "bytes": event.record.bytes,
                "compression": event.record.compression,
                "psnr": dict(event.record.psnr),
                "seconds": event.record.seconds,
            }
        case Exported():
            return {
                "event": "finished",
                "folder": str(event.folder),
                "target": event.manifest.target,
                "parts": [part.name for part in event.manifest.parts],
                "seconds": round(event.seconds, 4),
            }
        case _:
            assert_never(event)


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


def _needs(needs: Needs) -> str:
    disk, free_disk, memory, free_memory = (
        format_size(size) for size in (needs.disk, needs.free_disk, needs.memory, needs.free_memory)
    )
    return (
        f"Makes {', '.join(needs.parts)} for {needs.target} and later; takes about {disk} of "
        f"{free_disk} on the disk and {memory} of {free_memory} of memory."
    )


def _figures(record: PartRecord, *, kept: bool) -> str:
    """Say in a few words how large a part is and how close to torch."""
    words = [format_size(record.bytes)]
    names = {"fp32": "dB to torch", "fp16": "dB in half precision", "unpacked": "dB to unpacked"}
    words += [
        f"{record.psnr[name]:.1f} {what}" for name, what in names.items() if name in record.psnr
    ]
    if kept:
        words.append("kept")
    return ", ".join(words)


def _summary(done: Exported) -> str:
    many = len(done.manifest.parts)
    text = f"{many} {'part' if many == 1 else 'parts'} in {done.folder} ({done.seconds:.0f} s)."
    if done.manifest.format is ExportFormat.COREML and sys.platform != "darwin":
        text += " To run them, or to give them to other apps, compile them on a Mac."
    return text
