"""The line below a model: what goes on with the files, or how much there is."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from core.models.copying import format_size
from desktop.model_facts import DOT, doing, progress_text, share
from desktop.shelf_snapshot import ShelfSnapshot
from desktop.widgets.elided_label import ElidedLabel
from desktop.widgets.icon_button import IconButton

PARTS = 1000


class WorkBar(QWidget):
    """A thin bar, one line of text, and a button that stops the work.

    Signals:
        stop_requested(): The work is to end.
    """

    stop_requested = Signal()

    def __init__(self) -> None:
        """Start idle."""
        super().__init__()
        self.setObjectName("runBar")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName(self.tr("Progress"))
        self.text = ElidedLabel()
        self.stop = IconButton("stop", self.tr("Stop; nothing stays half done"))
        self.stop.clicked.connect(self.stop_requested)
        row = QHBoxLayout()
        row.setContentsMargins(14, 2, 8, 3)
        row.addWidget(self.text, 1)
        row.addWidget(self.stop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.bar)
        layout.addLayout(row)
        self.setFixedHeight(40)
        self.show_snapshot(ShelfSnapshot())

    def show_snapshot(self, snapshot: ShelfSnapshot) -> None:
        """Say what goes on, or what there is."""
        work = snapshot.work
        self.stop.setVisible(work is not None)
        if work is None:
            self.bar.setRange(0, PARTS)
            self.bar.setValue(0)
            self.text.set_text(self._totals(snapshot))
            return
        parts = []
        if work.begun is not None:
            text = self.tr("Adding {0}").format(work.begun.path.name)
            if work.begun.total > 1:
                text = self.tr("Adding {0} ({1} of {2})").format(
                    work.begun.path.name, work.begun.number, work.begun.total
                )
            parts.append(text)
        if work.progress is None:
            self.bar.setRange(0, 0)
        else:
            self.bar.setRange(0, PARTS)
            self.bar.setValue(round(PARTS * share(work.progress)))
            parts = parts or [doing(work.progress)]
            parts.append(progress_text(work.progress))
        self.text.set_text(DOT.join(parts) or self.tr("Working on the library"))

    def _totals(self, snapshot: ShelfSnapshot) -> str:
        if not snapshot.models:
            return self.tr("Reading the library")
        size = format_size(sum(row.size for row in snapshot.models if not row.missing))
        if len(snapshot.models) == 1:
            return self.tr("The starter model, {0}").format(size)
        return self.tr("{0} in the library, {1}").format(len(snapshot.models), size)
