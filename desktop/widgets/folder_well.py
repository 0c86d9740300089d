"""The folder of pictures to learn from: dropped or chosen."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout

from desktop.icons import tinted_pixmap
from desktop.picture_folder import FolderSnapshot
from desktop.theme import mark
from desktop.widgets.elided_label import ElidedLabel


class FolderWell(QFrame):
    """Says which folder it is and how much is in it; a button that asks for another.

    Signals:
        clicked(): The person wants to choose.
    """

    clicked = Signal()

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self.setObjectName("startWell")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAccessibleName(self.tr("Pictures to learn from"))
        self.setToolTip(self.tr("Choose a folder of pictures; drop one, or pictures, anywhere"))
        self._sign = QLabel()
        self.name = ElidedLabel()
        self.about = ElidedLabel()
        mark(self.about, "quiet")
        words = QVBoxLayout()
        words.setSpacing(1)
        words.addWidget(self.name)
        words.addWidget(self.about)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 8, 12, 8)
        row.setSpacing(12)
        row.addWidget(self._sign)
        row.addLayout(words, 1)
        self.show_snapshot(FolderSnapshot())
        self._draw_icon()

    def show_snapshot(self, snapshot: FolderSnapshot) -> None:
        """Say what a folder holds."""
        mark(self, "filled", on=bool(snapshot.folder))
        if not snapshot.folder:
            self.name.set_text(self.tr("Drop pictures or a folder"))
            self.about.set_text(self.tr("or click to choose"))
            self.setAccessibleDescription("")
            return
        self.name.set_text(Path(snapshot.folder).name or snapshot.folder)
        self.about.set_text(self._about(snapshot))
        self.setAccessibleDescription(f"{snapshot.folder}: {self.about.accessibleName()}")

    def changeEvent(self, event: QEvent) -> None:
        """Draw the icon in the new colours."""
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            self._draw_icon()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Ask for a folder."""
        if event.button() is Qt.MouseButton.LeftButton and self.rect().contains(
            event.position().toPoint()
        ):
            self.clicked.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Ask for a folder by Space or Return."""
        if event.key() in (Qt.Key.Key_Space, Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.clicked.emit()
        else:
            super().keyPressEvent(event)

    def _about(self, snapshot: FolderSnapshot) -> str:
        if snapshot.is_reading and not snapshot.pictures:
            return self.tr("Looking through it")
        if snapshot.refusal:
            return self.tr("Nothing to learn from")
        count = len(snapshot.pictures)
        text = self.tr("1 picture") if count == 1 else self.tr("{0} pictures").format(count)
        if snapshot.problems:
            text += "  ·  " + self.tr("{0} left out").format(len(snapshot.problems))
        return text

    def _draw_icon(self) -> None:
        colour = self.palette().placeholderText().color()
        self._sign.setPixmap(tinted_pixmap("folder", colour, 22, self.devicePixelRatioF()))
