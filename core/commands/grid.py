"""``grid``: two settings' values side by side, each picture saved, and one sheet of them all."""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

from core.commands.generate import settings_given
from core.commands.grid_report import GridJsonReport, GridProgressReport
from core.commands.interrupts import whole_batches
from core.commands.previews import PreviewFile
from core.commands.task import Task, new_task, repeated_task
from core.errors import CoreError, InvalidRequest, SaveFailed, Unsupported
from core.events import (
    EngineFactory,
    Event,
    Finished,
    Loading,
    MemoryEstimate,
    Notice,
    PreviewSettings,
    Saved,
)
from core.files import check_folder
from core.grid import Batch, Grid, batches_of, check_axes, make_grid
from core.grid_axes import PARAMETERS, Axis, Settings, naming, read_axis
from core.grid_sheet import GridSheet
from core.images.canvas import canvas_of
from core.images.reading import read_start_image, size_of
from core.images.writing import saved
from core.models import catalog
from core.models.exported_control import own_first
from core.models.identify import identify
from core.models.library import Library
from core.models.names import locate
from core.models.refiner_file import fitting
from core.models.verdict import Kind
from core.paths import Profile
from core.request import ImageToImage, Inpaint, Outpaint, Request
from core.sampling.prompt_syntax import take_loras


def run(arguments: argparse.Namespace, profile: Profile, make_engine: EngineFactory) -> None:
    """Make a grid's pictures, save them and their sheet, and say what happens.

    Raises:
        CoreError: It cannot be done; what was made before is kept, on a sheet too.
        KeyboardInterrupt: It was stopped; likewise.
    """
    grid, notices = _grid(arguments, profile)
    folder: Path = arguments.out or profile.pictures
    check_folder(folder)
    sheet = GridSheet(grid)
    report = GridJsonReport(grid) if arguments.json else GridProgressReport(grid)
    previews = PreviewFile(folder / "preview.png", arguments.preview)
    try:
        with closing(report), closing(previews):
            events = _events(grid, notices, arguments, profile, make_engine, folder)
            with closing(events):
                for batch, event in events:
                    if batch is not None and isinstance(event, Saved):
                        # Before it is reported: whoever reads that may interrupt at once.
                        cell = batch.cells[event.image.picture]
                        sheet.place(cell, event.path, event.image.pixels)
                    previews.show(event)
                    report.show(batch, event)
        report.sheet(sheet.save(folder), sheet)
    except SaveFailed:
        raise
    except (KeyboardInterrupt, CoreError) as error:
        kept = "no picture was finished"
        if sheet.made:
            kept = f"kept: {sheet.made} of {len(grid.cells)} pictures, and a sheet of them"
            report.sheet(sheet.save(folder), sheet)
        if isinstance(error, KeyboardInterrupt):
            print(f"Stopped; {kept}.", file=sys.stderr)
        raise


def _events(
    grid: Grid,
    notices: tuple[str, ...],
    arguments: argparse.Namespace,
    profile: Profile,
    make_engine: EngineFactory,
    folder: Path,
) -> Generator[tuple[Batch | None, Event], None, None]:
    """Give the events of all batches as of one run, each with its batch."""
    begin = time.perf_counter()
    for message in notices:
        yield None, Notice(message=message)
    yield None, Loading(what="the engine")
    engine = make_engine(arguments.device, profile)
    preview = PreviewSettings(decoder=arguments.preview)
    said: set[Event] = set()
    for batch in batches_of(grid):
        made = engine.generate(batch.request, preview=preview)
        events = whole_batches(saved(made, folder, arguments.picture_format))
        with closing(events):
            for event in events:
                if isinstance(event, Finished) or event in said:
                    continue
                if isinstance(event, Loading | MemoryEstimate | Notice):
                    said.add(event)
                yield batch, event
    yield None, Finished(pictures=len(grid.cells), seconds=time.perf_counter() - begin)


def _grid(arguments: argparse.Namespace, profile: Profile) -> tuple[Grid, tuple[str, ...]]:
    """Give what the words of the command line ask for, and what is to be said of it first."""
    x, y = (
        None if words is None else read_axis(option, words)
        for option, words in (("x", arguments.x), ("y", arguments.y))
    )
    with naming(x, y):
        return _laid_out(arguments, profile, x, y)


def _laid_out(
    arguments: argparse.Namespace, profile: Profile, x: Axis | None, y: Axis | None
) -> tuple[Grid, tuple[str, ...]]:
    """Give the grid of two axes; see ``_grid``."""
    given = settings_given(arguments)
    _check_words(arguments, given, x, y)
    count = given.pop("count", 1)
    make = functools.partial(_task, arguments.source, profile)
    # The first cell's request is made twice: it finds the seed that all share.
    first = _first_task(make, given, x, y, count)
    given["seed"] = first.request.seed
    if count > 1:
        x, y = _with_seeds(x, y, first.request.seed, count)
    check_axes(x, y)
    grid = make_grid(x, y, given, lambda settings: make(settings).request)
    _check_cells(grid, profile)
    return grid, first.notices


