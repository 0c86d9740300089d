"""The training as the window sees it: whole immutable snapshots, and the curve of its losses."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from PySide6.QtCore import QObject, QThreadPool, QTimer, Signal, Slot
from PySide6.QtGui import QImage

from core.errors import CoreError, InvalidRequest
from core.events import (
    Checkpointed,
    ImageReady,
    Loading,
    MemoryEstimate,
    Notice,
    Prepared,
    Sample,
    Step,
    Trained,
    TrainingEvent,
    TrainStep,
)
from core.request import DeviceName
from core.training.config import TrainConfig
from core.training.folder import Folder
from desktop.images import shown
from desktop.jobs import JobQueue, JobSnapshot, JobState
from desktop.loss_curve import LossCurve
from desktop.studio import Teaching
from desktop.training_diary import MOST_LINES, Diary, Ended
from desktop.training_folder import Record, Shot, Usable, latest_usable, read_training
from desktop.training_words import told

BEAT_MS = 80
"""Events come faster than anyone looks; so often the window is told of them."""

LIVE_SIDE = 256


class Phase(StrEnum):
    """Where a training stands."""

    NONE = "none"
    WAITING = "waiting"  # For pictures that are being made.
    RUNNING = "running"
    ENDING = "ending"  # Its checkpoint is being written.
    PAUSED = "paused"
    STOPPED = "stopped"  # By the person, who may still go on with it.
    FINISHED = "finished"
    FAILED = "failed"

    @property
    def is_busy(self) -> bool:
        """Whether the training has a job."""
        return self in (Phase.WAITING, Phase.RUNNING, Phase.ENDING)

    @property
    def is_held(self) -> bool:
        """Whether its settings cannot be others: it has a job, or is to have one again."""
        return self.is_busy or self is Phase.PAUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSnapshot:
    """A training at one moment.

    Attributes:
        phase: Where it stands.
        config: What is learned; None while there is nothing.
        doing: What goes on beside learning, a few words, or empty.
        share: How much of that is done, or None if nobody knows.
        step: Steps learned.
        loss: Of the last step.
        learning_rate: Of the last step.
        steps_per_second: 0 while it is not known.
        seconds_left: At that speed, samples included.
        shots: The samples, in the order in which they came.
        saved: Steps of the latest checkpoint; 0 without one.
        usable: What can be put to use.
        made: What came out, once it did.
        lines: What happened, a line each, oldest first.
        message: Why it failed, or empty.
        is_bug: Whether it failed by a fault of the app's own.
    """

    phase: Phase = Phase.NONE
    config: TrainConfig | None = None
    doing: str = ""
    share: float | None = None
    step: int = 0
    loss: float = 0.0
    learning_rate: float = 0.0
    steps_per_second: float = 0.0
    seconds_left: float = 0.0
    shots: tuple[Shot, ...] = ()
    saved: int = 0
    usable: Usable | None = None
    made: Trained | None = None
    lines: tuple[str, ...] = ()
    message: str = ""
    is_bug: bool = False


class Training(QObject):
    """Begins, pauses and follows one training.

    Signals:
        changed(TrainingSnapshot): After every change, but no more often than anyone looks.
        opened(TrainingSnapshot): A folder has been read; comes before the change.
        shown(QImage): A picture on its way, a sample's or one of the class.
        failed(str): A sentence on why a folder cannot be opened.
    """

    changed = Signal(object)
    opened = Signal(object)
    shown = Signal(QImage)
    failed = Signal(str)
    _read = Signal(object)

    def __init__(self, jobs: JobQueue, parent: QObject | None = None) -> None:
        """Start without a training."""
        super().__init__(parent)
        self._jobs = jobs
        self._job = 0
        self._first = 0
        self._is_to_stop = False
        self.curve = LossCurve()
        self._snapshot = TrainingSnapshot()
        self._diary: Diary | None = None
        self._writer = QThreadPool(self)
        self._writer.setMaxThreadCount(1)
        self._pool = QThreadPool(self)
        self._beat = QTimer(self, singleShot=True, interval=BEAT_MS)
        self._beat.timeout.connect(self._tell)
        self._read.connect(self._on_read)
        jobs.changed.connect(self._on_jobs)
        jobs.progressed.connect(self._on_progress)
        jobs.ended.connect(self._on_ended)

    @property
    def snapshot(self) -> TrainingSnapshot:
        """The training as it stands."""
        return self._snapshot

    def begin(self, config: TrainConfig, device: DeviceName = DeviceName.AUTO) -> None:
        """Train on a device; nothing happens while a training goes on."""
        if not self._snapshot.phase.is_busy:
            self.curve = LossCurve()
            self._snapshot = TrainingSnapshot(config=config)
            self._enqueue(Teaching(config, device=device))

    def resume(self, config: TrainConfig, device: DeviceName = DeviceName.AUTO) -> None:
        """Go on with a training that was paused or stopped, has failed, or is to learn more.

        Args:
            config: Its settings, some of which may be others than before.
            device: Where it goes on.
        """
        phase = self._snapshot.phase
        if not phase.is_busy and phase is not Phase.NONE:
            self._change(config=config)
            # One that failed before its first checkpoint begins once more.
            begun = bool(Folder(Path(config.out)).steps())
            self._enqueue(Teaching(config, begun, device))

    def forget(self) -> None:
        """Show none any more, while none goes on."""
        if not self._snapshot.phase.is_busy:
            self.curve = LossCurve()
            self._snapshot, self._diary = TrainingSnapshot(), None
            self._tell()

    def pause(self) -> None:
        """End after the present step, with a checkpoint, to go on later."""
        if self._snapshot.phase is Phase.RUNNING:
            self._change(phase=Phase.ENDING)
            self._tell()
        self._jobs.cancel(self._job)

    def stop(self) -> None:
        """End for good, with a checkpoint; the controls are free for another training."""
        self._is_to_stop = True
        if self._snapshot.phase is Phase.PAUSED:
            self._end(Phase.STOPPED)
            self._tell()
        else:
            self.pause()

    def open(self, root: Path) -> None:
        """Read a training's folder, so that it can be looked at and gone on with."""
        if not self._snapshot.phase.is_busy:
            self._pool.start(lambda: self._read.emit(self._read_or_refuse(root)))

    def close(self) -> None:
        """Read no more, and leave nothing unwritten."""
        self._pool.clear()
        self._pool.waitForDone()
        self._write()
        self._writer.waitForDone()

    def _enqueue(self, work: Teaching) -> None:
        self._is_to_stop = False
        if self._diary is None or not work.resume:
            self._diary = Diary(Path(work.config.out), anew=not work.resume)
        self._change(phase=Phase.WAITING, doing="", share=None, message="", made=None)
        self._note(self.tr("Going on") if work.resume else self.tr("Beginning"))
        job = self._jobs.enqueue(work)
        if job is not None:
            self._job = job
            # The queue has told of it before its number was known.
            self._on_jobs()
        self._tell()

    @Slot(object)
    def _on_read(self, found: Record | CoreError) -> None:
        if isinstance(found, CoreError):
            self.failed.emit(str(found))
            return
        if self._snapshot.phase.is_busy:
            return
        self.curve = found.curve
        self._diary = Diary(Path(found.config.out), anew=False)
        ended = found.ended
        self._snapshot = TrainingSnapshot(
            phase=_phase_of(found),
            config=found.config,
            step=found.config.steps if found.is_over else found.step,
            shots=found.shots,
            saved=found.step,
            usable=found.usable,
            made=found.made,
            lines=found.lines,
            message=ended.message if ended is not None else "",
            is_bug=ended is not None and ended.is_bug,
        )
        self.opened.emit(self._snapshot)
        self._tell()

    @Slot()
    def _on_jobs(self) -> None:
        job = self._jobs.snapshot.job(self._job)
        is_running = job is not None and job.state is JobState.RUNNING
        if is_running and self._snapshot.phase is Phase.WAITING:
            self._first = 0
            self._change(phase=Phase.RUNNING, doing=self.tr("Starting"), share=None)
            self._tell()

    @Slot(int, object)
    def _on_progress(self, job_id: int, event: TrainingEvent) -> None:
        if job_id != self._job:
            return
        if line := told(event):
            self._note(line)
        match event:
            case Loading() | Prepared():
                share = event.index / event.total if isinstance(event, Prepared) else None
                self._change(doing=line or self._preparing(event), share=share)
            case TrainStep():
                self._learn(event)
            case Step():
                self._draw(event)
            case Sample():
                self._take_sample(event)
            case ImageReady():
                self.shown.emit(shown(event.pixels, LIVE_SIDE))
            case Checkpointed(step=step, usable=path):
                self._change(saved=step)
                if path is not None:
                    self._change(usable=Usable(path, step))
            case Trained():
                self._change(made=event, usable=Usable(event.path), step=event.steps)
            case Notice() | MemoryEstimate() | _:
                pass
        if not self._beat.isActive():
            self._beat.start()

    def _preparing(self, event: Loading | Prepared) -> str:
        if isinstance(event, Prepared):
            text = self.tr("Preparing {0}: {1} of {2}")
            return text.format(event.what, event.index, event.total)
        return self.tr("Loading {0}").format(event.what)

    def _learn(self, event: TrainStep) -> None:
        if event.index <= self._snapshot.step:
            # It goes on from a checkpoint, and so does its clock.
            self._first = 0
        self._first = self._first or event.index
        self.curve.append(event.index, event.loss)
        done = event.index - self._first + 1
        speed = done / event.seconds if event.seconds > 0 else 0.0
        self._change(
            doing="",
            step=event.index,
            loss=event.loss,
            learning_rate=event.learning_rate,
            steps_per_second=speed,
            seconds_left=(event.total - event.index) / speed if speed else 0.0,
        )

    def _draw(self, event: Step) -> None:
        for preview in event.previews[:1]:
            self.shown.emit(shown(preview.pixels, LIVE_SIDE))
        share = event.index / event.total
        self._change(doing=self.tr("Drawing"), share=share)

    def _take_sample(self, event: Sample) -> None:
        self.shown.emit(shown(event.pixels, LIVE_SIDE))
        shot = Shot(event.step, event.prompt, event.path)
        others = [s for s in self._snapshot.shots if (s.step, s.prompt) != (shot.step, shot.prompt)]
        self._change(shots=(*others, shot))

    @Slot(object)
    def _on_ended(self, job: JobSnapshot) -> None:
        if job.id != self._job or not isinstance(job.work, Teaching):
            return
        folder = Folder(Path(job.work.config.out))
        self._change(saved=max(folder.steps(), default=0))
        usable = latest_usable(folder)
        match job.state:
            case JobState.FINISHED:
                self._change(phase=Phase.FINISHED)
            case JobState.FAILED:
                self._note(job.message)
                self._change(message=job.message, is_bug=job.is_bug)
                self._change(usable=usable or self._snapshot.usable)
                self._end(Phase.FAILED)
            case _:
                self._note(self.tr("Stopped") if self._is_to_stop else self.tr("Paused"))
                self._change(usable=usable or self._snapshot.usable)
                self._end(Phase.STOPPED if self._is_to_stop else Phase.PAUSED)
        self._change(doing="", share=None)
        self._tell()

    def _end(self, phase: Phase) -> None:
        """Take down how it ended, so that it is found so again."""
        self._change(phase=phase)
        now = self._snapshot
        if self._diary is not None and phase in (Phase.STOPPED, Phase.FAILED):
            has_failed = phase is Phase.FAILED
            ended = Ended(
                saved=now.saved, has_failed=has_failed, message=now.message, is_bug=now.is_bug
            )
            self._diary.end(ended)

    def _note(self, line: str) -> None:
        text = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}  {line}"
        self._change(lines=(*self._snapshot.lines, text)[-MOST_LINES:])
        if self._diary is not None:
            self._diary.note(text)

    def _write(self) -> None:
        if self._diary is not None:
            self._writer.start(self._diary.write)

    def _change(self, **changes: object) -> None:
        change: Callable[..., TrainingSnapshot] = dataclasses.replace
        self._snapshot = change(self._snapshot, **changes)

    def _tell(self) -> None:
        self._beat.stop()
        self._write()
        self.changed.emit(self._snapshot)

    def _read_or_refuse(self, root: Path) -> Record | CoreError:
        self._writer.waitForDone()
        try:
            return read_training(root)
        except CoreError as error:
            return error
        except OSError as error:
            return InvalidRequest("out", f"{root} cannot be opened ({error.strerror or error}).")


def _phase_of(found: Record) -> Phase:
    """Tell where a training stands that nobody is at work on."""
    if found.ended is not None:
        return Phase.FAILED if found.ended.has_failed else Phase.STOPPED
    return Phase.FINISHED if found.is_over else Phase.PAUSED
