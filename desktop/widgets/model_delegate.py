"""Paints the rows of the list of models."""

from __future__ import annotations

from PySide6.QtCore import (
    QCoreApplication,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QRectF,
    QSize,
    Qt,
)
from PySide6.QtGui import QFont, QFontMetrics, QPainter, QPalette
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

from core.models.listing import Listed
from desktop.icons import tinted_pixmap
from desktop.model_facts import share, summary, title_of, unusable
from desktop.shelf_snapshot import Offer, TransferState

RowRole = Qt.ItemDataRole.UserRole
"""Under which a row gives its ``Listed``, ``Offer`` or heading."""

MARGIN, ICON = 14, 20
"""In pixels: beside the rows, and the sides of their icons."""

_Index = QModelIndex | QPersistentModelIndex


class ModelDelegate(QStyledItemDelegate):
    """Paints a heading, or a model in two lines with its icon before them."""

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        """Give the heights; the list gives the width."""
        line = QFontMetrics(option.font).lineSpacing()
        if isinstance(index.data(RowRole), str):
            return QSize(100, line + 22)
        return QSize(100, 2 * line + 18)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        """Paint one row."""
        row = index.data(RowRole)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if isinstance(row, str):
            _paint_heading(painter, option, row)
        elif isinstance(row, Listed | Offer):
            _paint_row(painter, option, row)
        painter.restore()


def _paint_heading(painter: QPainter, option: QStyleOptionViewItem, text: str) -> None:
    font = QFont(option.font)
    font.setWeight(QFont.Weight.DemiBold)
    painter.setFont(font)
    # A heading cannot be chosen, which must not make it hard to read.
    active = QPalette.ColorGroup.Active
    painter.setPen(option.palette.color(active, QPalette.ColorRole.PlaceholderText))
    place = QRect(option.rect).adjusted(MARGIN + 2, 0, -MARGIN, -5)
    painter.drawText(place, Qt.AlignmentFlag.AlignBottom, text)


def _paint_row(painter: QPainter, option: QStyleOptionViewItem, row: Listed | Offer) -> None:
    palette, role = option.palette, QPalette.ColorRole
    place = QRectF(option.rect).adjusted(6, 1, -6, -1)
    chosen = bool(option.state & QStyle.StateFlag.State_Selected)
    if chosen or option.state & QStyle.StateFlag.State_MouseOver:
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(palette.color(role.Mid if chosen else role.Midlight))
        painter.drawRoundedRect(place, 6, 6)
    if chosen and option.state & QStyle.StateFlag.State_HasFocus:
        painter.setPen(palette.color(role.Link))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRoundedRect(place.adjusted(0.5, 0.5, -0.5, -0.5), 6, 6)
    inside = QRect(option.rect).adjusted(MARGIN + 2, 6, -MARGIN - 2, -6)
    faint = isinstance(row, Listed) and bool(unusable(row))
    _paint_icon(painter, option, row, inside)
    text = inside.adjusted(ICON + 12, 0, 0, 0)
    line = QFontMetrics(option.font).lineSpacing()
    note, note_role = _note(row)
    room = text.width()
    if note:
        width = QFontMetrics(option.font).horizontalAdvance(note)
        painter.setPen(palette.color(note_role))
        painter.drawText(QRect(text.right() - width, text.top(), width + 1, line + 2), 0, note)
        room -= width + 10
    painter.setPen(palette.color(role.PlaceholderText if faint else role.WindowText))
    name = QFontMetrics(option.font).elidedText(title_of(row), Qt.TextElideMode.ElideRight, room)
    painter.drawText(QRect(text.left(), text.top(), room, line + 2), 0, name)
    painter.setPen(palette.color(role.PlaceholderText))
    below = QFontMetrics(option.font).elidedText(
        summary(row), Qt.TextElideMode.ElideRight, text.width()
    )
    painter.drawText(QRect(text.left(), text.top() + line + 3, text.width(), line + 3), 0, below)
    _paint_progress(painter, option, row, place)


def _paint_icon(
    painter: QPainter, option: QStyleOptionViewItem, row: Listed | Offer, inside: QRect
) -> None:
    kind = row.kind if isinstance(row, Listed) else row.model.kind
    colour = option.palette.color(QPalette.ColorRole.PlaceholderText)
    device = painter.device()
    ratio = device.devicePixelRatio() if device is not None else 1.0
    top = inside.center().y() - ICON // 2
    painter.drawPixmap(inside.left(), top, tinted_pixmap(f"kind-{kind}", colour, ICON, ratio))


def _note(row: Listed | Offer) -> tuple[str, QPalette.ColorRole]:
    """Give the word at a row's end and its colour."""
    if isinstance(row, Listed):
        if row.missing:
            return _tr("missing"), QPalette.ColorRole.BrightText
        return "", QPalette.ColorRole.PlaceholderText
    if row.transfer is None:
        text = _tr("stopped") if row.arrived else ""
        return text, QPalette.ColorRole.PlaceholderText
    if row.transfer.state is TransferState.WAITING:
        return _tr("waiting"), QPalette.ColorRole.PlaceholderText
    percent = round(100 * share(row.transfer.progress))
    return f"{percent} %", QPalette.ColorRole.Link


def _paint_progress(
    painter: QPainter, option: QStyleOptionViewItem, row: Listed | Offer, place: QRectF
) -> None:
    """Draw how far a download is along the row's lower edge."""
    if not isinstance(row, Offer) or row.transfer is None:
        return
    done = share(row.transfer.progress)
    track = QRectF(place.left() + 10, place.bottom() - 4, place.width() - 20, 2)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(option.palette.color(QPalette.ColorRole.Mid))
    painter.drawRoundedRect(track, 1, 1)
    track.setWidth(track.width() * done)
    painter.setBrush(option.palette.color(QPalette.ColorRole.Link))
    painter.drawRoundedRect(track, 1, 1)


def _tr(text: str) -> str:
    return QCoreApplication.translate("ModelRows", text)
