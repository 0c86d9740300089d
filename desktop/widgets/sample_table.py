"""The samples of a training as a table: a row for each prompt, a column for each time."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QPersistentModelIndex,
    QRectF,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtGui import QKeyEvent, QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
)

from desktop.thumbnails import Thumbnails
from desktop.training_folder import Shot
from desktop.widgets.thumbnail_paint import paint_thumbnail

CELL = 104
HEADER_WIDTH = 150
ShotRole = Qt.ItemDataRole.UserRole

_Index = QModelIndex | QPersistentModelIndex


class SampleGrid(QAbstractTableModel):
    """The samples by prompt and step."""

    def __init__(self, thumbnails: Thumbnails) -> None:
        """Start without samples."""
        super().__init__()
        self._thumbnails = thumbnails
        self._prompts: tuple[str, ...] = ()
        self._steps: list[int] = []
        self._shots: dict[tuple[int, int], Shot] = {}
        thumbnails.ready.connect(self._on_thumbnail)

    def show(self, prompts: tuple[str, ...], shots: tuple[Shot, ...]) -> None:
        """Show samples; those that are new join the others."""
        if prompts != self._prompts or not set(self._shots.values()) <= set(shots):
            self.beginResetModel()
            self._prompts, self._steps, self._shots = prompts, [], {}
            self.endResetModel()
        for shot in shots:
            if self._shots.get((shot.prompt, shot.step)) != shot and shot.prompt < len(prompts):
                self._add(shot)

    def shot(self, index: _Index) -> Shot | None:
        """Give the sample in a cell."""
        if not index.isValid():
            return None
        return self._shots.get((index.row(), self._steps[index.column()]))

    def place(self, shot: Shot) -> QModelIndex:
        """Give the cell of a sample; none of one that is gone."""
        if shot.step not in self._steps:
            return QModelIndex()
        return self.index(shot.prompt, self._steps.index(shot.step))

    def neighbour(self, shot: Shot, across: int, down: int) -> Shot | None:
        """Give the sample so many times later and so many prompts further, if there is one."""
        if shot.step not in self._steps:
            return None
        column = self._steps.index(shot.step) + across
        if not 0 <= column < len(self._steps):
            return None
        return self._shots.get((shot.prompt + down, self._steps[column]))

    def rowCount(self, parent: _Index | None = None) -> int:
        """Give the number of prompts."""
        return 0 if parent and parent.isValid() else len(self._prompts)

    def columnCount(self, parent: _Index | None = None) -> int:
        """Give the number of times at which samples were drawn."""
        return 0 if parent and parent.isValid() else len(self._steps)

    def headerData(
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> object:
        """Give the prompts and the steps."""
        across = orientation is Qt.Orientation.Horizontal
        if role == Qt.ItemDataRole.DisplayRole:
            return self._step_name(self._steps[section]) if across else self._prompts[section]
        if role == Qt.ItemDataRole.ToolTipRole and not across:
            return self._prompts[section]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            if across:
                return Qt.AlignmentFlag.AlignCenter
            way = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
            return int(way) | int(Qt.TextFlag.TextWordWrap)
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Give the sample, its thumbnail or what it is."""
        shot = self.shot(index)
        if shot is None:
            return None
        if role == ShotRole:
            return shot
        if role == Qt.ItemDataRole.DecorationRole:
            return self._thumbnails.get(shot.path)
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            return f"{self._step_name(shot.step)}: {self._prompts[shot.prompt]}"
        return None

    def _add(self, shot: Shot) -> None:
        if shot.step not in self._steps:
            at = sum(step < shot.step for step in self._steps)
            self.beginInsertColumns(QModelIndex(), at, at)
            self._steps.insert(at, shot.step)
            self.endInsertColumns()
        self._shots[shot.prompt, shot.step] = shot
        cell = self.index(shot.prompt, self._steps.index(shot.step))
        self.dataChanged.emit(cell, cell)

    def _step_name(self, step: int) -> str:
        return self.tr("Step {0}").format(step) if step else self.tr("Before")

    @Slot(object)
    def _on_thumbnail(self, path: Path) -> None:
        for (prompt, step), shot in self._shots.items():
            if shot.path == path:
                cell = self.index(prompt, self._steps.index(step))
                self.dataChanged.emit(cell, cell, [Qt.ItemDataRole.DecorationRole])
                return


class SampleTable(QTableView):
    """Shows the samples; the newest column stays in sight unless the person looks elsewhere.

    Signals:
        chosen(Shot): It is to be seen large.
    """

    chosen = Signal(object)

    def __init__(self, samples: SampleGrid) -> None:
        """Show ``samples``."""
        super().__init__()
        self.setObjectName("samples")
        self.setAccessibleName(self.tr("Samples"))
        self._samples = samples
        self._at_end = True
        self.setModel(samples)
        self.setItemDelegate(_Delegate(self))
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setShowGrid(False)
        self.setCornerButtonEnabled(False)
        self.setMouseTracking(True)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTabKeyNavigation(False)
        for header in (self.horizontalHeader(), self.verticalHeader()):
            header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
            header.setDefaultSectionSize(CELL)
            header.setSectionsClickable(False)
            header.setHighlightSections(False)
        self.horizontalHeader().setFixedHeight(26)
        self.verticalHeader().setFixedWidth(HEADER_WIDTH)
        self.clicked.connect(self._choose)
        bar = self.horizontalScrollBar()
        bar.valueChanged.connect(self._note_place)
        bar.rangeChanged.connect(self._keep_end)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """See the current one large by Return or Space; the rest is the table's own."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self._choose(self.currentIndex())
        else:
            super().keyPressEvent(event)

    def _choose(self, index: QModelIndex) -> None:
        if (shot := self._samples.shot(index)) is not None:
            self.chosen.emit(shot)

    def _note_place(self, value: int) -> None:
        self._at_end = value >= self.horizontalScrollBar().maximum() - 4

    def _keep_end(self, _least: int, most: int) -> None:
        if self._at_end:
            self.horizontalScrollBar().setValue(most)
            self._at_end = True


class _Delegate(QStyledItemDelegate):
    """Paints a sample as lists of pictures do."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        if index.data(ShotRole) is not None:
            place = QRectF(option.rect).adjusted(5, 5, -5, -5)
            pixmap = index.data(Qt.ItemDataRole.DecorationRole)
            paint_thumbnail(painter, place, pixmap, option.palette, option.state)
