"""The queue of jobs as the window sees it: whole immutable snapshots, never deltas."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from PySide6.QtCore import QObject, Signal, Slot

from core.errors import NeedsExport
from core.events import Saved
from desktop.studio import Pictures, Teaching, Work, WorkEvent
from desktop.worker import Cancelled, Done, EngineWorker, Failed, Job, Outcome

KEPT = 100
"""How many ended jobs a snapshot still lists."""


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """A job at one moment.

    Attributes:
        id: Its number, counted from 1.
        work: What it does.
        state: Where it stands.
        message: Why it failed, else empty.
        is_bug: Whether it failed by a fault of the app's own.
        lack: What its exported model has to be exported again for, or None.
        saved: The pictures on disk so far.
    """

    id: int
    work: Work
    state: JobState
    message: str = ""
    is_bug: bool = False
    lack: NeedsExport | None = None
    saved: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """All jobs at one moment, oldest first."""

    jobs: tuple[JobSnapshot, ...] = ()

    @property
    def running(self) -> JobSnapshot | None:
        """The job being carried out."""
        return next((job for job in self.jobs if job.state is JobState.RUNNING), None)

    @property
    def is_making(self) -> bool:
        """Whether pictures are being made."""
        return self.running is not None and isinstance(self.running.work, Pictures)

    @property
    def is_teaching(self) -> bool:
        """Whether a model is being taught."""
        return self.running is not None and isinstance(self.running.work, Teaching)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being done and nothing waits."""
        return all(job.state not in (JobState.QUEUED, JobState.RUNNING) for job in self.jobs)

    @property
    def waiting(self) -> int:
        """How many jobs wait that make pictures."""
        return sum(
            job.state is JobState.QUEUED and isinstance(job.work, Pictures) for job in self.jobs
        )

    def job(self, job_id: int) -> JobSnapshot | None:
        """The job of that number, if it is still listed."""
        return next((job for job in self.jobs if job.id == job_id), None)


class JobQueue(QObject):
    """Hands jobs to the worker one after the other.

    Signals:
        changed(QueueSnapshot): After every change.
        progressed(int, WorkEvent): What the running job reports.
        ended(JobSnapshot): Once for every job.
    """

    changed = Signal(object)
    progressed = Signal(int, object)
    ended = Signal(object)

    def __init__(self, worker: EngineWorker, out_dir: Path, parent: QObject | None = None) -> None:
        """Use ``worker``, which is started; pictures go to ``out_dir``."""
        super().__init__(parent)
        self._worker = worker
        self._out_dir = out_dir
        self._snapshot = QueueSnapshot()
        self._jobs: dict[int, Job] = {}
        self._next_id = 1
        self._closed = False
        worker.job_event.connect(self._on_event)
        worker.job_ended.connect(self._on_ended)

    @property
    def snapshot(self) -> QueueSnapshot:
        """The jobs as they stand."""
        return self._snapshot

    def enqueue(self, work: Work) -> int | None:
        """Add a job at the end and give its number, or None if the queue is closed."""
        if self._closed:
            return None
        job = Job(self._next_id, work, self._out_dir)
        self._next_id += 1
        self._jobs[job.id] = job
        entry = JobSnapshot(job.id, work, JobState.QUEUED)
        self._set((*self._snapshot.jobs, entry))
        self._start_next()
        return job.id

    def cancel(self, job_id: int) -> None:
        """Cancel a job; one that runs ends after its present step."""
        entry = self._snapshot.job(job_id)
        if entry is not None and entry.state is JobState.QUEUED:
            self._end(entry, JobState.CANCELLED)
        elif entry is not None and entry.state is JobState.RUNNING:
            self._jobs[job_id].cancelled.set()

    def stop_making(self) -> None:
        """Cancel the running job if it makes pictures."""
        if (running := self._snapshot.running) and self._snapshot.is_making:
            self.cancel(running.id)

    def clear_waiting(self) -> None:
        """Cancel the jobs that wait to make pictures."""
        for entry in self._snapshot.jobs:
            if entry.state is JobState.QUEUED and isinstance(entry.work, Pictures):
                self.cancel(entry.id)

    def close(self) -> None:
        """Take no more jobs, drop those that wait and cancel the running one."""
        self._closed = True
        for entry in reversed(self._snapshot.jobs):
            self.cancel(entry.id)

    def _start_next(self) -> None:
        if self._snapshot.running or self._closed:
            return
        entry = next((job for job in self._snapshot.jobs if job.state is JobState.QUEUED), None)
        if entry:
            self._update(replace(entry, state=JobState.RUNNING))
            self._worker.submit(self._jobs[entry.id])

    @Slot(int, object)
    def _on_event(self, job_id: int, event: WorkEvent) -> None:
        entry = self._snapshot.job(job_id)
        if entry is None or entry.state is not JobState.RUNNING:
            return
        if isinstance(event, Saved):
            self._update(replace(entry, saved=(*entry.saved, event.path)))
        self.progressed.emit(job_id, event)

    @Slot(int, object)
    def _on_ended(self, job_id: int, outcome: Outcome) -> None:
        entry = self._snapshot.job(job_id)
        if entry is None:
            return
        match outcome:
            case Done():
                self._end(entry, JobState.FINISHED)
            case Cancelled():
                self._end(entry, JobState.CANCELLED)
            case Failed(message=message, is_bug=is_bug, lack=lack):
                failed = replace(entry, message=message, is_bug=is_bug, lack=lack)
                self._end(failed, JobState.FAILED)
            case _:
                assert_never(outcome)
        self._start_next()

    def _end(self, entry: JobSnapshot, state: JobState) -> None:
        del self._jobs[entry.id]
        over = replace(entry, state=state)
        self._update(over)
        self.ended.emit(over)

    def _update(self, entry: JobSnapshot) -> None:
        self._set(tuple(entry if job.id == entry.id else job for job in self._snapshot.jobs))

    def _set(self, jobs: tuple[JobSnapshot, ...]) -> None:
        over = [job for job in jobs if job.id not in self._jobs]
        dropped = {job.id for job in over[:-KEPT]}
        self._snapshot = QueueSnapshot(tuple(job for job in jobs if job.id not in dropped))
        self.changed.emit(self._snapshot)
