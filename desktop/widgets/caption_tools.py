"""What is done with all captions at once: written by a model, replaced, counted."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt, QTimer, Signal
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListView,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from core.training.caption_models import STARTER
from desktop.caption_draft import CaptionDraft, Which
from desktop.picture_folder import FolderSnapshot, Picture
from desktop.theme import mark
from desktop.widgets.availability import set_unavailable
from desktop.widgets.captioner_choice import CaptionerChoice
from desktop.widgets.choice import Choice
from desktop.widgets.fold import Fold
from desktop.widgets.form import rows
from desktop.widgets.slider_spin import CalmSpin
from desktop.widgets.tag_rows import TagRole, TagRows

WIDTH = 264
_LABEL_WIDTH = 70

_COUNT_MS = 80
"""Tags are counted so long after captions have changed: thousands may change at once, or each by
itself in quick succession."""


class CaptionTools(QWidget):
    """The tools beside the grid.

    Signals:
        caption_requested(CaptionDraft): Captions are to be written by a model.
        replace_requested(str, str): These words are to take the place of those, in what is shown.
        undo_requested(): The last replacement is to be undone.
        tag_chosen(str): Only pictures with it are to be shown; all if it is empty.
        changed(): There is something to be remembered.
    """

    caption_requested = Signal(object)
    replace_requested = Signal(str, str)
    undo_requested = Signal()
    tag_chosen = Signal(str)
    changed = Signal()

    def __init__(self) -> None:
        """Start without captions."""
        super().__init__()
        self._snapshot = FolderSnapshot()
        self._shown: tuple[Picture, ...] = ()
        self._busy = ""
        self._counting = QTimer(self, singleShot=True, interval=_COUNT_MS)
        self._counting.timeout.connect(self._count)
        self.model = CaptionerChoice()
        self.about = QLabel(
            self.tr(
                "It knows only the coloured shapes that the starter model draws. For other "
                "pictures open a BLIP folder."
            )
        )
        mark(self.about, "quiet")
        self.about.setWordWrap(True)
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
        self.beams = self._number(self.tr("Beams"), 64)
        self.beams.setToolTip(self.tr("Captions followed at once; the likeliest is taken"))
        self.longest = self._number(self.tr("Longest"), 400)
        self.longest.setToolTip(self.tr("Tokens of a caption, at most"))
        self.write = QPushButton(self.tr("Write Captions"))
        self.old = self._line(self.tr("Find"), self.tr("words"))
        self.new = self._line(self.tr("Replace"), self.tr("nothing"))
        self.replace = QPushButton()
        self.undo = QPushButton(self.tr("Undo"))
        self.undo.setToolTip(self.tr("Take the last replacement back"))
        self.rows = TagRows()
        self.tags = QListView()
        self.tags.setObjectName("tags")
        self.tags.setAccessibleName(self.tr("Tags"))
        self.tags.setModel(self.rows)
        self.tags.setUniformItemSizes(True)
        self.tags.setEditTriggers(QListView.EditTrigger.NoEditTriggers)
        self.tags.setFrameShape(QFrame.Shape.NoFrame)
        self.tags.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setObjectName("captionTools")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._lay_out()
        self.setMinimumWidth(WIDTH)
        self.set_values(CaptionDraft())
        self._connect()
        self.show_snapshot(FolderSnapshot())

    def values(self) -> CaptionDraft:
        """Give what stands in the controls of what a model writes."""
        return CaptionDraft(
            model=self.model.captioner,
            folders=self.model.folders,
            which=self.which.value(),
            prefix=self.prefix.text(),
            suffix=self.suffix.text(),
            beams=int(self.beams.value()),
            longest=int(self.longest.value()),
        )

    def set_values(self, draft: CaptionDraft) -> None:
        """Bring these controls to ``draft``."""
        self.model.set_captioner(draft.model, draft.folders)
        self.which.set_value(draft.which)
        self.prefix.setText(draft.prefix)
        self.suffix.setText(draft.suffix)
        self.beams.setValue(draft.beams)
        self.longest.setValue(draft.longest)
        self._on_change()

    def show_snapshot(self, snapshot: FolderSnapshot, busy: str = "") -> None:
        """Count the tags of a folder's captions.

        Args:
            snapshot: The folder.
            busy: Why captions cannot be written by a model now, or empty.
        """
        is_other = snapshot.pictures is not self._snapshot.pictures
        self._snapshot, self._busy = snapshot, busy
        if is_other and not self._counting.isActive():
            self._counting.start()
        self._refresh()

    def set_shown(self, pictures: tuple[Picture, ...]) -> None:
        """Know which pictures are in sight: words are replaced in their captions alone."""
        self._shown = pictures
        self._refresh()

    def tag(self) -> str:
        """Give the tag that narrows the pictures, or nothing."""
        return str(self.tags.currentIndex().data(TagRole) or "")

    def _count(self) -> None:
        """List the tags anew; the chosen one stays if it is still there."""
        before, bar = self.tag(), self.tags.verticalScrollBar()
        place = bar.value()
        if not self.rows.show(self._snapshot.pictures):
            return
        with QSignalBlocker(self.tags.selectionModel()):
            self.tags.setCurrentIndex(self.rows.find(before))
        bar.setValue(place)
        if self.tag() != before:
            self.tag_chosen.emit(self.tag())

    def _refresh(self) -> None:
        found = self.old.text()
        count = sum(found in picture.caption for picture in self._shown)
        none = self.tr("There are no pictures.") if not self._snapshot.pictures else ""
        text = self.tr("Replace in {0} of those shown") if self.tag() else self.tr("Replace in {0}")
        self.replace.setText(text.format(count) if found else self.tr("Replace"))
        why = self.tr("Write above what is to be found.") if not found else ""
        if found and not count:
            why = self.tr("No caption has it.")
        set_unavailable(self.replace, none or why)
        self.undo.setVisible(self._snapshot.replaced > 0)
        set_unavailable(self.write, none or self._busy)

    def _on_replace(self) -> None:
        if self.replace.isEnabled():
            self.replace_requested.emit(self.old.text(), self.new.text())

    def _on_tag(self) -> None:
        self.tag_chosen.emit(self.tag())

    def _on_change(self) -> None:
        self.about.setVisible(self.model.captioner == STARTER)
        self.changed.emit()

    def _connect(self) -> None:
        self.model.chosen.connect(self._on_change)
        self.which.currentIndexChanged.connect(self._on_change)
        for line in (self.prefix, self.suffix):
            line.textChanged.connect(self._on_change)
        for number in (self.beams, self.longest):
            number.valueChanged.connect(self._on_change)
        self.write.clicked.connect(lambda: self.caption_requested.emit(self.values()))
        self.old.textChanged.connect(self._refresh)
        for line in (self.old, self.new):
            line.returnPressed.connect(self._on_replace)
        self.replace.clicked.connect(self._on_replace)
        self.undo.clicked.connect(self.undo_requested)
        self.tags.selectionModel().currentChanged.connect(self._on_tag)

    def _line(self, name: str, hint: str) -> QLineEdit:
        line = QLineEdit()
        line.setAccessibleName(name)
        line.setPlaceholderText(hint)
        return line

    def _number(self, name: str, most: int) -> CalmSpin:
        spin = CalmSpin()
        spin.setDecimals(0)
        spin.setRange(1, most)
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
        column.addLayout(rows(((self.tr("Model"), self.model),), _LABEL_WIDTH))
        column.addWidget(self.about)
        column.addLayout(rows(((self.tr("Write"), self.which),), _LABEL_WIDTH))
        column.addWidget(Fold(self.tr("More"), more))
        column.addWidget(self.write)
        column.addSpacing(8)
        column.addWidget(_heading(self.tr("Find and replace")))
        column.addLayout(
            rows(((self.tr("Find"), self.old), (self.tr("Replace"), self.new)), _LABEL_WIDTH)
        )
        buttons = QHBoxLayout()
        buttons.addWidget(self.replace, 1)
        buttons.addWidget(self.undo)
        column.addLayout(buttons)
        column.addSpacing(8)
        column.addWidget(_heading(self.tr("Tags")))
        column.addWidget(self.tags, 1)


def _heading(text: str) -> QLabel:
    label = QLabel(text)
    mark(label, "quiet")
    return label
