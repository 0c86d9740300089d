"""How fast this machine has learned and drawn so far, and how long a training will take by that."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from statistics import median

from PySide6.QtCore import QObject, Signal, Slot

from core.errors import SaveFailed
from core.events import Step, TrainStep
from core.files import replace_file
from core.request import DeviceName, Request, TextToImage
from core.training.config import DreamBooth, Method, TrainConfig
from desktop.jobs import JobQueue, JobSnapshot
from desktop.studio import Pictures, Teaching, WorkEvent

log = logging.getLogger(__name__)

_DRAWING = "drawing"

_PASSES = {False: 3, True: 4}
"""Passes of a training step, counted in forward passes, without and with gradient checkpointing:
the way back takes two (Kaplan et al. 2020, arXiv:2001.08361, 2.1), and checkpointing goes forward
once more."""

_USUAL_STEPS = 25
"""Denoising steps of a sample, where the model's own number is not known here."""


_FIRST = 10
"""Steps after which a training's pace is told for the first time."""


class Paces:
    """Seconds that a forward pass over one pixel takes, by model, device and kind of work."""

    def __init__(self, path: Path) -> None:
        """Read ``path`` with the first question; nothing is known if it cannot be read."""
        self._path = path
        self._known: dict[str, float] | None = None

    def note_learning(
        self, config: TrainConfig, device: DeviceName, side: int, seconds: float
    ) -> None:
        """Take down how long a training's step took.

        Args:
            config: What was trained.
            device: Where.
            side: Of its pictures' square, in pixels.
            seconds: For one step.
        """
        work = side**2 * _passes(config)
        self._note(_key(config.model, device, config.method), seconds / work)

    def note_drawing(self, request: Request, seconds: float) -> None:
        """Take down how long a denoising step took for one picture."""
        work = request.width * request.height * (2 if request.guidance_scale > 1 else 1)
        self._note(_key(request.model, DeviceName.AUTO, _DRAWING), seconds / work)

    def seconds(self, config: TrainConfig, device: DeviceName, side: int) -> float | None:
        """Estimate how long a training takes; None if nothing like it was done here before.

        Another method on the same model comes near, and so does making pictures with it.
        """
        known = self._read()
        kinds = (config.method, *Method, _DRAWING)
        paces = [known[key] for kind in kinds if (key := _key(config.model, device, kind)) in known]
        if not paces:
            return None
        learning = paces[0] * side**2 * _passes(config) * config.steps
        samples, draws = config.samples, known.get(_key(config.model, device, _DRAWING), paces[0])
        rows = 2 if not samples.every else 1 + -(-config.steps // samples.every)
        passes = rows * len(samples.prompts) * (samples.steps or _USUAL_STEPS) * 2
        return learning + passes * side**2 * draws

    def _note(self, key: str, pace: float) -> None:
        known = self._read()
        known[key] = pace
        try:
            replace_file(self._path, json.dumps(known, indent=2).encode())
        except SaveFailed as error:
            log.warning("the pace is not kept: %s", error)

    def _read(self) -> dict[str, float]:
        if self._known is None:
            try:
                values = json.loads(self._path.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError):
                values = {}
            pairs = values.items() if isinstance(values, dict) else ()
            self._known = {key: pace for key, pace in pairs if isinstance(pace, float) and pace > 0}
        return self._known


class PaceWatch(QObject):
    """Measures the jobs as they go by.

    Signals:
        learned(TrainConfig, DeviceName, float): A step of that training took so many seconds.
        drawn(Request, float): A step of one of its pictures took so many.
    """

    learned = Signal(object, object, float)
    drawn = Signal(object, float)

    def __init__(self, jobs: JobQueue, parent: QObject | None = None) -> None:
        """Watch ``jobs``, which are done one after the other."""
        super().__init__(parent)
        self._jobs = jobs
        self._clear()
        jobs.progressed.connect(self._on_progress)
        jobs.ended.connect(self._on_ended)

    def _clear(self) -> None:
        self._before: TrainStep | None = None
        self._gaps: list[float] = []
        self._steps: list[float] = []

    @Slot(int, object)
    def _on_progress(self, _job_id: int, event: WorkEvent) -> None:
        # Between two steps there may be samples and checkpoints, which are no learning.
        before, self._before = self._before, None
        match event:
            case TrainStep():
                self._before = event
                if before is not None:
                    self._gaps.append(event.seconds - before.seconds)
                    if len(self._gaps) == _FIRST:
                        self._tell(self._jobs.snapshot.running)
            case Step(index=index, total=total) if index == total:
                self._steps.append(event.seconds / total / len(event.pictures))

    @Slot(object)
    def _on_ended(self, job: JobSnapshot) -> None:
        self._tell(job)
        self._clear()

    def _tell(self, job: JobSnapshot | None) -> None:
        match job.work if job is not None else None:
            case Teaching(config=config, device=device) if self._gaps:
                self.learned.emit(config, device, median(self._gaps))
            case Pictures(request=TextToImage(second_pass=None) as request) if self._steps:
                self.drawn.emit(request, median(self._steps))


def _passes(config: TrainConfig) -> int:
    """Count the forward passes over a picture that a step is worth."""
    pictures = config.batch_size * config.accumulation
    if isinstance(config, DreamBooth) and config.class_prompt:
        pictures *= 2
    return pictures * _PASSES[config.gradient_checkpointing]


def _key(model: str, device: DeviceName, kind: str) -> str:
    return f"{model} {device} {kind}"
