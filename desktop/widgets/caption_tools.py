"""What is done with all captions at once: written by a model, replaced, counted."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QFileDialog,
    QFrame,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from core.errors import InvalidRequest
from core.training.caption_models import STARTER
from core.training.caption_request import CaptionRequest, CaptionSettings
from desktop.picture_folder import FolderSnapshot
from desktop.theme import mark
from desktop.widgets.availability import set_unavailable
from desktop.widgets.choice import CalmCombo, Choice
from desktop.widgets.fold import Fold
from desktop.widgets.form import rows
from desktop.widgets.slider_spin import CalmSpin

WIDTH = 264
_LABEL_WIDTH = 70


class Which(StrEnum):
    """Which captions a model writes."""

    LACKING = "lacking"
    ALL = "all"


class CaptionTools(QWidget):
    """The tools beside the grid.

    Signals:
        caption_requested(CaptionRequest): Captions are to be written by a model.
        replace_requested(str, str): These words are to take the place of those.
        tag_chosen(str): Only pictures with it are to be shown; all if it is empty.
        failed(str): A sentence on what is wrong with the tools' own fields.
    """

    caption_requested = Signal(object)
    replace_requested = Signal(str, str)
    tag_chosen = Signal(str)
    failed = Signal(str)

    def __init__(self) -> None:
        """Start without captions."""
        super().__init__()
        self._snapshot = FolderSnapshot()
        self._busy = ""
        self.model = CalmCombo(self.tr("Captioner"))
        self.model.setToolTip(self.tr("What writes the captions: any BLIP model on this machine"))
        self.model.addItem(self.tr("Stepwise's own"), STARTER)
        self.model.addItem(self.tr("Open folder…"), "")
        self.model.activated.connect(self._on_model)
        self.which = Choice[Which](
            self.tr("Which captions"),
            {
                Which.LACKING: (self.tr("Only missing ones"), self.tr("Keep what is there.")),
                Which.ALL: (self.tr("All anew"), self.tr("Over what is there.")),
            },
        )
        self.prefix = self._line(self.tr("Begins"), self.tr("nothing"))
        self.prefix.setToolTip(self.tr("What every caption begins with; the model goes on"))
        self.suffix = self._line(self.tr("Ends"), self.tr("nothing"))
        self.suffix.setToolTip(self.tr("What is put behind every caption"))
        self.beams = self._number(self.tr("Beams"), CaptionSettings().beams, 64)
        self.beams.setToolTip(self.tr("Captions followed at once; the likeliest is taken"))
        self.longest = self._number(self.tr("Longest"), CaptionSettings().max_tokens, 400)
        self.longest.setToolTip(self.tr("Tokens of a caption, at most"))
        self.write = QPushButton(self.tr("Write Captions"))
        self.write.clicked.connect(self._on_write)
        self.old = self._line(self.tr("Find"), self.tr("words"))
        self.old.textChanged.connect(self._refresh)
        self.new = self._line(self.tr("Replace"), self.tr("nothing"))
        self.new.returnPressed.connect(self._on_replace)
        self.old.returnPressed.connect(self._on_replace)
        self.replace = QPushButton()
        self.replace.clicked.connect(self._on_replace)
        self.tags = QListWidget()
        self.tags.setObjectName("tags")
        self.tags.setAccessibleName(self.tr("Tags"))
        self.tags.setFrameShape(QFrame.Shape.NoFrame)
        self.tags.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.tags.currentItemChanged.connect(self._on_tag)
        self.setObjectName("captionTools")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._lay_out()
        self.setMinimumWidth(WIDTH)
        self.show_snapshot(FolderSnapshot())

    def show_snapshot(self, snapshot: FolderSnapshot, busy: str = "") -> None:
        """Count the tags of a folder's captions.

        Args:
            snapshot: The folder.
            busy: Why captions cannot be written by a model now, or empty.
        """
        is_other = snapshot.pictures != self._snapshot.pictures
        self._snapshot, self._busy = snapshot, busy
        if is_other:
            self._count()
        self._refresh()

    def tag(self) -> str:
        """Give the tag that narrows the pictures, or nothing."""
        item = self.tags.currentItem()
        return str(item.data(Qt.ItemDataRole.UserRole)) if item is not None else ""

    def _count(self) -> None:
        """List the tags anew; the chosen one stays if it is still there."""
        before = self.tag()
        with QSignalBlocker(self.tags):
            self.tags.clear()
            self._add(self.tr("All pictures"), "", len(self._snapshot.pictures))
            for tag, count in self._snapshot.tags():
                self._add(tag, tag, count)
                if tag == before:
                    self.tags.setCurrentRow(self.tags.count() - 1)
            if self.tags.currentRow() < 0:
                self.tags.setCurrentRow(0)
        if self.tag() != before:
            self.tag_chosen.emit(self.tag())

    def _add(self, text: str, tag: str, count: int) -> None:
        item = QListWidgetItem(f"{count}   {text}")
        item.setData(Qt.ItemDataRole.UserRole, tag)
        item.setToolTip(text)
        self.tags.addItem(item)

    def _refresh(self) -> None:
        found = self.old.text()
        count = sum(found in picture.caption for picture in self._snapshot.pictures)
        none = self.tr("There are no pictures.") if not self._snapshot.pictures else ""
        self.replace.setText(
            self.tr("Replace in {0}").format(count) if found else self.tr("Replace")
        )
        why = self.tr("Write above what is to be found.") if not found else ""
        if found and not count:
            why = self.tr("No caption has it.")
        set_unavailable(self.replace, none or why)
        set_unavailable(self.write, none or self._busy)

    def _on_model(self, row: int) -> None:
        if self.model.itemData(row):
            return
        folder = QFileDialog.getExistingDirectory(self, self.tr("Open a BLIP Folder"))
        at = 0
        if folder:
            at = self.model.findData(folder)
            if at < 0:
                self.model.insertItem(row, Path(folder).name, folder)
                self.model.setItemData(row, folder, Qt.ItemDataRole.ToolTipRole)
                at = row
        self.model.setCurrentIndex(at)

    def _on_write(self) -> None:
        try:
            request = CaptionRequest(
                folder=Path(self._snapshot.folder),
                model=str(self.model.currentData()),
                overwrite=self.which.value() is Which.ALL,
                settings=CaptionSettings(
                    prefix=self.prefix.text(),
                    suffix=self.suffix.text(),
                    beams=int(self.beams.value()),
                    max_tokens=int(self.longest.value()),
                ),
            )
        except InvalidRequest as error:
            self.failed.emit(str(error))
            return
        self.caption_requested.emit(request)

    def _on_replace(self) -> None:
        if self.replace.isEnabled():
            self.replace_requested.emit(self.old.text(), self.new.text())

    def _on_tag(self) -> None:
        self.tag_chosen.emit(self.tag())

    def _line(self, name: str, hint: str) -> QLineEdit:
        line = QLineEdit()
        line.setAccessibleName(name)
        line.setPlaceholderText(hint)
        return line

    def _number(self, name: str, value: int, most: int) -> CalmSpin:
        spin = CalmSpin()
        spin.setDecimals(0)
        spin.setRange(1, most)
        spin.setValue(value)
        spin.setAccessibleName(name)
        return spin

    def _lay_out(self) -> None:
        more = QWidget()
        more.setLayout(
            rows(
                (
                    (self.tr("Begins"), self.prefix),
                    (self.tr("Ends"), self.suffix),
                    (self.tr("Beams"), self.beams),
                    (self.tr("Longest"), self.longest),
                ),
                _LABEL_WIDTH,
            )
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 12, 16, 12)
        column.setSpacing(8)
        column.addWidget(_heading(self.tr("Captions by a model")))
        column.addLayout(
            rows(((self.tr("Model"), self.model), (self.tr("Write"), self.which)), _LABEL_WIDTH)
        )
        column.addWidget(Fold(self.tr("More"), more))
        column.addWidget(self.write)
        column.addSpacing(8)
        column.addWidget(_heading(self.tr("Find and replace")))
        column.addLayout(
            rows(((self.tr("Find"), self.old), (self.tr("Replace"), self.new)), _LABEL_WIDTH)
        )
        column.addWidget(self.replace)
        column.addSpacing(8)
        column.addWidget(_heading(self.tr("Tags")))
        column.addWidget(self.tags, 1)


def _heading(text: str) -> QLabel:
    label = QLabel(text)
    mark(label, "quiet")
    return label
