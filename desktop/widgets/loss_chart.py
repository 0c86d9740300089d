"""The loss over the steps, as it was and smoothed."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt
from PySide6.QtGui import (
    QColor,
    QFont,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
    QPolygonF,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from desktop.loss_curve import Band, LossCurve, ticks

_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 34, 16, 26
_GAP = 70
"""Pixels between two marks of an axis, about."""


class LossChart(QWidget):
    """Draws a curve and tells the value under the pointer; the arrow keys move along it."""

    def __init__(self) -> None:
        """Start without a curve."""
        super().__init__()
        self._curve = LossCurve()
        self._total = 1
        self._marked: float | None = None
        self._range = (0.0, 1.0)
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName(self.tr("Loss"))

    def sizeHint(self) -> QSize:
        """Want some room."""
        return QSize(420, 240)

    def minimumSizeHint(self) -> QSize:
        """Make do with little."""
        return QSize(220, 150)

    def show_curve(self, curve: LossCurve, total: int) -> None:
        """Draw a curve as it stands now.

        Args:
            curve: The losses.
            total: Steps of the whole training.
        """
        self._curve, self._total = curve, max(total, 1)
        low, high = curve.spread()
        room = 0.06 * (high - low) or 0.1 * abs(high) or 0.1
        self._range = (min(low, max(low - room, 0.0)), high + room)
        self.setAccessibleDescription(self.marked_text(self._total))
        self.update()

    def marked_text(self, step: float) -> str:
        """Say what the curve is near a step; empty without a curve."""
        found = self._curve.at(step)
        if found is None:
            return ""
        text = self.tr("Step {0}:  loss {1:.4f},  smoothed {2:.4f}")
        return text.format(found[0], found[1], found[2])

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Paint the axes, the curve and what the pointer is over."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        plot = self._plot()
        if len(self._curve):
            self._paint_heading(painter)
            self._paint_axes(painter, plot)
            self._paint_curve(painter, plot)
        else:
            painter.setPen(self._colour(QPalette.ColorRole.PlaceholderText))
            text = self.tr("The curve begins with the first step.")
            painter.drawText(plot, Qt.AlignmentFlag.AlignCenter, text)
        if self.hasFocus():
            painter.setPen(QPen(self._colour(QPalette.ColorRole.Link), 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(1.5, 1.5, -1.5, -1.5), 6, 6)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Mark the step under the pointer."""
        plot = self._plot()
        share = (event.position().x() - plot.left()) / plot.width()
        self._mark(share * self._total if 0 <= share <= 1 else None)

    def leaveEvent(self, _event: QEvent) -> None:
        """Mark nothing."""
        self._mark(None)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Move the mark along the curve."""
        way = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        if way is None or not len(self._curve):
            super().keyPressEvent(event)
            return
        now = self._total if self._marked is None else self._marked
        stride = max(self._total / 50, 1)
        self._mark(min(max(now + way * stride, 0), self._total))
        self.setAccessibleDescription(self.marked_text(self._marked or 0))

    def _mark(self, step: float | None) -> None:
        if step != self._marked:
            self._marked = step
            self.update()

    def _plot(self) -> QRectF:
        return QRectF(self.rect()).adjusted(_LEFT, _TOP, -_RIGHT, -_BOTTOM)

    def _paint_heading(self, painter: QPainter) -> None:
        """Name the chart, or say what is under the pointer, and tell the lines apart."""
        painter.setPen(self._colour(QPalette.ColorRole.Text))
        font = QFont(self.font())
        place = QRectF(_LEFT, 8, self.width() - _LEFT - _RIGHT, 20)
        text = "" if self._marked is None else self.marked_text(self._marked)
        if not text:
            font.setBold(True)
            text = self.tr("Loss")
        painter.setFont(font)
        painter.drawText(place, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, text)
        painter.setFont(self.font())
        right = place.right()
        for name, colour in (
            (self.tr("smoothed"), self._colour(QPalette.ColorRole.Link)),
            (self.tr("each step"), self._faint()),
        ):
            width = painter.fontMetrics().horizontalAdvance(name)
            if right - width < place.left() + painter.fontMetrics().horizontalAdvance(text) + 60:
                return
            painter.setPen(self._colour(QPalette.ColorRole.PlaceholderText))
            spot = QRectF(right - width, place.top(), width, place.height())
            painter.drawText(spot, Qt.AlignmentFlag.AlignVCenter, name)
            painter.setPen(QPen(colour, 3))
            y = place.center().y() + 1
            painter.drawLine(QPointF(spot.left() - 22, y), QPointF(spot.left() - 8, y))
            right = spot.left() - 40

    def _paint_axes(self, painter: QPainter, plot: QRectF) -> None:
        low, high = self._range
        quiet = self._colour(QPalette.ColorRole.PlaceholderText)
        line = QPen(self._colour(QPalette.ColorRole.Mid), 1)
        for value in ticks(low, high, max(int(plot.height() // 44), 2)):
            y = round(plot.bottom() - (value - low) / (high - low) * plot.height()) + 0.5
            painter.setPen(line)
            painter.drawLine(QPointF(plot.left(), y), QPointF(plot.right(), y))
            painter.setPen(quiet)
            spot = QRectF(0, y - 10, _LEFT - 8, 20)
            way = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            painter.drawText(spot, way, f"{value + 0.0:g}")
        for value in ticks(0, self._total, max(int(plot.width() // _GAP), 2)):
            if value != int(value):
                continue
            x = plot.left() + value / self._total * plot.width()
            painter.setPen(quiet)
            name = self.tr("step {0}").format(0) if not value else f"{value:.0f}"
            spot = QRectF(x - 40, plot.bottom() + 5, 80, 18)
            if spot.right() > self.width():
                spot.moveRight(self.width() - 2)
                painter.drawText(spot, Qt.AlignmentFlag.AlignRight, name)
            else:
                painter.drawText(spot, Qt.AlignmentFlag.AlignHCenter, name)

    def _paint_curve(self, painter: QPainter, plot: QRectF) -> None:
        band = self._curve.band(max(int(plot.width()), 2))
        painter.save()
        painter.setClipRect(plot.adjusted(-1, -1, 1, 1))
        faint = self._faint()
        high = self._points(band, plot, "high")
        if band.low is band.high:
            painter.setPen(QPen(faint, 1.2))
            painter.drawPolyline(QPolygonF(high))
        else:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(faint)
            low = self._points(band, plot, "low")
            painter.drawPolygon(QPolygonF([*high, *reversed(low)]))
        pen = QPen(self._colour(QPalette.ColorRole.Link), 2)
        pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
        painter.setPen(pen)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPolyline(QPolygonF(self._points(band, plot, "smooth")))
        painter.restore()
        self._paint_mark(painter, plot)

    def _paint_mark(self, painter: QPainter, plot: QRectF) -> None:
        found = None if self._marked is None else self._curve.at(self._marked)
        if found is None:
            return
        step, _, smooth = found
        low, high = self._range
        x = plot.left() + step / self._total * plot.width()
        y = plot.bottom() - (min(max(smooth, low), high) - low) / (high - low) * plot.height()
        painter.setPen(QPen(self._colour(QPalette.ColorRole.PlaceholderText), 1))
        painter.drawLine(QPointF(x, plot.top()), QPointF(x, plot.bottom()))
        painter.setPen(QPen(self._colour(QPalette.ColorRole.Window), 2))
        painter.setBrush(self._colour(QPalette.ColorRole.Link))
        painter.drawEllipse(QPointF(x, y), 5, 5)

    def _points(self, band: Band, plot: QRectF, name: str) -> list[QPointF]:
        low, high = self._range
        xs = plot.left() + band.steps / self._total * plot.width()
        ys = plot.bottom() - (getattr(band, name) - low) / (high - low) * plot.height()
        return [QPointF(x, y) for x, y in zip(xs, ys, strict=True) if np.isfinite(y)]

    def _colour(self, role: QPalette.ColorRole) -> QColor:
        return self.palette().color(role)

    def _faint(self) -> QColor:
        colour = self._colour(QPalette.ColorRole.Link)
        colour.setAlphaF(0.35)
        return colour
