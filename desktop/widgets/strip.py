"""The row of pictures made so far, newest first."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from PySide6.QtCore import (
    QAbstractListModel,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QPoint,
    QRectF,
    QSize,
    QSizeF,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtGui import QContextMenuEvent, QKeyEvent, QPainter, QWheelEvent
from PySide6.QtWidgets import QFrame, QListView, QStyledItemDelegate, QStyleOptionViewItem

from core.images.formats import PictureFormat
from desktop.thumbnails import Thumbnails
from desktop.widgets.thumbnail_paint import paint_thumbnail

CELL = 84
PathRole = Qt.ItemDataRole.UserRole
_PREVIEW = "preview.png"
"""Holds a preview while the command line makes pictures; it is no picture to keep."""

_Index = QModelIndex | QPersistentModelIndex


def pictures_in(folder: Path) -> list[Path]:
    """Give the picture files of a folder, newest first; none if there is no such folder."""
    found: list[tuple[float, Path]] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if entry.name == _PREVIEW or PictureFormat.of_suffix(path.suffix) is None:
                continue
            # A link that leads nowhere, or a file that was deleted just now, is left out alone.
            with contextlib.suppress(OSError):
                found.append((entry.stat().st_mtime, path))
    return [path for _, path in sorted(found, key=lambda file: file[0], reverse=True)]


class PictureList(QAbstractListModel):
    """The paths of the pictures, newest first."""

    def __init__(self, paths: list[Path], thumbnails: Thumbnails) -> None:
        """Start with ``paths``."""
        super().__init__()
        self._paths = paths
        self._thumbnails = thumbnails
        thumbnails.ready.connect(self._on_thumbnail)

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return tuple(self._paths)

    def add(self, path: Path) -> None:
        """Add a picture that was just made."""
        self.beginInsertRows(QModelIndex(), 0, 0)
        self._paths.insert(0, path)
        self.endInsertRows()

    def remove(self, path: Path) -> None:
        """Drop a picture that is no more."""
        if path in self._paths:
            row = self._paths.index(path)
            self.beginRemoveRows(QModelIndex(), row, row)
            del self._paths[row]
            self.endRemoveRows()

    def rowCount(self, parent: _Index | None = None) -> int:
        """Say how many there are."""
        return 0 if parent and parent.isValid() else len(self._paths)

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Give the path, its thumbnail or its name."""
        if not index.isValid():
            return None
        path = self._paths[index.row()]
        if role == PathRole:
            return path
        if role == Qt.ItemDataRole.DecorationRole:
            return self._thumbnails.get(path)
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            return path.name
        return None

    @Slot(object)
    def _on_thumbnail(self, path: Path) -> None:
        if path in self._paths:
            index = self.index(self._paths.index(path))
            self.dataChanged.emit(index, index, [Qt.ItemDataRole.DecorationRole])


class Strip(QListView):
    """The pictures in a row; click or arrows to see one.

    Signals:
        chosen(Path): The person turned to that picture.
        menu_requested(Path, QPoint): Its menu is wanted at that place on the screen.
        delete_requested(Path): Its delete key was pressed.
    """

    chosen = Signal(object)
    menu_requested = Signal(object, QPoint)
    delete_requested = Signal(object)

    def __init__(self, pictures: PictureList) -> None:
        """Show ``pictures``."""
        super().__init__()
        self.setObjectName("strip")
        self.setAccessibleName(self.tr("Pictures"))
        self._pictures = pictures
        self.setModel(pictures)
        self.setFlow(QListView.Flow.LeftToRight)
        self.setWrapping(False)
        self.setUniformItemSizes(True)
        self.setGridSize(QSize(CELL, CELL))
        self.setViewportMargins(8, 0, 8, 0)
        self.setItemDelegate(_Delegate(self))
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.setEditTriggers(QListView.EditTrigger.NoEditTriggers)
        self.setMouseTracking(True)
        self.setFixedHeight(CELL + 16)
        self._told = True
        self.selectionModel().currentChanged.connect(self._on_current)
        self.clicked.connect(self._on_clicked)

    def current(self) -> Path | None:
        """The picture turned to."""
        return _path(self.currentIndex())

    def show_current(self, path: Path | None) -> None:
        """Mark a picture without telling anyone."""
        self._told = False
        if path in self._pictures.paths:
            index = self._pictures.index(self._pictures.paths.index(path))
            self.setCurrentIndex(index)
            self.scrollTo(index)
        else:
            self.selectionModel().clear()
        self._told = True

    def step(self, rows: int) -> None:
        """Turn to the picture so many places on, as the arrow keys do."""
        row = self.currentIndex().row() + rows if self.currentIndex().isValid() else 0
        if 0 <= row < self._pictures.rowCount():
            flag = QItemSelectionModel.SelectionFlag.ClearAndSelect
            self.selectionModel().setCurrentIndex(self._pictures.index(row), flag)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Delete by the delete key; the rest is the list's own."""
        path = self.current()
        if event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace) and path:
            self.delete_requested.emit(path)
        else:
            super().keyPressEvent(event)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Let an upright wheel scroll along the row."""
        delta = event.pixelDelta() if not event.pixelDelta().isNull() else event.angleDelta()
        bar = self.horizontalScrollBar()
        bar.setValue(bar.value() - (delta.x() or delta.y()))
        event.accept()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Ask for the menu of the picture under the pointer, or by key of the current one."""
        index, place = self.indexAt(event.pos()), event.globalPos()
        if event.reason() is QContextMenuEvent.Reason.Keyboard:
            index = self.currentIndex()
            place = self.viewport().mapToGlobal(self.visualRect(index).center())
        if path := _path(index):
            self.menu_requested.emit(path, place)

    def _on_current(self, index: QModelIndex) -> None:
        path = _path(index)
        if self._told and path:
            self.chosen.emit(path)

    def _on_clicked(self, index: QModelIndex) -> None:
        # Also when it is the current one: a run may have taken the canvas since.
        if path := _path(index):
            self.chosen.emit(path)


def _path(index: _Index) -> Path | None:
    path = index.data(PathRole) if index.isValid() else None
    return path if isinstance(path, Path) else None


class _Delegate(QStyledItemDelegate):
    """Paints a thumbnail cut to a square with soft corners."""

    def sizeHint(self, _option: QStyleOptionViewItem, _index: _Index) -> QSize:
        return QSize(CELL, CELL)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        place = QRectF(option.rect)
        place.setSize(QSizeF(CELL, CELL))
        place = place.adjusted(5, 8, -5, -2)
        pixmap = index.data(Qt.ItemDataRole.DecorationRole)
        paint_thumbnail(painter, place, pixmap, option.palette, option.state)
