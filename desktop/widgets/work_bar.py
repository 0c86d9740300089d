"""The line below a model: what goes on with the files, or how much there is."""

from __future__ import annotations

from PySide6.QtCore import Signal

from core.models.copying import format_size
from desktop.model_facts import DOT, doing, progress_text, share
from desktop.shelf_snapshot import ShelfSnapshot
from desktop.widgets.icon_button import IconButton
from desktop.widgets.status_line import StatusLine


class WorkBar(StatusLine):
    """The work on the library, and a button that stops it.

    Signals:
        stop_requested(): The work is to end.
    """

    stop_requested = Signal()

    def __init__(self) -> None:
        """Start idle."""
        super().__init__()
        self.stop = IconButton("stop", self.tr("Stop; nothing stays half done"))
        self.stop.clicked.connect(self.stop_requested)
        self.row.addWidget(self.stop)
        self.show_snapshot(ShelfSnapshot())

    def show_snapshot(self, snapshot: ShelfSnapshot) -> None:
        """Say what goes on, or what there is."""
        work = snapshot.work
        self.stop.setVisible(work is not None)
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
