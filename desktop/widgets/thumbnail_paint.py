"""Paints a picture cut to a square with soft corners, as lists of pictures show them."""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QBrush, QPainter, QPalette, QPen, QPixmap, QTransform
from PySide6.QtWidgets import QStyle


def paint_thumbnail(
    painter: QPainter,
    place: QRectF,
    picture: object,
    palette: QPalette,
    state: QStyle.StateFlag,
) -> None:
    """Paint a thumbnail, or a plain ground while there is none, framed as its state asks.

    Args:
        painter: Of the view.
        place: Where.
        picture: A pixmap, or anything else for none.
        palette: The view's.
        state: Of the item: chosen, under the pointer.
    """
    painter.save()
    painter.setRenderHints(
        QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform
    )
    painter.setPen(Qt.PenStyle.NoPen)
    if isinstance(picture, QPixmap) and not picture.isNull():
        painter.setBrush(_covering(picture, place))
    else:
        painter.setBrush(palette.color(QPalette.ColorRole.Midlight))
    painter.drawRoundedRect(place, 6, 6)
    chosen = state & QStyle.StateFlag.State_Selected
    if chosen or state & QStyle.StateFlag.State_MouseOver:
        role = QPalette.ColorRole.Link if chosen else QPalette.ColorRole.PlaceholderText
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(palette.color(role), 2))
        painter.drawRoundedRect(place.adjusted(-2.5, -2.5, 2.5, 2.5), 8, 8)
    painter.restore()


def _covering(pixmap: QPixmap, place: QRectF) -> QBrush:
    """Give a brush that covers ``place`` with the middle of ``pixmap``."""
    factor = max(place.width() / pixmap.width(), place.height() / pixmap.height())
    brush = QBrush(pixmap)
    brush.setTransform(
        QTransform()
        .translate(
            place.center().x() - factor * pixmap.width() / 2,
            place.center().y() - factor * pixmap.height() / 2,
        )
        .scale(factor, factor)
    )
    return brush
