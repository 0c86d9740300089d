"""The threads in which the window lets work be done, so that it never waits for any."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Generic, Protocol, TypeVar, assert_never

from PySide6.QtCore import QObject, QThread, Signal, Slot

from core.errors import CoreError, NeedsExport
from core.events import (
    Finished,
    Step,
    Stream,
    Trained,
    TrainStep,
    is_finishing,
)
from core.images.writing import saved
from desktop.studio import Captioning, Pictures, Teaching, Work, WorkEvent, Workshop

log = logging.getLogger(__name__)

WARM_UP = 0
"""The job number under which a warm-up reports."""


@dataclass(frozen=True, slots=True)
class Done:
    """The job was carried out."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The job was stopped between two steps.

    Pictures whose steps were all done are kept, and so is what a model has learned.
    """


@dataclass(frozen=True, slots=True)
class Failed:
    """The job could not be carried out.

    Attributes:
        message: One sentence for the person who asked.
        is_bug: Whether the app is at fault; the log then has the traceback.
        lack: What an exported model has to be exported again for, or None.
    """

    message: str
    is_bug: bool = False
    lack: NeedsExport | None = None


Outcome = Done | Cancelled | Failed


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work on its way, with the switch that stops it."""

    id: int
    work: Work
    out_dir: Path
    cancelled: threading.Event = field(default_factory=threading.Event, compare=False)


@dataclass(frozen=True, slots=True)
class _WarmUp:
    model: str
    cancelled: threading.Event
    id: int = WARM_UP


class _LatestStep:
    """Room for one step on its way to the window; a newer one takes its place."""

    def __init__(self, job_id: int) -> None:
        self.job_id = job_id
        self._lock = threading.Lock()
        self._step: Step | None = None

    def put(self, step: Step) -> bool:
        """Leave a step; say whether the room was empty, so that the window must be told."""
        with self._lock:
            was_empty, self._step = self._step is None, step
        return was_empty

    def take(self) -> Step | None:
        """Give the newest step and empty the room."""
        with self._lock:
            step, self._step = self._step, None
        return step


class Task(Protocol):
    """What a worker carries out."""

    @property
    def id(self) -> int:
        """Its number, under which it reports."""

    @property
    def cancelled(self) -> threading.Event:
        """The switch that stops it."""


TaskT = TypeVar("TaskT", bound=Task)


class Worker(QThread, Generic[TaskT]):
    """Carries out tasks one after the other.

    Signals:
        job_event(int, object): What the task of that number reports.
        job_ended(int, Outcome): Once for every task, after its last event.
    """

    job_event = Signal(int, object)
    job_ended = Signal(int, object)

    def __init__(self, parent: QObject | None = None) -> None:
        """Wait for tasks, once started."""
        super().__init__(parent)
        self._tasks: SimpleQueue[TaskT | None] = SimpleQueue()
        self._closing = threading.Event()

    def submit(self, task: TaskT) -> None:
        """Carry out ``task`` when those before it are over."""
        self._tasks.put(task)

    def close(self) -> None:
        """End after the present event; tasks that wait are dropped. Returns at once."""
        self._closing.set()
        self._tasks.put(None)

    def finish(self) -> None:
        """End when all that was submitted is done. Returns at once."""
        self._tasks.put(None)

    def run(self) -> None:
        """Work until closed; the thread's own entry."""
        while (task := self._tasks.get()) is not None and not self._closing.is_set():
            try:
                outcome = self.carry_out(task)
            except NeedsExport as error:
                # Its reason is a whole sentence; the setting is named by what is offered with it.
                outcome = Failed(error.reason, lack=error)
            except CoreError as error:
                outcome = Failed(str(error))
            except Exception as error:
                if self._closing.is_set():
                    # The child at work has been ended under the run.
                    log.info("job %d was given up: %s", task.id, error)
                    outcome = Cancelled()
                else:
                    log.exception("job %d met a bug", task.id)
                    outcome = Failed(f"{type(error).__name__}: {error}", is_bug=True)
            self.tidy()
            self.job_ended.emit(task.id, outcome)

    def carry_out(self, task: TaskT) -> Outcome:
        """Do the work of one task and report it by ``job_event``."""
        raise NotImplementedError

    def tidy(self) -> None:
        """Make ready for the next task, however the last one went."""

    def is_to_stop(self, task: TaskT) -> bool:
        """Whether a task is to end after its present event."""
        return task.cancelled.is_set() or self._closing.is_set()


class EngineWorker(Worker["Job | _WarmUp"]):
    """The one thread that works with the engine: makes and saves pictures, teaches models.

    Steps that come faster than the window takes them are dropped, all but the latest. Everything
    else arrives, in order.
    """

    _step_left = Signal(object)

    def __init__(self, make_engine: Callable[[], Workshop], parent: QObject | None = None) -> None:
        """Make the engine by ``make_engine``, in the thread and not before the first task."""
        super().__init__(parent)
        self._make_engine = make_engine
        self._engine: Workshop | None = None
        self._finishing = False
        self._learning = False
        self._step_left.connect(self._deliver_step)

    @property
    def is_finishing(self) -> bool:
        """Whether an end at once would lose something.

        The steps of a batch are done and not all of it is on disk yet, or a model has learned what
        is written when its training is stopped.
        """
        return self._finishing or self._learning

    def warm_up(self, model: str) -> None:
        """Load the engine and a model while nothing else is to be done; reports as ``WARM_UP``."""
        self._tasks.put(_WarmUp(model, self._closing))

    def carry_out(self, task: Job | _WarmUp) -> Outcome:
        """Do the work of a job, or warm the engine up."""
        engine = self._engine = self._engine or self._make_engine()
        if isinstance(task, Job) and task.cancelled.is_set():
            return Cancelled()
        latest: _LatestStep | None = None
        with closing(_begun(engine, task)) as stream:
            for event in stream:
                self._finishing = is_finishing(event)
                self._learning |= isinstance(event, TrainStep)
                if isinstance(event, Step):
                    latest = latest or _LatestStep(task.id)
                    if latest.put(event):
                        self._step_left.emit(latest)
                else:
                    # Later steps must not overtake this event.
                    latest = None
                    self.job_event.emit(task.id, event)
                if self._stops(task, event):
                    return Cancelled()
        return Done()

    def tidy(self) -> None:
        """Note that nothing is on its way any more."""
        self._finishing = self._learning = False

    def _stops(self, task: Job | _WarmUp, event: WorkEvent) -> bool:
        """Say whether to stop here: never between the steps of a batch and its files."""
        is_over = isinstance(event, Finished | Trained)
        return self.is_to_stop(task) and not (self._finishing or is_over)

    @Slot(object)
    def _deliver_step(self, latest: _LatestStep) -> None:
        if step := latest.take():
            self.job_event.emit(latest.job_id, step)


def _begun(engine: Workshop, task: Job | _WarmUp) -> Stream[WorkEvent]:
    """Begin what a task asks for."""
    if isinstance(task, _WarmUp):
        return engine.warm_up(task.model)
    match task.work:
        case Pictures(request=request, preview=preview):
            return saved(engine.generate(request, preview=preview), task.out_dir)
        case Teaching(config=config, resume=resume, device=device):
            return engine.train(config, resume=resume, device=device)
        case Captioning(request=captions):
            return engine.caption(captions)
        case _:
            assert_never(task.work)
