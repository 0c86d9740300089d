"""The canvas and what lies over it: the invitation, and the way back to the run."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget

from desktop.images import shown_file
from desktop.live import LiveRun, Tile
from desktop.theme import mark
from desktop.widgets.canvas import Canvas
from desktop.widgets.empty_state import EmptyState


class Stage(QWidget):
    """Shows a run, a picture file, or the invitation to make one."""

    def __init__(self) -> None:
        """Start with the invitation."""
        super().__init__()
        self.canvas = Canvas()
        self.empty = EmptyState()
        self.empty.setParent(self.canvas)
        self.way_back = QPushButton(self.canvas)
        mark(self.way_back, "chip")
        self.way_back.setCursor(Qt.CursorShape.PointingHandCursor)
        self.way_back.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.canvas)

    def show_run(self, run: LiveRun, *, finished_only: bool = False) -> None:
        """Show the pictures of a run as far as they are."""
        tiles = run.finished() if finished_only else run.tiles()
        self.canvas.show_tiles(tiles, run.size)
        self.empty.hide()

    def show_file(self, path: Path) -> bool:
        """Show one picture; say whether it could be read."""
        image = shown_file(path)
        if image.isNull():
            return False
        self.canvas.show_tiles((Tile(image, path),), image.size())
        self.empty.hide()
        return True

    def show_invitation(self) -> None:
        """Show that there is nothing yet."""
        self.canvas.show_tiles((), QSize(1, 1))
        self.empty.show()

    def offer_way_back(self, text: str) -> None:
        """Show the button that leads back to the run, or hide it if there is no text."""
        self.way_back.setText(text)
        self.way_back.setVisible(bool(text))
        self._place()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keep what lies over the canvas in its place."""
        super().resizeEvent(event)
        self._place()

    def _place(self) -> None:
        self.empty.setGeometry(self.rect())
        self.way_back.adjustSize()
        self.way_back.move((self.width() - self.way_back.width()) // 2, 14)
