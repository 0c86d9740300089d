"""The pictures to learn from: the grid, what was left out, and the tools for captions."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from core.training.config import Method
from desktop.picture_folder import FolderSnapshot, PictureFolder
from desktop.theme import mark
from desktop.thumbnails import Thumbnails
from desktop.widgets.caption_tools import WIDTH, CaptionTools
from desktop.widgets.fold import Fold
from desktop.widgets.icon_button import IconButton
from desktop.widgets.picture_rows import PictureGrid, PictureRows

_PROBLEMS_HEIGHT = 96
_NARROW = 560
_WIDEST = 2000
"""Pixels of this page below which there is no room for both, and more than it ever has."""


class TrainPictures(QWidget):
    """Shows a folder of pictures and lets their captions be written.

    Signals:
        choose_requested(): The person wants to choose a folder.
    """

    choose_requested = Signal()

    def __init__(self, folder: PictureFolder, thumbnails: Thumbnails) -> None:
        """Show ``folder``."""
        super().__init__()
        self._folder = folder
        self._method = Method.LORA
        self._is_narrow = False
        self.rows = PictureRows(thumbnails)
        self.grid = PictureGrid(self.rows)
        self.tools = CaptionTools()
        self.left_out = QListWidget()
        self.left_out.setObjectName("tags")
        self.left_out.setFrameShape(QFrame.Shape.NoFrame)
        self.left_out.setWordWrap(True)
        self.left_out.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.left_out.setFixedHeight(_PROBLEMS_HEIGHT)
        self.left_out.setAccessibleName(self.tr("Files left out"))
        self.problems = Fold("", self.left_out)
        self.note = QLabel()
        mark(self.note, "quiet")
        self.note.setWordWrap(True)
        self.title = QLabel()
        mark(self.title, "big")
        self.hint = QLabel()
        mark(self.hint, "quiet")
        self.hint.setWordWrap(True)
        self.hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.choose = QPushButton(self.tr("Choose a Folder…"))
        mark(self.choose, "chip")
        self.choose.clicked.connect(self.choose_requested)
        self.show_tools = IconButton("captions", self.tr("Tools for all captions"))
        self.show_tools.setCheckable(True)
        self.show_tools.setChecked(True)
        self.show_tools.toggled.connect(self._fit)
        self._stack = QStackedWidget()
        self._lay_out()
        self.rows.edited.connect(self._on_edited)
        self.tools.replace_requested.connect(self._on_replace)
        self.tools.undo_requested.connect(folder.undo_replace)
        self.tools.tag_chosen.connect(lambda _tag: self._show_rows())
        folder.changed.connect(self.show_snapshot)
        self.show_snapshot(folder.snapshot)

    def set_method(self, method: Method) -> None:
        """Say what a method makes of captions."""
        self._method = method
        self.show_snapshot(self._folder.snapshot)

    @Slot(object)
    def show_snapshot(self, snapshot: FolderSnapshot) -> None:
        """Show what a folder holds, or why nothing in it can be learned from."""
        self._show_rows()
        self._show_problems(snapshot)
        self._stack.setCurrentIndex(int(bool(snapshot.pictures)))
        self.choose.setVisible(not snapshot.is_reading)
        if snapshot.is_reading:
            self.title.setText(self.tr("Looking through the pictures"))
            self.hint.setText(snapshot.folder)
        elif snapshot.refusal:
            self.title.setText(self.tr("Nothing to learn from yet"))
            self.hint.setText(snapshot.refusal)
        else:
            self.title.setText(self.tr("What shall it learn?"))
            self.hint.setText(
                self.tr(
                    "Drop a folder of pictures here, or the pictures themselves. Four to eight are "
                    "enough for one thing, some dozens for a style."
                )
            )

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Put the tools away where there is no room for both, and bring them back."""
        super().resizeEvent(event)
        is_narrow = self.width() < _NARROW
        if is_narrow != self._is_narrow:
            self._is_narrow = is_narrow
            self.show_tools.setChecked(not is_narrow)
        self._fit()

    def _fit(self) -> None:
        """Show the tools if they are wanted, in the place of the pictures if there is no more."""
        wanted = self.show_tools.isChecked()
        self.tools.setVisible(wanted)
        self._left.setVisible(not (wanted and self._is_narrow))
        self.tools.setMaximumWidth(_WIDEST if self._is_narrow else WIDTH)

    def _show_rows(self) -> None:
        self.rows.show(self._folder.snapshot.pictures, self.tools.tag())
        self.tools.set_shown(self.rows.pictures)

    def _show_problems(self, snapshot: FolderSnapshot) -> None:
        count = len(snapshot.problems)
        self.problems.setVisible(count > 0)
        text = self.tr("1 file is left out") if count == 1 else self.tr("{0} files are left out")
        self.problems.set_title(text.format(count))
        lines = [f"{problem.path.name} {problem.reason}" for problem in snapshot.problems]
        if lines != [self.left_out.item(row).text() for row in range(self.left_out.count())]:
            self.left_out.clear()
            self.left_out.addItems(lines)
            for row, line in enumerate(lines):
                self.left_out.item(row).setToolTip(line)
        notes = list(snapshot.notices)
        if self._method is Method.DREAMBOOTH and snapshot.pictures:
            notes.insert(
                0,
                self.tr(
                    "DreamBooth says of every picture what stands in “The thing”; captions have "
                    "no say."
                ),
            )
        self.note.setText("\n".join(notes))
        self.note.setVisible(bool(notes))

    @Slot(object, str)
    def _on_edited(self, path: Path, text: str) -> None:
        self._folder.edit({path: text})

    @Slot(str, str)
    def _on_replace(self, old: str, new: str) -> None:
        self._folder.replace(old, new, [picture.path for picture in self.rows.pictures])

    def _lay_out(self) -> None:
        above = QVBoxLayout()
        above.setContentsMargins(16, 0, 16, 0)
        above.setSpacing(4)
        above.addWidget(self.note)
        above.addWidget(self.problems)
        self._left = QWidget()
        left = QVBoxLayout(self._left)
        left.setContentsMargins(0, 0, 0, 0)
        left.setSpacing(0)
        left.addLayout(above)
        left.addWidget(self.grid, 1)
        full = QWidget()
        row = QHBoxLayout(full)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self._left, 1)
        row.addWidget(self.tools)
        empty = QWidget()
        middle = QVBoxLayout(empty)
        middle.setSpacing(8)
        middle.addStretch(1)
        middle.addWidget(self.title, 0, Qt.AlignmentFlag.AlignHCenter)
        middle.addWidget(self.hint)
        middle.addSpacing(10)
        middle.addWidget(self.choose, 0, Qt.AlignmentFlag.AlignHCenter)
        middle.addStretch(1)
        self._stack.addWidget(empty)
        self._stack.addWidget(full)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._stack)
