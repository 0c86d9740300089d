"""Where pictures are looked at, finished or on their way."""

from __future__ import annotations

import math
from pathlib import Path

from PySide6.QtCore import (
    QEvent,
    QMimeData,
    QPoint,
    QPointF,
    QRectF,
    QSize,
    Qt,
    QUrl,
    Signal,
)
from PySide6.QtGui import (
    QColor,
    QContextMenuEvent,
    QDrag,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPalette,
    QPen,
)
from PySide6.QtWidgets import QApplication, QWidget

from desktop.live import Tile

MARGIN = 24
GAP = 12


class Canvas(QWidget):
    """Shows pictures as large as they fit: one alone, several in a grid.

    Signals:
        activated(Path): A finished picture of the grid was clicked.
        menu_requested(Path, QPoint): Its menu is wanted at that place on the screen.
        delete_requested(Path): The delete key was pressed over the one finished picture shown.
    """

    activated = Signal(object)
    menu_requested = Signal(object, QPoint)
    delete_requested = Signal(object)

    def __init__(self) -> None:
        """Start with nothing to show."""
        super().__init__()
        self.setMouseTracking(True)
        self.setMinimumSize(240, 200)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.setAccessibleName(self.tr("Canvas"))
        self._tiles: tuple[Tile, ...] = ()
        self._shape = QSize(1, 1)
        self._hovered = -1
        self._pressed: QPoint | None = None
        self._drop_hint = False

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The pictures shown."""
        return self._tiles

    def show_tiles(self, tiles: tuple[Tile, ...], shape: QSize) -> None:
        """Show pictures.

        Args:
            tiles: What to show.
            shape: Size of one of them, for its shape.
        """
        self._tiles, self._shape = tiles, shape
        self._hovered = -1 if self._hovered >= len(tiles) else self._hovered
        self.update()

    def set_drop_hint(self, *, shown: bool) -> None:
        """Say that a picture may be dropped here."""
        self._drop_hint = shown
        self.update()

    def rects(self) -> list[QRectF]:
        """Give the place of every picture."""
        cells = grid(len(self._tiles), self._shape, self.size())
        return [
            fitted(tile.image.size() if tile.image else self._shape, cell)
            for tile, cell in zip(self._tiles, cells, strict=True)
        ]

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Paint pictures, the one under the pointer framed, and the hint to drop."""
        painter = QPainter(self)
        painter.setRenderHints(
            QPainter.RenderHint.SmoothPixmapTransform | QPainter.RenderHint.Antialiasing
        )
        palette = self.palette()
        painter.fillRect(self.rect(), palette.color(QPalette.ColorRole.Dark))
        for index, (tile, rect) in enumerate(zip(self._tiles, self.rects(), strict=True)):
            if tile.image is None:
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(palette.color(QPalette.ColorRole.Window))
                painter.drawRect(rect)
            else:
                painter.drawImage(rect, tile.image)
            if index == self._hovered and tile.path and len(self._tiles) > 1:
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.setPen(QPen(palette.color(QPalette.ColorRole.Link), 2))
                painter.drawRect(rect.adjusted(-3, -3, 3, 3))
        if self._drop_hint:
            self._paint_drop_hint(painter)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Frame the picture under the pointer, or drag it out."""
        self._hover(event.position())
        far = QApplication.startDragDistance()
        if (
            self._pressed is not None
            and event.buttons() & Qt.MouseButton.LeftButton
            and (event.position().toPoint() - self._pressed).manhattanLength() >= far
            and (path := self._path_at(QPointF(self._pressed)))
        ):
            self._pressed = None
            self._drag_out(path)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Remember where a click or a drag began."""
        super().mousePressEvent(event)
        if event.button() is Qt.MouseButton.LeftButton:
            self._pressed = event.position().toPoint()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Open the picture of the grid that was clicked."""
        pressed, self._pressed = self._pressed, None
        path = self._path_at(event.position())
        if pressed is not None and path and len(self._tiles) > 1:
            self.activated.emit(path)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Delete by the delete key; the rest is for the page."""
        path = self._tiles[0].path if len(self._tiles) == 1 else None
        if event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace) and path:
            self.delete_requested.emit(path)
        else:
            super().keyPressEvent(event)

    def leaveEvent(self, _event: QEvent) -> None:
        """Frame nothing."""
        self._hovered = -1
        self.update()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Ask for the menu of the picture under the pointer."""
        if path := self._path_at(QPointF(event.pos())):
            self.menu_requested.emit(path, event.globalPos())

    def _hover(self, place: QPointF) -> None:
        rects = self.rects()
        hovered = next((i for i, rect in enumerate(rects) if rect.contains(place)), -1)
        if hovered != self._hovered:
            self._hovered = hovered
            self.update()

    def _path_at(self, place: QPointF) -> Path | None:
        for tile, rect in zip(self._tiles, self.rects(), strict=True):
            if rect.contains(place):
                return tile.path
        return None

    def _drag_out(self, path: Path) -> None:
        mime = QMimeData()
        mime.setUrls([QUrl.fromLocalFile(str(path))])
        drag = QDrag(self)
        drag.setMimeData(mime)
        drag.exec(Qt.DropAction.CopyAction)

    def _paint_drop_hint(self, painter: QPainter) -> None:
        palette = self.palette()
        veil = QColor(palette.color(QPalette.ColorRole.Dark))
        veil.setAlphaF(0.82)
        painter.fillRect(self.rect(), veil)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(palette.color(QPalette.ColorRole.Link), 2, Qt.PenStyle.DashLine))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(14, 14, -14, -14), 12, 12)
        painter.setPen(palette.color(QPalette.ColorRole.Text))
        font = self.font()
        font.setPointSizeF(font.pointSizeF() * 1.4)
        painter.setFont(font)
        painter.drawText(
            self.rect(), Qt.AlignmentFlag.AlignCenter, self.tr("Drop to start from this picture")
        )


def grid(count: int, shape: QSize, area: QSize) -> list[QRectF]:
    """Divide an area into the cells in which pictures of a shape come out largest.

    Args:
        count: How many cells.
        shape: Of a picture.
        area: Size to divide, in pixels.

    Returns:
        The cells, row by row.
    """
    if not count:
        return []
    inner = QRectF(0, 0, area.width(), area.height()).adjusted(MARGIN, MARGIN, -MARGIN, -MARGIN)

    def factor(columns: int) -> float:
        rows = math.ceil(count / columns)
        return min(
            (inner.width() - (columns - 1) * GAP) / columns / shape.width(),
            (inner.height() - (rows - 1) * GAP) / rows / shape.height(),
        )

    columns = max(range(1, count + 1), key=factor)
    rows = math.ceil(count / columns)
    width = max(factor(columns) * shape.width(), 1)
    height = max(factor(columns) * shape.height(), 1)
    left = inner.center().x() - (columns * width + (columns - 1) * GAP) / 2
    top = inner.center().y() - (rows * height + (rows - 1) * GAP) / 2
    return [
        QRectF(
            left + index % columns * (width + GAP),
            top + index // columns * (height + GAP),
            width,
            height,
        )
        for index in range(count)
    ]


def fitted(size: QSize, cell: QRectF) -> QRectF:
    """Give the largest place of that shape in the middle of a cell."""
    scaled = size.toSizeF().scaled(cell.size(), Qt.AspectRatioMode.KeepAspectRatio)
    place = QRectF(QPointF(), scaled)
    place.moveCenter(cell.center())
    return place
