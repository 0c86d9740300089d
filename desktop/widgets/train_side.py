"""What is beside the controls of the Train page: the pictures, or the training."""

from __future__ import annotations

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from desktop.picture_folder import FolderSnapshot, PictureFolder
from desktop.theme import mark
from desktop.thumbnails import Thumbnails
from desktop.training import Training
from desktop.widgets.banner import Banner
from desktop.widgets.train_bar import TrainBar
from desktop.widgets.train_pictures import TrainPictures
from desktop.widgets.train_progress import TrainProgress

PICTURES, PROGRESS = range(2)
"""The two parts, in the order of the buttons above them."""


class TrainSide(QWidget):
    """The banner, the two parts of which one is shown, and the line below."""

    def __init__(self, folder: PictureFolder, training: Training, thumbnails: Thumbnails) -> None:
        """Show the pictures of ``folder`` and follow ``training``."""
        super().__init__()
        self.setObjectName("trainSide")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.banner = Banner()
        self.pictures = TrainPictures(folder, thumbnails)
        self.progress = TrainProgress(training, thumbnails)
        self.bar = TrainBar()
        self._stack = QStackedWidget()
        self._tabs = QButtonGroup(self)
        self._lay_out()
        self._tabs.idClicked.connect(self.show_part)
        folder.changed.connect(self._count)
        self.show_part(PICTURES)

    @property
    def part(self) -> int:
        """The part in sight."""
        return self._stack.currentIndex()

    @Slot(int)
    def show_part(self, part: int) -> None:
        """Turn to the pictures or to the training."""
        self._tabs.button(part).setChecked(True)
        self._stack.setCurrentIndex(part)
        self.pictures.show_tools.setVisible(part == PICTURES)

    @Slot(object)
    def _count(self, snapshot: FolderSnapshot) -> None:
        count = len(snapshot.pictures)
        text = self.tr("Pictures  {0}").format(count) if count else self.tr("Pictures")
        self._tabs.button(PICTURES).setText(text)

    def _lay_out(self) -> None:
        tabs = QHBoxLayout()
        tabs.setContentsMargins(16, 10, 16, 8)
        tabs.setSpacing(6)
        for part, (text, widget) in enumerate(
            ((self.tr("Pictures"), self.pictures), (self.tr("Training"), self.progress))
        ):
            button = QPushButton(text)
            mark(button, "tab")
            button.setCheckable(True)
            self._tabs.addButton(button, part)
            tabs.addWidget(button)
            self._stack.addWidget(widget)
        tabs.addStretch(1)
        tabs.addWidget(self.pictures.show_tools)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.banner)
        column.addLayout(tabs)
        column.addWidget(self._stack, 1)
        column.addWidget(self.bar)
