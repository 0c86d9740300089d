"""The line below the canvas: how far the run is, or what the picture shown is."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QVBoxLayout, QWidget

from desktop.progress import Progress, duration
from desktop.theme import mark
from desktop.widgets.elided_label import ElidedLabel
from desktop.widgets.icon_button import IconButton

PARTS = 1000


class RunBar(QWidget):
    """A thin bar and one line of text, with room for buttons at its end.

    Signals:
        clear_requested(): The jobs that wait are to be dropped.
    """

    clear_requested = Signal()

    def __init__(self) -> None:
        """Start idle."""
        super().__init__()
        self.setObjectName("runBar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setRange(0, PARTS)
        self.bar.setAccessibleName(self.tr("Progress"))
        self.text = ElidedLabel()
        self.waiting = QLabel()
        mark(self.waiting, "quiet")
        self.clear = IconButton("close", self.tr("Drop the jobs that wait"))
        self.clear.clicked.connect(self.clear_requested)
        self.buttons = QHBoxLayout()
        self.buttons.setSpacing(2)
        row = QHBoxLayout()
        row.setContentsMargins(14, 2, 8, 3)
        row.setSpacing(6)
        row.addWidget(self.text, 1)
        row.addWidget(self.waiting)
        row.addWidget(self.clear)
        row.addLayout(self.buttons)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.bar)
        layout.addLayout(row)
        self.setMinimumHeight(40)
        self.show_idle("")
        self.show_waiting(0)

    def show_idle(self, text: str) -> None:
        """Say something about the picture shown, or nothing."""
        self.bar.setRange(0, PARTS)
        self.bar.setValue(0)
        self.text.set_text(text)

    def show_busy(self, text: str) -> None:
        """Say what is waited for, without an end in sight."""
        self.bar.setRange(0, 0)
        self.text.set_text(text)

    def show_progress(self, progress: Progress) -> None:
        """Say how far the run is."""
        self.bar.setRange(0, PARTS)
        self.bar.setValue(round(PARTS * progress.fraction))
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
        self.text.set_text("  ·  ".join(parts))

    def show_waiting(self, jobs: int) -> None:
        """Say how many jobs wait."""
        self.waiting.setText(self.tr("{0} waiting").format(jobs))
        self.waiting.setVisible(jobs > 0)
        self.clear.setVisible(jobs > 0)

    def _speed(self, steps_per_second: float) -> str:
        if steps_per_second >= 1:
            return self.tr("{0:.1f} it/s").format(steps_per_second)
        return self.tr("{0:.1f} s/it").format(1 / steps_per_second)
