"""A model's conversion as the window sees it: whole immutable snapshots."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from PySide6.QtCore import QObject, Signal, Slot

from core.coreml_folder import ExportFormat
from core.errors import Unsupported
from core.events import Loading, Notice
from core.models.listing import Listed
from coreml_export.events import Exported, ExportEvent, ExportStep, Needs, PartWritten
from coreml_export.export import check_tools
from coreml_export.request import ExportRequest
from desktop.library_worker import Events, LibraryTask, LibraryWorker
from desktop.worker import Cancelled, Failed, Outcome

Exporter = Callable[[ExportRequest], Events]
"""Begins an export; see ``coreml_export.export.export``."""


def refused_formats() -> dict[ExportFormat, str]:
    """Say why formats cannot be written on this system; those that can are left out."""
    refused = {}
    for kind in ExportFormat:
        try:
            check_tools(kind)
        except Unsupported as error:
            refused[kind] = str(error)
    return refused


class Phase(StrEnum):
    """Where a conversion stands."""

    NONE = "none"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"  # By the person, who may still go on with it.
    FINISHED = "finished"
    FAILED = "failed"

    @property
    def is_busy(self) -> bool:
        """Whether a conversion is at work."""
        return self in (Phase.RUNNING, Phase.STOPPING)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionSnapshot:
    """A conversion at one moment.

    Attributes:
        phase: Where it stands.
        request: What is converted; None while there is nothing.
        model: The model that it is made from.
        loading: What is being read, before there is a step.
        needs: What it takes, once that is known.
        step: Which part is at work, and how far the whole is; None before the first.
        written: The parts that lie on the disk.
        notices: What the person should know of it.
        exported: What came out, once it did.
        message: Why it failed, or empty.
        is_bug: Whether it failed by a fault of the app's own.
    """

    phase: Phase = Phase.NONE
    request: ExportRequest | None = None
    model: Listed | None = None
    loading: str = ""
    needs: Needs | None = None
    step: ExportStep | None = None
    written: tuple[PartWritten, ...] = ()
    notices: tuple[str, ...] = ()
    exported: Exported | None = None
    message: str = ""
    is_bug: bool = False

    @property
    def share(self) -> float | None:
        """How much of it is done, 0 to 1; None while that is not known."""
        return self.step.share if self.step is not None else None

    @property
    def waiting(self) -> tuple[str, ...]:
        """The parts that are not begun."""
        if self.needs is None:
            return ()
        written = {part.record.name for part in self.written}
        at = self.step.part if self.step is not None else ""
        return tuple(
            name
            for name in self.needs.parts
            # A UNet in two halves is written as such.
            if name != at and not {name, f"{name}Chunk1"} & written
        )

    @property
    def at_work(self) -> ExportStep | None:
        """The part that is being made, or None."""
        written = {part.record.name for part in self.written}
        if self.step is None or {self.step.part, f"{self.step.part}Chunk2"} & written:
            return None
        return self.step


class Conversion(QObject):
    """Begins, stops and follows one conversion at a time, in a thread of its own.

    Attributes:
        refused: Why formats cannot be written on this system; those left out can.

    Signals:
        changed(ConversionSnapshot): After every change.
    """

    changed = Signal(object)

    def __init__(
        self,
        export: Exporter,
        refused: Mapping[ExportFormat, str],
        parent: QObject | None = None,
    ) -> None:
        """Begin nothing yet; the thread begins with the first conversion.

        Args:
            export: What converts.
            refused: Why formats cannot be written on this system; those left out can.
            parent: Its owner.
        """
        super().__init__(parent)
        self.refused = refused
        self._export = export
        self._snapshot = ConversionSnapshot()
        self._worker = LibraryWorker()
        self._task: LibraryTask | None = None
        self._worker.job_event.connect(self._on_event)
        self._worker.job_ended.connect(self._on_ended)

    @property
    def snapshot(self) -> ConversionSnapshot:
        """The conversion as it stands."""
        return self._snapshot

    def begin(self, request: ExportRequest, model: Listed) -> None:
        """Convert, or go on where it was stopped; nothing happens while a conversion is at work.

        Args:
            request: What is asked for.
            model: The model that it names.
        """
        if self._snapshot.phase.is_busy:
            return
        number = self._task.id + 1 if self._task is not None else 1
        self._task = LibraryTask(number, lambda: self._export(request))
        self._set(ConversionSnapshot(phase=Phase.RUNNING, request=request, model=model))
        if not self._worker.isRunning():
            self._worker.start()
        self._worker.submit(self._task)

    def stop(self) -> None:
        """End the part at work; those that are finished stay, and it can be gone on with."""
        if self._task is not None and self._snapshot.phase is Phase.RUNNING:
            self._task.cancelled.set()
            self._change(phase=Phase.STOPPING)

    def forget(self) -> None:
        """Show none any more, while none is at work."""
        if not self._snapshot.phase.is_busy:
            self._set(ConversionSnapshot())

    def close(self) -> None:
        """Stop for good; finished parts stay. Waits until nothing is written any more."""
        self._worker.close()
        self._worker.wait()

    @Slot(int, object)
    def _on_event(self, _task: int, event: ExportEvent) -> None:
        match event:
            case Loading(what=what):
                self._change(loading=what)
            case Notice(message=message):
                self._change(notices=(*self._snapshot.notices, message))
            case Needs():
                self._change(needs=event)
            case ExportStep():
                self._change(step=event)
            case PartWritten():
                self._change(written=(*self._snapshot.written, event))
            case Exported():
                self._change(exported=event)

    @Slot(int, object)
    def _on_ended(self, _task: int, outcome: Outcome) -> None:
        match outcome:
            case Failed(message=message, is_bug=is_bug):
                self._change(phase=Phase.FAILED, message=message, is_bug=is_bug)
            case Cancelled() if self._snapshot.exported is None:
                self._change(phase=Phase.STOPPED)
            case _:
                self._change(phase=Phase.FINISHED)

    def _change(self, **changes: object) -> None:
        change: Callable[..., ConversionSnapshot] = dataclasses.replace
        self._set(change(self._snapshot, **changes))

    def _set(self, snapshot: ConversionSnapshot) -> None:
        self._snapshot = snapshot
        self.changed.emit(snapshot)
