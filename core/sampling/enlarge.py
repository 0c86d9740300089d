"""Pictures made larger by a network, tile by tile: memory is bounded, and no seam is left.

A tile is computed with a margin, of which the outer part is thrown away, as a network sees what
lies around it differently at an edge. Over the rest of the margin two neighbours fade into each
other: the deepest networks reach farther than any margin, and what they differ by must not show.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.events import Pixels

CORE = 192
"""Side of a tile without its margins, in pixels of the picture. This and the margin are multiples
of the windows of attention (8 to 32), which must lie in a tile as they lie in the whole."""

MARGIN = 32
"""Pixels around it that are computed too."""

FADE = 8
"""Pixels to either side of a border between two tiles over which they fade."""

LARGEST = 2**27
"""Pixels of the result that are held at most; as bytes they take 0.4 GB."""


class Network(Protocol):
    """What makes a picture larger all at once."""

    factor: int

    def __call__(self, picture: Tensor) -> Tensor:
        """Make ``(1, 3, H, W)``, 0 to 1, ``factor`` times as large."""


@dataclass(frozen=True, slots=True)
class _Span:
    """What a tile is of one axis, in pixels of the picture.

    Attributes:
        seen: What is computed.
        kept: What of it counts, the parts that fade included.
        settled: Where the next tile begins to fade in.
        fades_in: Whether there is one before it.
        fades_out: Whether there is one behind it.
    """

    seen: slice
    kept: slice
    settled: int
    fades_in: bool
    fades_out: bool

    def weights(self, factor: int) -> npt.NDArray[np.float32]:
        """Give what each pixel of ``kept`` counts in the result: with its neighbours' 1."""
        weights = np.ones((self.kept.stop - self.kept.start) * factor, dtype=np.float32)
        ramp = (np.arange(2 * FADE * factor, dtype=np.float32) + 0.5) / (2 * FADE * factor)
        if self.fades_in:
            weights[: len(ramp)] = ramp
        if self.fades_out:
            weights[-len(ramp) :] = 1 - ramp
        return weights


class Enlargement:
    """A picture on its way to be larger: iterate over it to compute a tile each.

    Attributes:
        tiles: How many there are.
        result: ``(H * factor, W * factor, 3) uint8``, whole once all tiles are computed.
    """

    def __init__(self, network: Network, pixels: Pixels) -> None:
        """Compute nothing yet.

        Args:
            network: What makes it larger.
            pixels: ``(H, W, 3) uint8``.
        """
        height, width = pixels.shape[:2]
        self._network = network
        self._pixels = pixels
        self._rows, self._columns = _spans(height), _spans(width)
        self.tiles = len(self._rows) * len(self._columns)
        self.result: Pixels = np.empty(
            (height * network.factor, width * network.factor, 3), dtype=np.uint8
        )

    def __iter__(self) -> Iterator[int]:
        """Compute tile after tile, and give how many are done."""
        factor = self._network.factor
        before = np.zeros((0, self.result.shape[1], 3), dtype=np.float32)
        done = 0
        for row in self._rows:
            height = (row.kept.stop - row.kept.start) * factor
            strip = np.zeros((height, self.result.shape[1], 3), dtype=np.float32)
            for column in self._columns:
                weights = column.weights(factor)[None, :, None]
                strip[:, _times(column.kept, factor)] += weights * self._tile(row, column)
                done += 1
                yield done
            strip *= row.weights(factor)[:, None, None]
            strip[: len(before)] += before
            first, count = row.kept.start * factor, (row.settled - row.kept.start) * factor
            self.result[first : first + count] = (strip[:count] * 255).round().clip(0, 255)
            before = strip[count:]

    def _tile(self, row: _Span, column: _Span) -> npt.NDArray[np.float32]:
        """Compute what a tile keeps: ``(h, w, 3)``, 0 to 1."""
        seen = np.ascontiguousarray(self._pixels[row.seen, column.seen]).astype(np.float32) / 255
        larger = self._network(torch.from_numpy(seen).permute(2, 0, 1)[None])[0]  # (3, h, w)
        factor = self._network.factor
        kept = larger[
            :,
            _times(_within(row.kept, row.seen), factor),
            _times(_within(column.kept, column.seen), factor),
        ]
        tile: npt.NDArray[np.float32] = kept.permute(1, 2, 0).numpy()
        return tile


def tile_count(width: int, height: int) -> int:
    """Count the tiles of a picture of so many pixels."""
    return len(_spans(width)) * len(_spans(height))


def _spans(limit: int) -> list[_Span]:
    """Part an axis into tiles; what is hardly more than one is one."""
    if limit <= CORE + 2 * MARGIN:
        whole = slice(0, limit)
        return [_Span(whole, whole, limit, fades_in=False, fades_out=False)]
    borders = [*range(0, limit, CORE), limit]
    if borders[-1] - borders[-2] < MARGIN:
        del borders[-2]
    spans = []
    for first, last in itertools.pairwise(borders):
        fades_in, fades_out = first > 0, last < limit
        spans.append(
            _Span(
                seen=slice(max(first - MARGIN, 0), min(last + MARGIN, limit)),
                kept=slice(first - FADE * fades_in, last + FADE * fades_out),
                settled=last - FADE * fades_out,
                fades_in=fades_in,
                fades_out=fades_out,
            )
        )
    return spans


def _within(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)


def _times(part: slice, factor: int) -> slice:
    return slice(part.start * factor, part.stop * factor)
