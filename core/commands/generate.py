"""``generate``: pictures from prompts, from a start picture, or as an earlier picture was made."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from core.commands.control_maps import keep_maps
from core.commands.interrupts import whole_batches
from core.commands.previews import PreviewFile
from core.commands.report import JsonReport, ProgressReport, as_json
from core.commands.task import Task, new_task, repeated_task
from core.control_options import read_controls
from core.events import (
    Engine,
    EngineFactory,
    Event,
    ImageReady,
    Loading,
    Notice,
    PreviewSettings,
    Saved,
)
from core.files import check_folder
from core.images.writing import saved
from core.paths import Profile

SETTINGS = (
    "model",
    "negative_prompt",
    "steps",
    "guidance_scale",
    "guidance_rescale",
    "guidance_start",
    "guidance_end",
    "scheduler",
    "width",
    "height",
    "seed",
    "count",
    "batch_size",
    "init_image",
    "strength",
    "mask_image",
    "mask_invert",
    "mask_blur",
    "precision",
    "vae",
    "vae_tiling",
    "refiner",
    "refiner_start",
    "memory",
    "compute_units",
    "loras",
    "embeddings",
)
"""The options that are settings of the request, by its own names."""


def run(arguments: argparse.Namespace, profile: Profile, make_engine: EngineFactory) -> None:
    """Make pictures, save them, and say what happens.

    Raises:
        CoreError: It cannot be done.
        KeyboardInterrupt: It was stopped; finished pictures are kept and were named.
    """
    carry_out([_task(arguments, profile)], arguments, profile, make_engine)


def carry_out(
    tasks: Sequence[Task],
    arguments: argparse.Namespace,
    profile: Profile,
    make_engine: EngineFactory,
) -> None:
    """Carry out tasks one after the other with one engine; see ``run``."""
    folder: Path = arguments.out or profile.pictures
    check_folder(folder)
    one_batch = any(task.only is not None for task in tasks)
    report = JsonReport(as_json) if arguments.json else ProgressReport(one_batch=one_batch)
    previews = PreviewFile(folder / "preview.png", arguments.preview)
    events = _events(tasks, arguments, profile, make_engine)
    stream = whole_batches(saved(events, folder, arguments.picture_format))
    kept: list[str] = []
    try:
        with closing(report), closing(previews), closing(stream):
            for event in stream:
                if isinstance(event, Saved):
                    # Before it is reported: whoever reads that may interrupt at once.
                    kept.append(str(event.path))
                previews.show(event)
                report.show(event)
    except KeyboardInterrupt:
        what = f"kept: {', '.join(kept)}" if kept else "no picture was finished"
        print(f"Stopped; {what}.", file=sys.stderr)
        raise


def settings_given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Give the settings that stand on the command line, by the request's names.

    Returns:
        Those of a second pass by themselves, as ``second_pass``; any of them asks for one.

    Raises:
        InvalidRequest: A control has no picture, or a value of it is out of range.
    """
    words = {name: getattr(arguments, name) for name in (*SETTINGS, "prompts")}
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in words.items()
        if value not in (None, [])
    }
    if arguments.only_masked is not None:
        given |= {"only_masked": True, "padding": arguments.only_masked}
    given |= arguments.outpaint or {}
    if arguments.controls:
        given["controls"] = read_controls(arguments.controls)
    prefix = "hires_"
    second = {
        name.removeprefix(prefix): value
        for name, value in vars(arguments).items()
        if name.startswith(prefix) and value is not None
    }
    return given | {"second_pass": second} if second else given


def _task(arguments: argparse.Namespace, profile: Profile) -> Task:
    """Give what the words of the command line ask for."""
    given = settings_given(arguments)
    if arguments.source is not None:
        return repeated_task(arguments.source, given, profile)
    if not arguments.prompts:
        arguments.usage_error("give at least one PROMPT, or --from PICTURE")
    return new_task(given, profile)


def _events(
    tasks: Sequence[Task],
    arguments: argparse.Namespace,
    profile: Profile,
    make_engine: EngineFactory,
) -> Generator[Event, None, None]:
    """Give the events of the tasks, the loading of the engine itself included."""
    engine: Engine | None = None
    preview = PreviewSettings(decoder=arguments.preview)
    for task in tasks:
        for message in task.notices:
            yield Notice(message=message)
        if arguments.keep_control_maps:
            yield from keep_maps(task.request, arguments.out or profile.pictures)
        if engine is None:
            yield Loading(what="the engine")
            engine = make_engine(arguments.device, profile)
        with closing(engine.generate(task.request, preview=preview, only=task.only)) as events:
            for event in events:
                if isinstance(event, ImageReady) and task.device not in ("", event.device):
                    yield Notice(
                        message=f"The picture was made on {task.device} and is made again on "
                        f"{event.device}; its last bits may differ."
                    )
                yield event
