"""The list of models: those of the library, and below them those worth having."""

from __future__ import annotations

from enum import StrEnum

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QPersistentModelIndex,
    QPoint,
    Qt,
    Signal,
)
from PySide6.QtGui import QContextMenuEvent, QKeyEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QListView

from core.models.listing import Listed
from core.models.verdict import Kind
from desktop.model_facts import DOT, summary, title_of, trouble
from desktop.shelf_snapshot import Offer, ShelfSnapshot
from desktop.widgets.model_delegate import ModelDelegate, RowRole

_Index = QModelIndex | QPersistentModelIndex
Row = Listed | Offer | str
"""A model, a model worth having, or a heading."""


class Show(StrEnum):
    """Which kinds are listed."""

    ALL = "all"
    MODEL = "model"
    LORA = "lora"
    EMBEDDING = "embedding"
    VAE = "vae"
    CONTROLNET = "controlnet"
    UPSCALER = "upscaler"


def key_of(row: Row | None) -> str:
    """Give what a row is known by while its values change; empty for a heading."""
    match row:
        case Listed():
            return f"model {row.name}"
        case Offer():
            return f"offer {row.model.id}"
        case _:
            return ""


class ModelRows(QAbstractListModel):
    """The rows of the list, as far as they are asked for."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self._snapshot = ShelfSnapshot()
        self._show, self._text = Show.ALL, ""
        self._rows: tuple[Row, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """All that are listed now, headings included."""
        return self._rows

    def set_snapshot(self, snapshot: ShelfSnapshot) -> None:
        """List what there is now."""
        self._snapshot = snapshot
        self._update()

    def set_filter(self, show: Show, text: str) -> None:
        """List one kind, and only what has all words of a text in it."""
        self._show, self._text = show, text
        self._update()

    def find(self, key: str) -> QModelIndex:
        """Give the place of what ``key_of`` gave; an invalid one if it is not listed."""
        for number, row in enumerate(self._rows):
            if key and key_of(row) == key:
                return self.index(number)
        return QModelIndex()

    def rowCount(self, parent: _Index | None = None) -> int:
        """Say how many there are."""
        return 0 if parent and parent.isValid() else len(self._rows)

    def flags(self, index: _Index) -> Qt.ItemFlag:
        """Let headings neither be chosen nor turned to."""
        if isinstance(index.data(RowRole), str):
            return Qt.ItemFlag.NoItemFlags
        return super().flags(index)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Give a row, its name, or all of it in words."""
        if not index.isValid():
            return None
        row = self._rows[index.row()]
        if role == RowRole:
            return row
        if role == Qt.ItemDataRole.DisplayRole:
            return row if isinstance(row, str) else title_of(row)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return row if isinstance(row, str) else _in_words(row)
        if role == Qt.ItemDataRole.ToolTipRole and not isinstance(row, str):
            return trouble(row)
        return None

    def _update(self) -> None:
        words = self._text.casefold().split()
        models = [row for row in self._snapshot.models if self._is_wanted(row, row.kind, words)]
        offers = [
            offer
            for offer in self._snapshot.offers
            if not offer.installed and self._is_wanted(offer, offer.model.kind, words)
        ]
        rows: list[Row] = []
        if models:
            rows += [self.tr("In your library"), *models]
        if offers and self._snapshot.models:
            rows += [self.tr("Worth having"), *offers]
        self._replace(tuple(rows))

    def _is_wanted(self, row: Listed | Offer, kind: Kind, words: list[str]) -> bool:
        if self._show is not Show.ALL and kind.value != self._show.value:
            return False
        text = f"{title_of(row)} {_in_words(row)}".casefold()
        return all(word in text for word in words)

    def _replace(self, rows: tuple[Row, ...]) -> None:
        """Take over the rows; those that stay keep their places, and what is chosen stays so."""
        before, self._rows = self._rows, rows
        if [_identity(row) for row in before] == [_identity(row) for row in rows]:
            for number, (old, new) in enumerate(zip(before, rows, strict=True)):
                if old != new:
                    self.dataChanged.emit(self.index(number), self.index(number))
            return
        self._rows = before
        self.beginResetModel()
        self._rows = rows
        self.endResetModel()


def _identity(row: Row) -> str:
    return row if isinstance(row, str) else key_of(row)


def _in_words(row: Listed | Offer) -> str:
    return ", ".join(
        part for part in (title_of(row), summary(row).replace(DOT, ", "), trouble(row)) if part
    )


class ModelList(QListView):
    """The models below each other; click or arrows to see what is known of one.

    Signals:
        turned_to(object): The ``Listed`` or ``Offer`` that the person turned to.
        entered_row(): The current one was double-clicked, or Return pressed.
        menu_requested(QPoint): The menu of the current one is wanted at that place on the screen.
        delete_requested(): The delete key was pressed.
    """

    turned_to = Signal(object)
    entered_row = Signal()
    menu_requested = Signal(QPoint)
    delete_requested = Signal()

    def __init__(self, rows: ModelRows) -> None:
        """Show ``rows``."""
        super().__init__()
        self.setObjectName("models")
        self.setAccessibleName(self.tr("Models"))
        self._rows = rows
        self._key = ""
        self._hint = ""
        self.setModel(rows)
        self.setItemDelegate(ModelDelegate(self))
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setEditTriggers(QListView.EditTrigger.NoEditTriggers)
        self.setMouseTracking(True)
        rows.modelReset.connect(self._on_reset)
        self.selectionModel().currentChanged.connect(self._on_current)
        self.activated.connect(lambda _index: self.entered_row.emit())

    def current(self) -> Listed | Offer | None:
        """The model turned to."""
        row = self.currentIndex().data(RowRole)
        return row if isinstance(row, Listed | Offer) else None

    def turn_to(self, key: str) -> None:
        """Turn to what ``key_of`` gave, as soon as it is listed."""
        self._key = key
        index = self._rows.find(key)
        if index.isValid():
            self.setCurrentIndex(index)
            self.scrollTo(index)

    def set_hint(self, text: str) -> None:
        """Say what to do where there is nothing to show."""
        self._hint = text
        self.viewport().update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the rows, or the hint if there are none."""
        super().paintEvent(event)
        if not self._rows.rows and self._hint:
            painter = QPainter(self.viewport())
            painter.setPen(self.palette().placeholderText().color())
            place = self.viewport().rect().adjusted(24, 32, -24, -24)
            flags = Qt.AlignmentFlag.AlignHCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(place, flags, self._hint)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Ask for removal by the delete key; the rest is the list's own."""
        if event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self.delete_requested.emit()
        else:
            super().keyPressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Ask for the menu of the model under the pointer, or by key of the current one."""
        index, place = self.indexAt(event.pos()), event.globalPos()
        if event.reason() is QContextMenuEvent.Reason.Keyboard:
            index = self.currentIndex()
            place = self.viewport().mapToGlobal(self.visualRect(index).center())
        if index.isValid() and index.flags() & Qt.ItemFlag.ItemIsSelectable:
            self.setCurrentIndex(index)
            self.menu_requested.emit(place)

    def _on_current(self, index: QModelIndex) -> None:
        row = index.data(RowRole)
        if isinstance(row, Listed | Offer):
            self._key = key_of(row)
            self.turned_to.emit(row)

    def _on_reset(self) -> None:
        """Turn to the same model again, or to the first if it is not listed any more."""
        index = self._rows.find(self._key)
        if not index.isValid() and len(self._rows.rows) > 1:
            index = self._rows.index(1)
        if index.isValid():
            self.setCurrentIndex(index)
