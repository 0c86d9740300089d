"""What a training says while it goes on: to a program on stdout, or to a person on the terminal."""

from __future__ import annotations

import json
import math
import sys
from typing import Any, assert_never

from tqdm import tqdm

from core.commands.report import as_json, print_event, print_line
from core.events import (
    Checkpointed,
    Finished,
    ImageReady,
    Loading,
    MemoryEstimate,
    Notice,
    Prepared,
    Sample,
    Saved,
    Step,
    Trained,
    TrainingEvent,
    TrainStep,
)

_SMOOTH = 0.95
"""Share of the loss shown that stays at each step; single ones say little."""


class JsonTrainingReport:
    """One JSON object a line on stdout, at once, and nothing else."""

    def show(self, event: TrainingEvent) -> None:
        """Print the event."""
        if values := training_json(event):
            print(json.dumps(values), flush=True)

    def close(self) -> None:
        """Leave it at that."""


def training_json(event: TrainingEvent) -> dict[str, Any]:
    """Give an event's plain values; nothing for a picture that is not on the disk yet."""
    match event:
        case Prepared():
            values = {"what": event.what, "index": event.index, "total": event.total}
            return {"event": "prepared", **values}
        case TrainStep():
            return {
                "event": "train_step",
                "index": event.index,
                "total": event.total,
                "loss": event.loss if math.isfinite(event.loss) else None,
                "prior_loss": event.prior_loss,
                "learning_rate": event.learning_rate,
                "seconds": round(event.seconds, 4),
            }
        case Sample():
            values = {"step": event.step, "prompt": event.prompt, "path": str(event.path)}
            return {"event": "sample", **values}
        case Checkpointed():
            return {
                "event": "checkpoint",
                "step": event.step,
                "path": str(event.path),
                "usable": None if event.usable is None else str(event.usable),
            }
        case Trained():
            return {
                "event": "trained",
                "path": str(event.path),
                "sound": event.is_sound,
                "verdict": event.verdict,
                "steps": event.steps,
                "seconds": round(event.seconds, 4),
            }
        case _:
            return as_json(event)


class TrainingReport:
    """Progress bars on stderr; on stdout the paths of what is made."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._bar: tqdm[None] | None = None
        self._what = ""
        self._loss: float | None = None
        self._estimated = False
        """Later estimates are of pictures on the way."""

    def show(self, event: TrainingEvent) -> None:
        """Move the bar, or print a line."""
        match event:
            case Prepared():
                self._move(event.what, event.index, event.total)
            case TrainStep():
                before = event.loss if self._loss is None else self._loss
                self._loss = _SMOOTH * before + (1 - _SMOOTH) * event.loss
                self._move("steps", event.index, event.total)
                if self._bar is not None:
                    self._bar.set_postfix(loss=f"{self._loss:.4f}", refresh=False)
            case Sample() | Checkpointed():
                tqdm.write(str(event.path), file=sys.stdout)
                sys.stdout.flush()
            case Trained():
                self.close()
                print_line(event.verdict)
                steps = "1 step" if event.steps == 1 else f"{event.steps} steps"
                print_line(f"{steps}, this run in {event.seconds:.1f} s.")
                tqdm.write(str(event.path), file=sys.stdout)
            case MemoryEstimate() if not self._estimated:
                self._estimated = True
                gigabytes = f"{event.needed / 1e9:.1f} GB of memory; {event.free / 1e9:.1f}"
                print_line(f"It will take about {gigabytes} GB are free.")
            case Step() | ImageReady() | Saved() | Finished() | MemoryEstimate():
                pass  # Of pictures on the way; what they are for is told.
            case Loading() | Notice():
                print_event(event)
            case _:
                assert_never(event)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
        self._bar, self._what = None, ""

    def _move(self, what: str, index: int, total: int) -> None:
        if self._bar is None or self._what != what:
            self.close()
            self._what = what
            self._bar = tqdm(total=total, initial=index - 1, desc=what, file=sys.stderr)
        self._bar.update(index - self._bar.n)
        if index == total:
            self.close()
