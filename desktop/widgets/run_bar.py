"""The line below the canvas: how far the run is, or what the picture shown is."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel

from core.events import MemoryEstimate
from core.models.copying import format_size
from desktop.progress import Progress, duration
from desktop.theme import mark
from desktop.widgets.icon_button import IconButton
from desktop.widgets.status_line import StatusLine


class RunBar(StatusLine):
    """The run or the picture, the jobs that wait, and room for buttons.

    Signals:
        clear_requested(): The jobs that wait are to be dropped.
    """

    clear_requested = Signal()

    def __init__(self) -> None:
        """Start idle."""
        super().__init__()
        self.waiting = QLabel()
        mark(self.waiting, "quiet")
        self.clear = IconButton("close", self.tr("Drop the jobs that wait"))
        self.clear.clicked.connect(self.clear_requested)
        self.buttons = QHBoxLayout()
        self.buttons.setSpacing(2)
        self.row.addWidget(self.waiting)
        self.row.addWidget(self.clear)
        self.row.addLayout(self.buttons)
        self.show_waiting(0)

    def show_needed(self, estimate: MemoryEstimate) -> None:
        """Say what the run will take of the memory there is; its tooltip keeps it."""
        needed, free = format_size(estimate.needed), format_size(estimate.free)
        text = self.tr("Needs about {0} of memory; {1} are free").format(needed, free)
        self.show_busy(text)
        self.setToolTip(text)

    def show_progress(self, progress: Progress) -> None:
        """Say how far the run is."""
        parts = [self.tr("Step {0} of {1}").format(progress.step, progress.steps)]
        if progress.total_pictures > 1:
            first, last = progress.pictures[0] + 1, progress.pictures[-1] + 1
            text = self.tr("Picture {0} of {1}")
            which = f"{first}"
            if last > first:
                text = self.tr("Pictures {0} of {1}")
                which = f"{first}\N{EN DASH}{last}"
            parts.insert(0, text.format(which, progress.total_pictures))
        if progress.steps_per_second > 0:
            parts.append(self._speed(progress.steps_per_second))
            parts.append(self.tr("{0} left").format(duration(progress.seconds_left)))
        self.show_work(progress.fraction, "  ·  ".join(parts))

    def show_waiting(self, jobs: int) -> None:
        """Say how many jobs wait."""
        self.waiting.setText(self.tr("{0} waiting").format(jobs))
        self.waiting.setVisible(jobs > 0)
        self.clear.setVisible(jobs > 0)

    def _speed(self, steps_per_second: float) -> str:
        if steps_per_second >= 1:
            return self.tr("{0:.1f} it/s").format(steps_per_second)
        return self.tr("{0:.1f} s/it").format(1 / steps_per_second)
