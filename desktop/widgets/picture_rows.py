"""The pictures to learn from as a grid, each with its caption, which is edited in place."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import (
    QAbstractItemModel,
    QAbstractListModel,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QRectF,
    QSize,
    Qt,
    Signal,
    Slot,
)
from PySide6.QtGui import QKeyEvent, QPainter, QPalette, QTextLayout, QTextOption
from PySide6.QtWidgets import (
    QAbstractItemDelegate,
    QFrame,
    QListView,
    QPlainTextEdit,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from desktop.picture_folder import Picture
from desktop.thumbnails import Thumbnails
from desktop.widgets.thumbnail_paint import paint_thumbnail

SIDE = 148
LINES = 3
_PAD = 10

_Index = QModelIndex | QPersistentModelIndex
PictureRole = Qt.ItemDataRole.UserRole


class PictureRows(QAbstractListModel):
    """The pictures, or those of them with some words in their captions.

    Signals:
        edited(Path, str): A picture is to have that caption.
    """

    edited = Signal(object, str)

    def __init__(self, thumbnails: Thumbnails) -> None:
        """Start without pictures."""
        super().__init__()
        self._thumbnails = thumbnails
        self._all: tuple[Picture, ...] = ()
        self._pictures: list[Picture] = []
        self._tag = ""
        thumbnails.ready.connect(self._on_thumbnail)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Those that are shown."""
        return tuple(self._pictures)

    def show(self, pictures: tuple[Picture, ...], tag: str) -> None:
        """Show pictures; those whose captions alone are others stay where they are.

        Args:
            pictures: All there are.
            tag: What a caption must have between its commas to be shown; empty for all.
        """
        is_narrower, self._tag, self._all = tag != self._tag, tag, pictures
        new = [picture for picture in pictures if not tag or tag in picture.tags]
        now = [picture.path for picture in self._pictures]
        # One that has lost its tag by being edited stays in sight until something else is asked.
        if not is_narrower and tag and {picture.path for picture in new} <= set(now):
            known = {picture.path: picture for picture in pictures}
            new = [known[path] for path in now if path in known]
        if [picture.path for picture in new] != now:
            self.beginResetModel()
            self._pictures = new
            self.endResetModel()
            return
        changed = [row for row, one in enumerate(new) if one is not self._pictures[row]]
        if changed:
            self._pictures = new
            self.dataChanged.emit(self.index(changed[0]), self.index(changed[-1]))

    def rowCount(self, parent: _Index | None = None) -> int:
        """Say how many are shown."""
        return 0 if parent and parent.isValid() else len(self._pictures)

    def flags(self, index: _Index) -> Qt.ItemFlag:
        """Let captions be edited."""
        return super().flags(index) | Qt.ItemFlag.ItemIsEditable

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Give the picture, its thumbnail, its caption or what it is."""
        if not index.isValid():
            return None
        picture = self._pictures[index.row()]
        if role == PictureRole:
            return picture
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return picture.caption
        if role == Qt.ItemDataRole.DecorationRole:
            return self._thumbnails.get(picture.path)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{picture.path.name}: {picture.caption}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tip(picture)
        return None

    def setData(self, index: _Index, value: object, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """Ask for another caption."""
        if role != Qt.ItemDataRole.EditRole or not index.isValid():
            return False
        self.edited.emit(self._pictures[index.row()].path, str(value))
        return True

    def _tip(self, picture: Picture) -> str:
        width, height = picture.size
        parts = [picture.path.name, f"{width} \N{MULTIPLICATION SIGN} {height}"]
        if picture.repeats > 1:
            parts.append(self.tr("shown {0} times an epoch").format(picture.repeats))
        return "\n".join((picture.caption, "  ·  ".join(parts))).strip()

    @Slot(object)
    def _on_thumbnail(self, path: Path) -> None:
        for row, picture in enumerate(self._pictures):
            if picture.path == path:
                cell = self.index(row)
                self.dataChanged.emit(cell, cell, [Qt.ItemDataRole.DecorationRole])
                return


class PictureGrid(QListView):
    """The pictures; F2, Return or a double click edits a caption, Tab goes on to the next."""

    def __init__(self, pictures: PictureRows) -> None:
        """Show ``pictures``."""
        super().__init__()
        self.setObjectName("pictures")
        self.setAccessibleName(self.tr("Pictures and captions"))
        self.setModel(pictures)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setDragEnabled(False)
        self.setItemDelegate(_Delegate(self))
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMouseTracking(True)
        self.setSpacing(4)
        self.setEditTriggers(
            QListView.EditTrigger.DoubleClicked | QListView.EditTrigger.EditKeyPressed
        )

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Edit by Return too; the rest is the list's own."""
        keys = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        index = self.currentIndex()
        if event.key() in keys and index.isValid() and not event.modifiers():
            self.edit(index)
        else:
            super().keyPressEvent(event)


