"""A grid: every pair of two settings' values as a request of its own. Imports no torch.

All cells start from the same noise unless the seed is what varies. Cells that differ in nothing but
prompts, guidance and seeds make one request, whose pictures can be denoised together. Each cell
records that request, so that it can be made again bit for bit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from core.errors import InvalidRequest
from core.grid_axes import Axis, Settings, check_count
from core.grid_words import in_common
from core.request import ImageToImage, Request

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cell:
    """One picture of the grid.

    Attributes:
        column: From 0, left to right.
        row: From 0, top to bottom.
        request: What makes it, alone.
    """

    column: int
    row: int
    request: Request


@dataclass(frozen=True, slots=True)
class Batch:
    """Cells that are one request.

    Attributes:
        request: What makes them.
        cells: Cell ``i`` is the request's picture ``i``.
    """

    request: Request
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """Two settings, or one, and a cell for every pair of their values.

    Attributes:
        x: What varies from left to right, or None.
        y: What varies from top to bottom, or None.
        cells: Row by row.
    """

    x: Axis | None
    y: Axis | None
    cells: tuple[Cell, ...]

    @property
    def columns(self) -> int:
        """How many there are."""
        return 1 if self.x is None else len(self.x)

    @property
    def rows(self) -> int:
        """How many there are."""
        return 1 if self.y is None else len(self.y)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Those that there are."""
        return tuple(axis for axis in (self.x, self.y) if axis is not None)

    def same_prompt(self) -> str:
        """Give the prompt of all cells, or an empty text if they differ in it."""
        prompts = {cell.request.prompt_of(0) for cell in self.cells}
        return prompts.pop() if len(prompts) == 1 else ""

    def same_settings(self) -> dict[str, str]:
        """Give name and words of the settings that all cells have in common, prompts excepted."""
        return in_common([cell.request for cell in self.cells])


def check_axes(x: Axis | None, y: Axis | None) -> None:
    """Refuse two axes that cannot go together.

    Raises:
        InvalidRequest: They vary the same, or make too many cells.
    """
    if x is None or y is None:
        return
    if x.parameter is y.parameter or set(x.parameter.fields) & set(y.parameter.fields):
        name = y.parameter.name
        raise InvalidRequest(name, "cannot be varied along both axes; choose another for one.")
    check_count(len(x) * len(y))


def make_grid(
    x: Axis | None, y: Axis | None, given: Settings, make: Callable[[Settings], Request]
) -> Grid:
    """Give the cells of two axes.

    Args:
        x: What varies from left to right, or None.
        y: What varies from top to bottom, or None.
        given: The settings that do not vary.
        make: Gives the request of one cell's settings.

    Raises:
        InvalidRequest: A cell cannot be made, or the grid cannot show a difference.
        CoreError: What ``make`` raises.
    """
    cells = tuple(
        Cell(column, row, make(_changed(_changed(given, x, column), y, row)))
        for row in range(1 if y is None else len(y))
        for column in range(1 if x is None else len(x))
    )
    guided = any(cell.request.guidance_scale > 1 for cell in cells)
    for axis in (x, y):
        if axis is not None and axis.parameter.guides and not guided:
            raise InvalidRequest(
                axis.parameter.name, "does nothing at a guidance of 1; raise --guidance."
            )
    return Grid(x, y, cells)


def _changed(settings: Settings, axis: Axis | None, index: int) -> Settings:
    if axis is None:
        return settings
    return {**settings, **axis.parameter.changes(settings, axis.values[index])}


def batches_of(grid: Grid) -> list[Batch]:
    """Join the cells that one request can make, in an order that loads each model once."""
    slow = [f for axis in grid.axes if axis.parameter.reloads for f in axis.parameter.fields]
    models: dict[Any, list[Cell]] = {}
    for cell in grid.cells:
        models.setdefault(tuple(getattr(cell.request, field) for field in slow), []).append(cell)
    return [batch for cells in models.values() for batch in _joined(cells)]


def _joined(cells: Sequence[Cell]) -> list[Batch]:
    """Join the cells that differ in nothing but what each picture of a request may have its own."""
    if cells[0].request.batch_size == 1:
        return [Batch(cell.request, (cell,)) for cell in cells]
    alike: dict[Request, list[Cell]] = {}
    for cell in cells:
        request = cell.request
        # Without guidance a step is half as long, so that those cells are batches of their own.
        bare = dataclasses.replace(
            request,
            prompts=("",),
            negative_prompt="",
            guidance_scale=float(request.guidance_scale > 1),
            seed=0,
        )
        alike.setdefault(bare, []).append(cell)
    return [Batch(_request_of(cells), tuple(cells)) for cells in alike.values()]


def _request_of(cells: Sequence[Cell]) -> Request:
    """Give the request whose picture ``i`` is that of cell ``i``."""
    requests = [cell.request for cell in cells]
    first = requests[0]
    return dataclasses.replace(
        first,
        prompts=tuple(request.prompts[0] for request in requests),
        negative_prompts=_row(request.negative_prompt for request in requests),
        guidance_scales=_row(request.guidance_scale for request in requests),
        seeds=() if len(cells) == 1 else tuple(request.seed for request in requests),
    )


def _row(values: Iterable[T]) -> tuple[T, ...]:
    """Give a value for each cell, or none where all have the same."""
    row = tuple(values)
    return row if len(set(row)) > 1 else ()


def work_of(request: Request) -> float:
    """Give about how long a picture takes, in no unit: its steps times its pixels."""
    steps = request.steps
    if isinstance(request, ImageToImage):
        steps = int(steps * request.strength)
    passes = 2 if request.guidance_scale > 1 else 1
    work = steps * request.width * request.height
    if (second := request.second_pass) is not None:
        width, height = request.final_size
        work += int((second.steps or request.steps) * second.strength) * width * height
    return float(passes * work)
