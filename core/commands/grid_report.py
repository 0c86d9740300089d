"""What the run of a grid says: the events of any run, and which of its cells they are about."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from core.commands.report import as_json, count_from, print_event, print_line
from core.events import Event, Finished, Saved, Step
from core.grid import Batch, Grid, work_of
from core.grid_sheet import GridSheet


class GridJsonReport:
    """One JSON object a line on stdout, at once, and nothing else."""

    def __init__(self, grid: Grid) -> None:
        """Count the cells."""
        self._cells = len(grid.cells)
        self._saved = 0

    def show(self, batch: Batch | None, event: Event) -> None:
        """Print the event; steps and pictures tell their cells' places."""
        values = as_json(event)
        if not values:
            return
        match event:
            case Step() if batch is not None:
                values["cells"] = [_place(batch, picture) for picture in event.pictures]
                values["done"] = self._saved
                values["total_pictures"] = self._cells
            case Saved() if batch is not None:
                self._saved += 1
                values |= _place(batch, event.image.picture)
                values["done"] = self._saved
                values["total_pictures"] = self._cells
        print(json.dumps(values), flush=True)

    def sheet(self, path: Path, sheet: GridSheet) -> None:
        """Print where the sheet lies."""
        values = {
            "event": "saved",
            "path": str(path),
            "pictures": sheet.made,
            "total_pictures": self._cells,
            "scale": round(sheet.scale, 4),
        }
        print(json.dumps(values), flush=True)

    def close(self) -> None:
        """Leave it at that."""


def _place(batch: Batch, picture: int) -> dict[str, Any]:
    cell = batch.cells[picture]
    return {"column": cell.column, "row": cell.row}


class GridProgressReport:
    """One progress bar for the whole grid on stderr; on stdout each path, the sheet's last.

    The bar counts work, not steps, so that the time left holds for cells of unequal size too.
    """

    def __init__(self, grid: Grid) -> None:
        """Add up the work."""
        self._cells = len(grid.cells)
        self._total = sum(work_of(cell.request) for cell in grid.cells)
        self._done = 0.0
        self._saved = 0
        self._bar: tqdm[None] | None = None

    def show(self, batch: Batch | None, event: Event) -> None:
        """Move the bar, or print a line."""
        match event:
            case Step():
                assert batch is not None, "only a batch has steps"
                self._step(batch, event)
                return
            case Saved():
                self._saved += 1
            case Finished():
                self.close()
        print_event(event)

    def sheet(self, path: Path, sheet: GridSheet) -> None:
        """Print where the sheet lies."""
        if sheet.scale < 1:
            print_line(f"The sheet shows the pictures at {sheet.scale:.0%} of their size.")
        print_line("The sheet:")
        print(path, flush=True)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()

    def _step(self, batch: Batch, step: Step) -> None:
        work = len(step.pictures) * work_of(batch.request)
        if self._bar is None:
            self._bar = tqdm(
                total=self._total,
                file=sys.stderr,
                bar_format="{desc} {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]",
            )
            count_from(self._bar, step.seconds)
        first, last = self._saved + 1, self._saved + len(step.pictures)
        cells = f"cell {first}" if first == last else f"cells {first} to {last}"
        self._bar.set_description_str(
            f"{cells} of {self._cells}, step {step.index}/{step.total}", refresh=False
        )
        self._bar.update(self._done + work * step.index / step.total - self._bar.n)
        if step.index == step.total:
            self._done += work
