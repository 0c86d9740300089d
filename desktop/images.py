"""Pictures between numpy, files and Qt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QSize, Qt
from PySide6.QtGui import QImage, QImageReader, QImageWriter

from core.errors import SaveFailed
from core.events import Pixels
from core.images.reading import read_picture

SHOWN_SIDE = 512
"""Pictures smaller than this are enlarged once, smoothly, before they are shown."""


def image_of(pixels: Pixels) -> QImage:
    """Give pixels as a picture of Qt that shares no memory with them.

    Args:
        pixels: ``(H, W, 3) uint8``.
    """
    pixels = np.ascontiguousarray(pixels)
    height, width, _ = pixels.shape
    stride = pixels.strides[0]
    return QImage(pixels.data, width, height, stride, QImage.Format.Format_RGB888).copy()


def enlarged(pixels: Pixels, side: int = SHOWN_SIDE) -> Pixels:
    """Enlarge a small picture, such as a preview, to ``side`` pixels on its longer side.

    Cubic, because the linear filter that Qt paints with draws diamonds at such factors.

    Args:
        pixels: ``(H, W, 3) uint8``.
        side: What suffices.

    Returns:
        ``(H', W', 3) uint8``; ``pixels`` itself if it is large enough.
    """
    height, width, _ = pixels.shape
    factor = side / max(height, width)
    if factor <= 1:
        return pixels
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def shown(pixels: Pixels, side: int = SHOWN_SIDE) -> QImage:
    """Give pixels as a picture to paint at any size, if ``side`` pixels suffice."""
    return image_of(enlarged(pixels, side))


def shown_file(path: Path) -> QImage:
    """Read a picture file to paint at any size; a null picture if it cannot be read."""
    image = read(path)
    if image.isNull() or max(image.width(), image.height()) >= SHOWN_SIDE:
        return image
    return shown(pixels_of(image))


def read(path: Path) -> QImage:
    """Read a picture file upright; a null picture if it cannot be read."""
    reader = QImageReader(str(path))
    reader.setAutoTransform(True)
    reader.setDecideFormatFromContent(True)
    return reader.read()


def read_thumbnail(path: Path, side: int) -> QImage:
    """Read a picture file, no larger than ``side`` pixels on its longer side; null if it fails."""
    reader = QImageReader(str(path))
    reader.setAutoTransform(True)
    reader.setDecideFormatFromContent(True)
    size = reader.size()
    if size.isValid() and max(size.width(), size.height()) > side:
        reader.setScaledSize(size.scaled(QSize(side, side), Qt.AspectRatioMode.KeepAspectRatio))
    return reader.read()


def read_start_thumbnail(path: Path, side: int) -> QImage:
    """Read any picture that a run can start from, ``side`` pixels at most on its longer side.

    Qt reads fewer kinds and sizes than a run does.

    Raises:
        InvalidRequest: Of ``init_image``, if no run can start from it.
    """
    picture = read_picture(path, field="init_image")
    picture.thumbnail((side, side))
    return image_of(np.asarray(picture))


def encoded(image: QImage, format_name: str) -> bytes:
    """Give the bytes of a picture file.

    Args:
        image: What to write.
        format_name: The usual ending of such files, without the point.

    Raises:
        SaveFailed: If there is no such format, or nothing to write.
    """
    data = QByteArray()
    buffer = QBuffer(data)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    writer = QImageWriter(buffer, QByteArray(format_name.encode()))
    writer.setQuality(95)
    if not writer.write(image):
        raise SaveFailed(f"The picture cannot be written as {format_name!r}; choose PNG or JPEG.")
    return bytes(data.data())


def pixels_of(image: QImage) -> Pixels:
    """Give a picture of Qt as ``(H, W, 3) uint8``, opaque."""
    rgb = image.convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(rgb.constBits(), np.uint8).reshape(rgb.height(), rgb.bytesPerLine())
    return rows[:, : rgb.width() * 3].reshape(rgb.height(), rgb.width(), 3).copy()
