"""Captions on their way: the job that has a model write them, as the window follows it."""

from __future__ import annotations

from PySide6.QtCore import QObject, Signal, Slot

from core.events import Loading, Prepared
from core.training.caption_events import Captioned, CaptionsDone, PassedOver
from core.training.caption_request import CaptionRequest
from desktop.jobs import JobQueue, JobSnapshot, JobState
from desktop.picture_folder import PictureFolder
from desktop.shelf_messages import Message, MessageKind
from desktop.studio import Captioning, WorkEvent


class CaptionRun(QObject):
    """Has captions written, one run at a time, and shows them as they come.

    Signals:
        changed(): It began, went on or ended.
        told(Message): A sentence for the person.
    """

    changed = Signal()
    told = Signal(object)

    def __init__(
        self, jobs: JobQueue, folder: PictureFolder, parent: QObject | None = None
    ) -> None:
        """Write captions for ``folder``."""
        super().__init__(parent)
        self._jobs = jobs
        self._folder = folder
        self._job: int | None = None
        self.progress: str | Prepared | None = None
        jobs.progressed.connect(self._on_progress)
        jobs.ended.connect(self._on_ended)

    def begin(self, request: CaptionRequest) -> None:
        """Write captions when the jobs before are done."""
        if self.progress is None:
            self.progress = self.tr("Captions are written when the jobs before are done")
            self._job = self._jobs.enqueue(Captioning(request))
            self.changed.emit()

    def stop(self) -> None:
        """Write no more after the present one."""
        if self._job is not None:
            self._jobs.cancel(self._job)

    @Slot(int, object)
    def _on_progress(self, job_id: int, event: WorkEvent) -> None:
        if job_id != self._job:
            return
        match event:
            case Loading(what=what):
                self.progress = self.tr("Loading {0}").format(what)
            case Captioned() | PassedOver():
                if isinstance(event, Captioned) and not event.kept:
                    self._folder.know({event.picture: event.caption})
                self.progress = Prepared(what="captions", index=event.index, total=event.total)
            case CaptionsDone():
                text = self.tr("{0} captions are written; {1} were there and kept.")
                text = text.format(event.written, event.kept)
                if event.passed_over:
                    text += " " + self.tr("{0} pictures got none.").format(event.passed_over)
                self.told.emit(Message(MessageKind.NOTICE, text))
        self.changed.emit()

    @Slot(object)
    def _on_ended(self, job: JobSnapshot) -> None:
        if job.id != self._job:
            return
        self._job = self.progress = None
        if job.state is JobState.FAILED:
            kind = MessageKind.FAULT if job.is_bug else MessageKind.ERROR
            self.told.emit(Message(kind, job.message))
        self.changed.emit()