_Hint = QAbstractItemDelegate.EndEditHint
_DONE = {
    Qt.Key.Key_Return: _Hint.NoHint,
    Qt.Key.Key_Enter: _Hint.NoHint,
    Qt.Key.Key_Tab: _Hint.EditNextItem,
    Qt.Key.Key_Backtab: _Hint.EditPreviousItem,
}
"""The keys that end the typing of a caption, and what comes then."""


class _CaptionEditor(QPlainTextEdit):
    """Where a caption is typed; Return is done with it, Tab goes on to the next."""

    finished = Signal(object)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        hint = _DONE.get(Qt.Key(event.key()))
        if hint is None:
            super().keyPressEvent(event)
        else:
            self.finished.emit(hint)


class _Delegate(QStyledItemDelegate):
    """Paints a picture above its caption."""

    def sizeHint(self, option: QStyleOptionViewItem, _index: _Index) -> QSize:
        text = LINES * option.fontMetrics.lineSpacing()
        return QSize(SIDE + 2 * _PAD, SIDE + text + 3 * _PAD)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        place = QRectF(option.rect).adjusted(_PAD, _PAD, -_PAD, 0)
        place.setHeight(SIDE)
        pixmap = index.data(Qt.ItemDataRole.DecorationRole)
        paint_thumbnail(painter, place, pixmap, option.palette, option.state)
        caption = str(index.data(Qt.ItemDataRole.DisplayRole))
        role = QPalette.ColorRole.Text if caption else QPalette.ColorRole.PlaceholderText
        painter.setPen(option.palette.color(role))
        _paint_lines(painter, _text_place(option.rect), caption or self.tr("No caption"))

    def createEditor(
        self, parent: QWidget, _option: QStyleOptionViewItem, _index: _Index
    ) -> QWidget:
        editor = _CaptionEditor(parent)
        editor.setObjectName("captionEditor")
        editor.setAccessibleName(self.tr("Caption"))
        editor.document().setDocumentMargin(2)
        # The margin counts as a change, and only what the person changes is to be kept.
        editor.document().setModified(False)
        editor.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        editor.finished.connect(lambda hint: self._finish(editor, hint))
        return editor

    def setEditorData(self, editor: QWidget, index: _Index) -> None:
        assert isinstance(editor, QPlainTextEdit)
        if editor.document().isModified():
            return  # What is being typed stays, whatever is told of the picture meanwhile.
        editor.setPlainText(str(index.data(Qt.ItemDataRole.EditRole)))
        editor.selectAll()

    def setModelData(self, editor: QWidget, model: QAbstractItemModel, index: _Index) -> None:
        assert isinstance(editor, QPlainTextEdit)
        model.setData(index, editor.toPlainText())

    def updateEditorGeometry(
        self, editor: QWidget, option: QStyleOptionViewItem, _index: _Index
    ) -> None:
        editor.setGeometry(_text_place(option.rect).adjusted(-6, -4, 6, 6))

    def _finish(self, editor: QWidget, hint: _Hint) -> None:
        self.commitData.emit(editor)
        self.closeEditor.emit(editor, hint)


def _text_place(cell: QRect) -> QRect:
    return cell.adjusted(_PAD, SIDE + 2 * _PAD - 4, -_PAD, -_PAD + 4)


def _paint_lines(painter: QPainter, place: QRect, text: str) -> None:
    """Paint the first lines of a text, the last of them cut short if there are more."""
    layout = QTextLayout(text, painter.font())
    option = QTextOption()
    option.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
    layout.setTextOption(option)
    metrics, y = painter.fontMetrics(), float(place.top())
    layout.beginLayout()
    for number in range(1, LINES + 1):
        line = layout.createLine()
        if not line.isValid():
            break
        line.setLineWidth(place.width())
        start, length = line.textStart(), line.textLength()
        is_cut = number == LINES and start + length < len(text)
        part = text[start:] if is_cut else text[start : start + length]
        part = metrics.elidedText(part.strip(), Qt.TextElideMode.ElideRight, place.width())
        painter.drawText(QRectF(place.left(), y, place.width(), metrics.height()), part)
        y += metrics.lineSpacing()
    layout.endLayout()
