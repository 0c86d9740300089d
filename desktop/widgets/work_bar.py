"""The line below a model: what goes on with the files, or how much there is."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QPushButton

from core.models.copying import format_size
from desktop.conversion import ConversionSnapshot
from desktop.convert_words import doing_text
from desktop.model_facts import DOT, doing, progress_text, share, title_of
from desktop.shelf_snapshot import ShelfSnapshot
from desktop.widgets.icon_button import IconButton
from desktop.widgets.status_line import StatusLine


class WorkBar(StatusLine):
    """The work on the library, and a button that stops it; or a conversion, and one that shows it.

    Signals:
        stop_requested(): The work is to end.
        show_requested(): The conversion is to be seen.
    """

    stop_requested = Signal()
    show_requested = Signal()

    def __init__(self) -> None:
        """Start idle."""
        super().__init__()
        self.stop = IconButton("stop", self.tr("Stop; nothing stays half done"))
        self.stop.clicked.connect(self.stop_requested)
        self.row.addWidget(self.stop)
        self.show_conversion = QPushButton(self.tr("Show"))
        self.show_conversion.setToolTip(self.tr("Show the conversion"))
        self.show_conversion.clicked.connect(self.show_requested)
        self.row.addWidget(self.show_conversion)
        self.show_snapshot(ShelfSnapshot(), ConversionSnapshot())

    def show_snapshot(self, snapshot: ShelfSnapshot, conversion: ConversionSnapshot) -> None:
        """Say what goes on, or what there is."""
        work = snapshot.work
        self.stop.setVisible(work is not None)
        self.show_conversion.setVisible(work is None and conversion.phase.is_busy)
        if work is None and conversion.phase.is_busy:
            assert conversion.model is not None
            text = DOT.join((title_of(conversion.model), doing_text(conversion)))
            self.show_work(conversion.share, text)
            return
        if work is None:
            self.show_idle(self._totals(snapshot))
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
            self.show_busy(DOT.join(parts) or self.tr("Working on the library"))
            return
        parts = parts or [doing(work.progress)]
        parts.append(progress_text(work.progress))
        self.show_work(share(work.progress), DOT.join(parts))

    def _totals(self, snapshot: ShelfSnapshot) -> str:
        if not snapshot.models:
            return self.tr("Reading the library")
        size = format_size(sum(row.size for row in snapshot.models if not row.missing))
        if len(snapshot.models) == 1:
            return self.tr("The starter model, {0}").format(size)
        return self.tr("{0} in the library, {1}").format(len(snapshot.models), size)
