"""The sheet of a grid as a file: drawn as its cells are made, and telling what it shows.

Beside the picture it carries two texts: ``Description``, for people and any program that shows a
PNG's texts, and ``stepwise-grid``, JSON with both axes and the file of each cell. Imports no torch.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL import Image

from core.about import APP_NAME, version
from core.errors import InvalidRequest
from core.events import Pixels
from core.grid import Cell, Grid
from core.grid_axes import Axis
from core.images import png_text, xmp
from core.images.canvas import result_size
from core.images.formats import PictureFormat
from core.images.grids import Heading, Sheet
from core.images.reading import check_is_file, unreadable
from core.images.writing import create_numbered, encode_png

KEYWORD = "stepwise-grid"
VERSION = 1


class GridSheet:
    """Gathers a grid's cells on one sheet."""

    def __init__(self, grid: Grid) -> None:
        """Draw an empty one."""
        self._grid = grid
        self._files: dict[tuple[int, int], str] = {}
        sizes = {(cell.column, cell.row): result_size(cell.request) for cell in grid.cells}
        self._sheet = Sheet(
            [[sizes[column, row] for column in range(grid.columns)] for row in range(grid.rows)],
            columns=_heading(grid.x),
            rows=_heading(grid.y),
            title=grid.same_prompt(),
            subtitle="  \N{MIDDLE DOT}  ".join(
                f"{name} {words}" for name, words in grid.same_settings().items()
            ),
        )

    @property
    def made(self) -> int:
        """How many cells have their picture."""
        return len(self._files)

    @property
    def scale(self) -> float:
        """What the pictures are drawn at, 1 for their own size."""
        return self._sheet.scale

    def place(self, cell: Cell, path: Path, pixels: Pixels) -> None:
        """Put a picture into its cell.

        Args:
            cell: One of the grid's.
            path: Where the picture itself was saved.
            pixels: ``(H, W, 3) uint8``.
        """
        self._sheet.place(cell.column, cell.row, pixels)
        self._files[cell.column, cell.row] = path.name

    def save(self, folder: Path) -> Path:
        """Write the sheet as it stands, under a name of its own.

        Returns:
            ``folder/date-grid-axes.png``, numbered where that name is taken.

        Raises:
            SaveFailed: Naming the folder and the reason.
        """
        names = "-".join(axis.parameter.name for axis in self._grid.axes)
        stem = f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-grid-{names}"
        data = encode_png(Image.fromarray(self._sheet.pixels()), self._texts())
        return create_numbered(folder / stem, data, PictureFormat.PNG)

    def _texts(self) -> dict[str, str]:
        grid = self._grid
        record = {
            "version": VERSION,
            "app": f"{APP_NAME} {version()}",
            "x": _axis_record(grid.x),
            "y": _axis_record(grid.y),
            "prompt": grid.same_prompt(),
            "settings": grid.same_settings(),
            "cells": [
                [self._files.get((column, row)) for column in range(grid.columns)]
                for row in range(grid.rows)
            ],
        }
        return {
            "Description": "\n".join(f"{k}: {v}" for k, v in lines_of(record)),
            KEYWORD: json.dumps(record),
            xmp.KEYWORD: xmp.write_packet("compositeWithTrainedAlgorithmicMedia"),
        }


def read_sheet(path: Path) -> dict[str, Any] | None:
    """Read what a sheet of ours says it shows; None if the picture is no such sheet.

    Raises:
        InvalidRequest: Of ``image``, if the file cannot be read.
    """
    check_is_file(path, field="image")
    try:
        record = json.loads(png_text.read_texts(path)[KEYWORD])
        return record if lines_of(record) and record["version"] == VERSION else None
    except OSError as error:
        raise unreadable(path, "image", error) from error
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, InvalidRequest):
        return None


def lines_of(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Give name and words of what a person would ask of a sheet's record.

    Raises:
        KeyError: A part is missing.
        TypeError: A part is of another kind.
        AttributeError: Likewise.
    """
    lines = [
        (name, f"{record[side]['name']} = {' | '.join(record[side]['values'])}")
        for name, side in (("Columns", "x"), ("Rows", "y"))
        if record[side] is not None
    ]
    files = [file for row in record["cells"] for file in row]
    if record["prompt"]:
        lines.append(("Prompt", record["prompt"]))
    lines += [(name[:1].upper() + name[1:], words) for name, words in record["settings"].items()]
    return [*lines, ("Pictures", f"{sum(f is not None for f in files)} of {len(files)}")]


def _axis_record(axis: Axis | None) -> dict[str, Any] | None:
    if axis is None:
        return None
    return {"name": axis.parameter.name, "values": list(axis.words)}


def _heading(axis: Axis | None) -> Heading | None:
    return None if axis is None else Heading(axis.parameter.title, axis.labels)
