"""What arrives by drop or paste."""

from __future__ import annotations

import hashlib
from pathlib import Path

from PySide6.QtCore import QMimeData
from PySide6.QtGui import QImage

from core.files import replace_file
from desktop.images import encoded

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif"))


def dropped_paths(mime: QMimeData) -> tuple[Path, ...]:
    """Give the files and folders of this machine that were dropped."""
    return tuple(Path(url.toLocalFile()) for url in mime.urls() if url.isLocalFile())


def has_picture(mime: QMimeData) -> bool:
    """Whether ``kept_picture`` would find a picture."""
    return picture_path(mime) is not None or mime.hasImage()


def picture_path(mime: QMimeData) -> Path | None:
    """Give the first picture file named, if there is one."""
    for url in mime.urls():
        path = Path(url.toLocalFile())
        if url.isLocalFile() and path.suffix.lower() in SUFFIXES and path.is_file():
            return path
    return None


def kept_picture(mime: QMimeData, folder: Path) -> Path | None:
    """Give the file of the picture that was dropped or pasted.

    A picture without a file, such as one copied from a web page, is first kept in ``folder`` under
    a name made from its content.

    Returns:
        Its path, or None if there is no picture.

    Raises:
        SaveFailed: If it cannot be kept.
    """
    if path := picture_path(mime):
        return path
    image = mime.imageData() if mime.hasImage() else None
    if not isinstance(image, QImage) or image.isNull():
        return None
    data = encoded(image, "png")
    path = folder / f"pasted-{hashlib.sha256(data).hexdigest()[:16]}.png"
    if not path.exists():
        replace_file(path, data)
    return path
