"""What the canvas says before there is a picture."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from desktop.icons import APP_ICON
from desktop.theme import mark

EXAMPLES = (
    "a blue star on a yellow background",
    "a yellow square above a red triangle on a blue background",
    "three pink hearts on a purple background",
    "three orange diamonds on a black background",
)
"""Prompts that the model which ships understands."""


class EmptyState(QWidget):
    """An invitation, with prompts to click.

    Signals:
        chosen(str): The prompt that was clicked.
    """

    chosen = Signal(str)

    def __init__(self) -> None:
        """Show the invitation."""
        super().__init__()
        sign = QLabel()
        sign.setPixmap(QIcon(str(APP_ICON)).pixmap(QSize(72, 72), self.devicePixelRatioF()))
        title = QLabel(self.tr("What shall it be?"))
        mark(title, "big")
        hint = QLabel(self.tr("Write a prompt and watch it become a picture, or try one of these."))
        mark(hint, "quiet")
        hint.setWordWrap(True)
        hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        layout = QVBoxLayout(self)
        layout.setSpacing(8)
        layout.addStretch(1)
        layout.addWidget(sign, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addSpacing(10)
        layout.addWidget(title, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addWidget(hint)
        layout.addSpacing(14)
        for example in EXAMPLES:
            chip = QPushButton(example)
            mark(chip, "chip")
            chip.setCursor(Qt.CursorShape.PointingHandCursor)
            chip.setToolTip(self.tr("Make this picture"))
            chip.clicked.connect(lambda _=False, example=example: self.chosen.emit(example))
            layout.addWidget(chip, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addStretch(1)
