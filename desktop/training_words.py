"""What the window says about a training."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from core.events import (
    Checkpointed,
    Loading,
    MemoryEstimate,
    Notice,
    Prepared,
    Trained,
    TrainingEvent,
)
from core.models.copying import format_size
from desktop.model_facts import DOT
from desktop.progress import duration


def told(event: TrainingEvent) -> str:
    """Give the line of the log for an event; empty if it is worth none."""
    match event:
        case Loading(what=what):
            return _tr("Loading {0}").format(what)
        case MemoryEstimate():
            text = _tr("Needs about {0} of memory; {1} are free")
            return text.format(format_size(event.needed), format_size(event.free))
        case Prepared() if event.index == event.total:
            return _tr("{0} are ready: {1}").format(event.what.capitalize(), event.total)
        case Notice(message=message):
            return message
        case Checkpointed(step=step):
            return _tr("Checkpoint after step {0}").format(step)
        case Trained(verdict=verdict):
            return verdict
        case _:
            return ""


def speed_text(steps_per_second: float) -> str:
    """Say how fast it goes."""
    if steps_per_second >= 1:
        return _tr("{0:.1f} steps/s").format(steps_per_second)
    return _tr("{0:.1f} s a step").format(1 / steps_per_second)


def learning_text(
    step: int, total: int, steps_per_second: float, seconds_left: float, rate: float
) -> str:
    """Say how far the learning is."""
    parts = [_tr("Step {0} of {1}").format(step, total)]
    if steps_per_second > 0:
        parts.append(speed_text(steps_per_second))
        parts.append(_tr("{0} left").format(duration(seconds_left)))
    if rate > 0:
        parts.append(_tr("rate {0:.3g}").format(rate))
    return DOT.join(parts)


def _tr(text: str) -> str:
    return QCoreApplication.translate("Training", text)
