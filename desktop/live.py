"""The pictures of a run as they come into being."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QSize
from PySide6.QtGui import QImage

from core.events import Saved, Step
from core.request import Request
from desktop.images import SHOWN_SIDE, shown
from desktop.studio import WorkEvent

MOST_TILES = 16
"""How many pictures of one run are shown side by side: the newest."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture on the canvas.

    Attributes:
        image: What to paint; None before the first preview.
        path: Its file, once it is finished.
    """

    image: QImage | None = None
    path: Path | None = None


class LiveRun:
    """Gathers what a run has shown so far."""

    def __init__(self, request: Request) -> None:
        """Begin with nothing to see of ``request``."""
        self._total = request.total
        self._tiles: dict[int, Tile] = {}
        # Many small tiles together cost the window's thread no more than a large one.
        self._side = round(SHOWN_SIDE / math.sqrt(min(request.total, MOST_TILES)))
        self.size = QSize(request.width, request.height)

    def take(self, event: WorkEvent) -> bool:
        """Take in an event and say whether there is something new to see."""
        match event:
            case Step(previews=previews):
                for preview in previews:
                    self._tiles[preview.picture] = Tile(shown(preview.pixels, self._side))
                return bool(previews)
            case Saved(image=image, path=path):
                self._tiles[image.picture] = Tile(shown(image.pixels), path)
                return True
            case _:
                return False

    def forget(self, path: Path) -> None:
        """Show a finished picture no more, as its file is gone."""
        for index, tile in self._tiles.items():
            if tile.path == path:
                del self._tiles[index]
                return

    def tiles(self) -> tuple[Tile, ...]:
        """Give the pictures to show: all of a small run, the newest of a large one."""
        if self._total <= MOST_TILES:
            return tuple(self._tiles.get(index, Tile()) for index in range(self._total))
        newest = sorted(self._tiles)[-MOST_TILES:]
        return tuple(self._tiles[index] for index in newest) or (Tile(),)

    def finished(self) -> tuple[Tile, ...]:
        """Give those that are on disk."""
        return tuple(tile for tile in self.tiles() if tile.path)
