"""Small pictures of picture files, read beside the window's thread."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from PySide6.QtCore import QObject, QThreadPool, Signal, Slot
from PySide6.QtGui import QImage, QPixmap

from desktop.images import read_thumbnail

KEPT = 600
SIDE = 192
"""Longer side of a thumbnail in device pixels: twice what the strip shows."""


class Thumbnails(QObject):
    """Reads thumbnails as they are asked for, those asked for last first.

    Signals:
        ready(Path): ``get`` has it now.
    """

    ready = Signal(object)
    _read = Signal(object, QImage)

    def __init__(self, parent: QObject | None = None) -> None:
        """Start with none."""
        super().__init__(parent)
        self._kept: OrderedDict[Path, QPixmap] = OrderedDict()
        self._asked: set[Path] = set()
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(1)
        self._turn = 0
        self._read.connect(self._keep)

    def get(self, path: Path) -> QPixmap | None:
        """Give the thumbnail, or None and start reading it. Null if it cannot be read."""
        if path in self._kept:
            self._kept.move_to_end(path)
            return self._kept[path]
        if path not in self._asked:
            self._asked.add(path)
            self._turn += 1
            self._pool.start(lambda: self._read.emit(path, read_thumbnail(path, SIDE)), self._turn)
        return None

    def close(self) -> None:
        """Read no more; waits for the one being read."""
        self._pool.clear()
        self._pool.waitForDone()

    @Slot(object, QImage)
    def _keep(self, path: Path, image: QImage) -> None:
        self._asked.discard(path)
        self._kept[path] = QPixmap.fromImage(image)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        self.ready.emit(path)
