"""One sheet of labelled pictures in columns and rows, drawn as they come. Imports no torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from PIL import Image, ImageDraw

from core.events import Pixels
from core.images.lettering import Font, wrapped

GOOD_SIDE = 256
"""Pixels up to which small pictures are enlarged, by whole factors."""

LONGEST_SIDE = 14_000
LARGEST = 60_000_000
"""Pixels of all cells together, beyond which they are drawn smaller. Many programs stop at sides of
16384, and this one's own reading at 89 million pixels."""

PAPER, INK, GREY, EMPTY, LINE = "#ffffff", "#1b1f24", "#68707c", "#f0f1f4", "#d5d8de"

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class Heading:
    """What stands along one side of the sheet.

    Attributes:
        name: Of what varies.
        labels: One a column, or one a row.
    """

    name: str
    labels: Sequence[str]


class Sheet:
    """A picture of pictures; a cell that has none yet says so.

    A picture smaller than its column and row stands in the middle of them.
    """

    def __init__(
        self,
        sizes: Sequence[Sequence[Size]],
        *,
        columns: Heading | None,
        rows: Heading | None,
        title: str = "",
        subtitle: str = "",
    ) -> None:
        """Draw everything but the pictures.

        Args:
            sizes: Of the pictures, row by row; at least one.
            columns: What stands above them, or None.
            rows: What stands left of them, or None.
            title: Large, at the top; may be empty.
            subtitle: Small, below it; may be empty.
        """
        widths = [max(row[i][0] for row in sizes) for i in range(len(sizes[0]))]
        heights = [max(size[1] for size in row) for row in sizes]
        self.scale = _scale(widths, heights)
        self._sizes = [[self._scaled(size) for size in row] for row in sizes]
        self._widths = [max(row[i][0] for row in self._sizes) for i in range(len(widths))]
        self._heights = [max(size[1] for size in row) for row in self._sizes]
        self._letter = round(min(max(10 + statistics.median(self._widths) / 40, 13), 40))
        self._gap = max(6, self._letter // 2)
        self._draw_all(columns, rows, title, subtitle)

    def place(self, column: int, row: int, pixels: Pixels) -> None:
        """Put ``(H, W, 3) uint8`` pixels of the size announced into a cell."""
        width, height = self._sizes[row][column]
        picture = Image.fromarray(pixels)
        if picture.size != (width, height):
            smooth = Image.Resampling.LANCZOS if self.scale < 1 else Image.Resampling.BICUBIC
            picture = picture.resize((width, height), smooth)
        box = self.box(column, row)
        self._draw.rectangle(_inside(self._slot(column, row)), fill=PAPER)
        self._image.paste(picture, box[:2])

    def pixels(self) -> Pixels:
        """Give the sheet as it stands, ``(H, W, 3) uint8``."""
        return np.array(self._image)

    def box(self, column: int, row: int) -> tuple[int, int, int, int]:
        """Give where a cell's picture lies: left, top, right and bottom, the last two outside."""
        width, height = self._sizes[row][column]
        left, top, right, bottom = self._slot(column, row)
        left += (right - left - width) // 2
        top += (bottom - top - height) // 2
        return left, top, left + width, top + height

    def _slot(self, column: int, row: int) -> tuple[int, int, int, int]:
        left, top = self._lefts[column], self._tops[row]
        return left, top, left + self._widths[column], top + self._heights[row]

    def _scaled(self, size: Size) -> Size:
        return max(1, round(size[0] * self.scale)), max(1, round(size[1] * self.scale))

    def _draw_all(
        self, columns: Heading | None, rows: Heading | None, title: str, subtitle: str
    ) -> None:
        """Measure from top to bottom, take the paper, and draw."""
        letter, gap, margin = self._letter, self._gap, 2 * self._letter
        side = 0 if rows is None else self._side_width(rows)
        left = margin + (side + 2 * gap if rows is not None else 0)
        self._lefts = list(accumulate((w + gap for w in self._widths), initial=left))
        right = self._lefts[-1] - gap
        width = max(right, margin + 24 * letter if title else 0) + margin

        texts = _Texts()
        top = texts.add(margin, margin, title, letter * 5 // 4, width - 2 * margin, most=4)
        top = texts.add(margin, top, subtitle, letter, width - 2 * margin, most=4, ink=GREY)
        top += letter if top > margin else 0
        name_top = top
        if columns is not None:
            top = texts.add(left, top, columns.name, letter, right - left, ink=GREY)
            name_top = top
            top = max(
                texts.add(x, name_top, label, letter, w, most=6, centred=True)
                for x, w, label in zip(self._lefts, self._widths, columns.labels, strict=False)
            )
        if rows is not None:
            top = max(top, texts.add(margin, name_top, rows.name, letter, side, ink=GREY))
        top += gap if top > margin else 0
        self._tops = list(accumulate((h + gap for h in self._heights), initial=top))
        if rows is not None:
            for y, height, label in zip(self._tops, self._heights, rows.labels, strict=False):
                texts.add_beside(margin, y, label, letter, side, height)

        self._image = Image.new("RGB", (width, self._tops[-1] - gap + margin), PAPER)
        self._draw = ImageDraw.Draw(self._image)
        texts.draw(self._draw)
        for row in range(len(self._heights)):
            for column in range(len(self._widths)):
                self._draw_empty(self.box(column, row))

    def _side_width(self, rows: Heading) -> int:
        """Give the width of the row labels: of the widest, but not more than a few words."""
        widest = 0
        for text in (rows.name, *rows.labels):
            font, lines = wrapped(text, self._letter, 15 * self._letter, 1000)
            widest = max(widest, *(math.ceil(font.getlength(line)) for line in lines), 0)
        return widest + 1

    def _draw_empty(self, box: tuple[int, int, int, int]) -> None:
        self._draw.rectangle(_inside(box), fill=EMPTY, outline=LINE)
        left, top, right, bottom = box
        texts = _Texts()
        size = min(self._letter, max(8, (right - left) // 6))
        end = texts.add(left, 0, "not made", size, right - left, ink=GREY, centred=True)
        texts.draw(self._draw, down=(top + bottom - end) // 2)


class _Texts:
    """Lines of text with their places, kept until there is something to draw them on."""

    def __init__(self) -> None:
        self._lines: list[tuple[float, int, str, Font, str]] = []

    def add(
        self,
        left: int,
        top: int,
        text: str,
        size: int,
        width: int,
        *,
        most: int = 1,
        ink: str = INK,
        centred: bool = False,
    ) -> int:
        """Wrap a text into a width below ``top``, and give where it ends."""
        font, lines = wrapped(text, size, width, most)
        for line in lines:
            over = (width - font.getlength(line)) / 2 if centred else 0
            self._lines.append((left + max(0, over), top, line, font, ink))
            top += _line_height(size)
        return top

    def add_beside(
        self, left: int, top: int, text: str, size: int, width: int, height: int
    ) -> None:
        """Wrap a text and set it midway into a height; what has no room is cut."""
        most = max(1, height // _line_height(size))
        _, lines = wrapped(text, size, width, most)
        over = (height - len(lines) * _line_height(size)) // 2
        self.add(left, top + over, text, size, width, most=most)

    def draw(self, on: ImageDraw.ImageDraw, *, down: int = 0) -> None:
        """Draw them all, so far down."""
        for left, top, line, font, ink in self._lines:
            # Anchored at the line's ascent, so that letters of all fonts share one.
            on.text((round(left), top + down), line, fill=ink, font=font, anchor="la")


def _line_height(size: int) -> int:
    return math.ceil(size * 1.4)


def _inside(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Give a box as ``ImageDraw`` wants it, with its last pixels."""
    return box[0], box[1], box[2] - 1, box[3] - 1


def _scale(widths: Sequence[int], heights: Sequence[int]) -> float:
    """Give what the pictures are drawn at: 1, a whole factor if small, less if too much."""
    width, height = sum(widths), sum(heights)
    room = min(LONGEST_SIDE / width, LONGEST_SIDE / height, math.sqrt(LARGEST / (width * height)))
    if room < 1:
        return room
    return max(1, min(GOOD_SIDE // max(*widths, *heights), math.floor(room)))
