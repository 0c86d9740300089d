"""The start picture: dropped, chosen or removed, and how much of it is replaced."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import (
    QDragEnterEvent,
    QDragLeaveEvent,
    QDropEvent,
    QKeyEvent,
    QMouseEvent,
    QPixmap,
)
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from core.errors import InvalidRequest
from desktop.drops import has_picture
from desktop.icons import tinted_pixmap
from desktop.images import read_start_thumbnail
from desktop.theme import mark
from desktop.widgets.form import rows
from desktop.widgets.icon_button import IconButton
from desktop.widgets.slider_spin import SliderSpin

SIDE = 52


class StartWell(QWidget):
    """A place for the start picture; the strength appears with it.

    Signals:
        choose_requested(): The person wants to choose a file.
        dropped(QMimeData): Something with a picture in it was dropped here.
        changed(): Picture or strength is another.
    """

    choose_requested = Signal()
    dropped = Signal(object)
    changed = Signal()

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self._path = ""
        self._refusal = ""
        self._steps = 1
        self._well = _Well()
        self._well.clicked.connect(self.choose_requested)
        self._well.dropped.connect(self.dropped)
        self.remove = IconButton("close", self.tr("Start from noise again"))
        self.remove.clicked.connect(lambda: self.set_path(""))
        self.strength = SliderSpin(
            self.tr("Strength"), allowed=(0.01, 1), usual=(0, 1), step=0.05, decimals=3
        )
        self.strength.setToolTip(
            self.tr("How much of the start picture is replaced: 0 keeps it, 1 ignores it.")
        )
        self.run_steps = QLabel()
        mark(self.run_steps, "quiet")
        self._below = QWidget()
        form = rows(((self.tr("Strength"), self.strength),))
        form.addWidget(self.run_steps, 1, 1)
        self._below.setLayout(form)
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(self._well, 1)
        row.addWidget(self.remove)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addLayout(row)
        layout.addWidget(self._below)
        self.strength.value_changed.connect(self._on_strength)
        self.set_strength(0.8)
        self.set_path("")

    @property
    def path(self) -> str:
        """Path of the start picture, or empty."""
        return self._path

    @property
    def refusal(self) -> str:
        """Why the picture that was set last is not taken, one sentence; empty if it is."""
        return self._refusal

    def set_path(self, path: str) -> None:
        """Start from that picture, or from noise if it is empty or no picture any more."""
        self._path, self._refusal, pixmap = "", "", None
        if path:
            try:
                pixmap = QPixmap.fromImage(read_start_thumbnail(Path(path), 2 * SIDE))
                self._path = path
            except InvalidRequest as error:
                self._refusal = error.reason
        self._well.show_picture(pixmap, Path(path).name if self._path else "")
        self.remove.setVisible(bool(self._path))
        self._below.setVisible(bool(self._path))
        self.changed.emit()

    def set_strength(self, strength: float) -> None:
        """Set the strength."""
        self.strength.set_value(strength)

    def set_steps(self, steps: int) -> None:
        """Say how many steps a whole run has, to show how many of them this one takes."""
        self._steps = steps
        self._describe()

    def _on_strength(self) -> None:
        self._describe()
        self.changed.emit()

    def _describe(self) -> None:
        taken = int(self._steps * self.strength.value())
        text = self.tr("Runs {taken} of {steps} steps").format(taken=taken, steps=self._steps)
        if taken < 1:
            text = self.tr("Leaves no step to run; raise it or take more steps")
        self.run_steps.setText(text)


class _Well(QFrame):
    """The frame itself: a button that takes drops."""

    clicked = Signal()
    dropped = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("startWell")
        self.setAcceptDrops(True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setAccessibleName(self.tr("Start picture"))
        self.setToolTip(self.tr("Choose a start picture; drop or paste one anywhere"))
        self._filled = False
        self._picture = QLabel()
        self._picture.setFixedSize(SIDE, SIDE)
        self._picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._text = QLabel()
        mark(self._text, "quiet")
        self._text.setWordWrap(True)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(6, 6, 10, 6)
        layout.setSpacing(10)
        layout.addWidget(self._picture)
        layout.addWidget(self._text, 1)

    def show_picture(self, picture: QPixmap | None, name: str) -> None:
        self._filled = picture is not None
        self.setAccessibleDescription(name)
        mark(self, "filled", on=self._filled)
        if picture is None:
            self._draw_icon()
            self._text.setText(self.tr("Drop a picture here to start from it, or click to choose"))
            return
        ratio = self.devicePixelRatioF()
        mode = Qt.AspectRatioMode.KeepAspectRatio
        scaled = picture.scaled(
            round(SIDE * ratio),
            round(SIDE * ratio),
            mode,
            Qt.TransformationMode.SmoothTransformation,
        )
        scaled.setDevicePixelRatio(ratio)
        self._picture.setPixmap(scaled)
        metrics = self._text.fontMetrics()
        self._text.setText(metrics.elidedText(name, Qt.TextElideMode.ElideMiddle, 320))

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange and not self._filled:
            self._draw_icon()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() is Qt.MouseButton.LeftButton and self.rect().contains(
            event.position().toPoint()
        ):
            self.clicked.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Space, Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.clicked.emit()
        else:
            super().keyPressEvent(event)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if has_picture(event.mimeData()):
            event.acceptProposedAction()
            mark(self, "over", on=True)

    def dragLeaveEvent(self, _event: QDragLeaveEvent) -> None:
        mark(self, "over", on=False)

    def dropEvent(self, event: QDropEvent) -> None:
        mark(self, "over", on=False)
        event.acceptProposedAction()
        self.dropped.emit(event.mimeData())

    def _draw_icon(self) -> None:
        colour = self.palette().placeholderText().color()
        ratio = self.devicePixelRatioF()
        self._picture.setPixmap(tinted_pixmap("start-picture", colour, 24, ratio))
