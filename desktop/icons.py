"""The window's own icons: SVG outlines, tinted in the colours of the palette in use."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from PySide6.QtCore import QByteArray, QRectF, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPalette, QPixmap, QPixmapCache
from PySide6.QtSvg import QSvgRenderer

FOLDER = Path(__file__).parent / "icons"
APP_ICON = Path(__file__).parent / "packaging" / "icon.svg"
_SIZES = (18, 22, 36, 44)


def tinted_icon(name: str, palette: QPalette, *, lit: QColor | None = None) -> QIcon:
    """Draw an icon in a palette's text colours.

    Args:
        name: Of a file in the icon folder, without its ending.
        palette: Gives the colours of the enabled, hovered and disabled icon.
        lit: The colour while the button is checked; the text colour if left out.
    """
    text = palette.color(QPalette.ColorGroup.Active, QPalette.ColorRole.ButtonText)
    faint = palette.color(QPalette.ColorGroup.Disabled, QPalette.ColorRole.ButtonText)
    on = lit or text
    icon = QIcon()
    for size in _SIZES:
        icon.addPixmap(tinted_pixmap(name, text, size), QIcon.Mode.Normal, QIcon.State.Off)
        icon.addPixmap(tinted_pixmap(name, on, size), QIcon.Mode.Normal, QIcon.State.On)
        icon.addPixmap(tinted_pixmap(name, faint, size), QIcon.Mode.Disabled, QIcon.State.Off)
    return icon


def tinted_pixmap(name: str, colour: QColor, size: int, ratio: float = 1.0) -> QPixmap:
    """Draw an icon in one colour.

    Args:
        name: Of a file in the icon folder, without its ending.
        colour: Of its lines.
        size: Width and height in device-independent pixels.
        ratio: Device pixels for each of those.
    """
    key = f"stepwise/{name}/{colour.name(QColor.NameFormat.HexArgb)}/{size}/{ratio}"
    pixmap = QPixmap()
    if QPixmapCache.find(key, pixmap):
        return pixmap
    svg = _source(name).replace("currentColor", colour.name(QColor.NameFormat.HexRgb))
    pixmap = QPixmap(round(size * ratio), round(size * ratio))
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setOpacity(colour.alphaF())
    QSvgRenderer(QByteArray(svg.encode())).render(painter, QRectF(pixmap.rect()))
    painter.end()
    pixmap.setDevicePixelRatio(ratio)
    QPixmapCache.insert(key, pixmap)
    return pixmap


@lru_cache
def _source(name: str) -> str:
    return (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
