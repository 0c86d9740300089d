"""A sample seen large, with those before and after it one key away."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from desktop.images import shown_file
from desktop.live import Tile
from desktop.training_folder import Shot
from desktop.widgets.canvas import Canvas
from desktop.widgets.elided_label import ElidedLabel
from desktop.widgets.icon_button import IconButton


class SampleViewer(QWidget):
    """Shows one sample.

    Signals:
        turned(int, int): Another one is wanted: so many steps on, so many prompts on.
        closed(): The table is wanted again.
    """

    turned = Signal(int, int)
    closed = Signal()

    def __init__(self) -> None:
        """Start without a sample."""
        super().__init__()
        self._shot: Shot | None = None
        self.canvas = Canvas()
        self.text = ElidedLabel()
        self.back = QPushButton(self.tr("Back to All Samples"))
        self.back.setToolTip(self.tr("Back  (Esc)"))
        self.back.clicked.connect(self.closed)
        self.earlier = IconButton("chevron-left", self.tr("Earlier  (Left)"))
        self.later = IconButton("chevron-right", self.tr("Later  (Right)"))
        self.earlier.clicked.connect(lambda: self.turned.emit(-1, 0))
        self.later.clicked.connect(lambda: self.turned.emit(1, 0))
        row = QHBoxLayout()
        row.setContentsMargins(14, 8, 14, 8)
        row.setSpacing(12)
        row.addWidget(self.back)
        row.addWidget(self.text, 1)
        row.addWidget(self.earlier)
        row.addWidget(self.later)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(row)
        column.addWidget(self.canvas, 1)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    @property
    def shot(self) -> Shot | None:
        """The sample shown."""
        return self._shot

    def show_shot(self, shot: Shot, what: str) -> bool:
        """Show a sample and say what it is; gives whether its file could be read."""
        image = shown_file(shot.path)
        if image.isNull():
            return False
        self._shot = shot
        self.canvas.show_tiles((Tile(image, shot.path),), image.size())
        self.text.set_text(what)
        self.setFocus()
        return True

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Turn to another sample by the arrow keys; Escape leads back."""
        ways = {
            Qt.Key.Key_Left: (-1, 0),
            Qt.Key.Key_Right: (1, 0),
            Qt.Key.Key_Up: (0, -1),
            Qt.Key.Key_Down: (0, 1),
        }
        if event.key() == Qt.Key.Key_Escape:
            self.closed.emit()
        elif (way := ways.get(Qt.Key(event.key()))) is not None:
            self.turned.emit(*way)
        else:
            super().keyPressEvent(event)