def _first_task(
    make: functools.partial[Task], given: Settings, x: Axis | None, y: Axis | None, count: int
) -> Task:
    """Give the task of the first cell, its seed chosen so that ``count`` find room after it."""
    settings = dict(given)
    for axis in (x, y):
        if axis is not None:
            settings |= axis.parameter.changes(settings, axis.values[0])
    return make(settings | {"count": count})


def _task(source: Path | None, profile: Profile, settings: Settings) -> Task:
    # A count given, even of one, asks for a new picture where the source alone would be repeated.
    given = {"count": 1} | dict(settings)
    return new_task(given, profile) if source is None else repeated_task(source, given, profile)


def _check_words(
    arguments: argparse.Namespace, given: Settings, x: Axis | None, y: Axis | None
) -> None:
    """Refuse options that do not go together.

    Raises:
        InvalidRequest: A setting is given once for all cells and by an axis too.
        SystemExit: There is no axis, or not one prompt for all cells.
    """
    varied = {f: axis.parameter.name for axis in (x, y) if axis for f in axis.parameter.fields}
    if x is None and y is None:
        arguments.usage_error("say what to compare, as in --x guidance=1,4,7.5")
    prompts = len(arguments.prompts)
    if prompts == 0 and "prompts" not in varied and arguments.source is None:
        arguments.usage_error('give a PROMPT, or compare some, as in --y prompt="a cat|a dog"')
    if prompts > 1:
        arguments.usage_error(
            'give one PROMPT, in quotes; several are compared by --y prompt="a cat|a dog"'
        )
    if both := next((field for field in varied if field in given), None):
        raise InvalidRequest(
            varied[both], "is given for all pictures and varied too; leave out one of the two."
        )
    if given.get("count", 1) > 1 and ((x and y) or "seed" in varied):
        raise InvalidRequest(
            "count", "adds an axis of seeds, for which this grid has no room; leave it out."
        )
    check_axes(x, y)


def _with_seeds(
    x: Axis | None, y: Axis | None, seed: int, count: int
) -> tuple[Axis | None, Axis | None]:
    """Lay ``count`` seeds along the side that is free."""
    parameter = next(p for p in PARAMETERS if p.name == "seed")
    seeds = Axis("x" if x is None else "y", parameter, tuple(range(seed, seed + count)))
    return (seeds, y) if x is None else (x, seeds)


_OF_A_START = (
    "init_image",
    "width",
    "height",
    "mask_image",
    "mask_invert",
    "mask_blur",
    "only_masked",
    "padding",
    "left",
    "top",
    "right",
    "bottom",
)
"""The settings on which it depends what a picture begins from."""


def _check_cells(grid: Grid, profile: Profile) -> None:
    """Refuse, before hours of work, what the last cell would fail by.

    Raises:
        Unsupported: A cell's scheduler cannot be used with its model.
        InvalidRequest: Its size cannot, or its start or control picture cannot be read.
        ModelMissing: Its VAE, a LoRA or a ControlNet is not there.
        ModelInvalid: Its refiner does not go with its model.
        CoreError: See ``catalog.card``.
    """
    library = Library(profile)
    card = functools.cache(catalog.card)
    fits = functools.cache(
        lambda refiner, model: fitting(catalog.resolve(refiner), identify(catalog.resolve(model)))
    )
    found = functools.cache(
        lambda name, kind, what: locate(name, library.finder(kind), what, folder_ok=True)
    )
    net = functools.cache(
        lambda name, model: locate(
            name,
            own_first(identify(catalog.resolve(model)).exported, library.finder(Kind.CONTROLNET)),
            "ControlNet",
            folder_ok=True,
        )
    )
    control_size = functools.cache(lambda image: size_of(Path(image), field="controls.image"))
    starts: set[tuple[object, ...]] = set()
    for request in (cell.request for cell in grid.cells):
        _check_card(request, card(request.model))
        if request.refiner:
            fits(request.refiner, request.model)
        if request.vae:
            found(request.vae, Kind.VAE, "VAE")
        tags = take_loras(request.prompts[0], "prompts")[1]
        for name in [*(use.path for use in request.loras), *(tag.name for tag in tags)]:
            found(name, Kind.LORA, "LoRA")
        for control in request.controls:
            net(control.path, request.model)
            control_size(control.image)
        start = tuple(getattr(request, name, None) for name in _OF_A_START)
        if isinstance(request, ImageToImage) and start not in starts:
            starts.add(start)
            if isinstance(request, Inpaint | Outpaint):
                canvas_of(request)
            else:
                read_start_image(Path(request.init_image), request.width, request.height)


def _check_card(request: Request, card: catalog.ModelCard) -> None:
    if request.scheduler not in card.schedulers:
        raise Unsupported(
            f"The model {request.model} cannot use the scheduler {request.scheduler}; "
            f"choose among {', '.join(card.schedulers)}."
        )
    for name, side in (("width", request.width), ("height", request.height)):
        if side % card.size_multiple:
            raise InvalidRequest(
                name, f"{side} must be a multiple of {card.size_multiple} for {request.model}."
            )
