"""The command line: which command runs, and how a run ends. Imports no torch.

A command's own module is imported when the command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from core.about import APP_NAME
from core.cli_parser import build_parser
from core.commands.options import told
from core.errors import CoreError
from core.paths import Profile
from core.request import DeviceName
from core.terminal import harmless

if TYPE_CHECKING:
    from core.command_words import Command
    from core.events import EngineFactory, Studio

DONE, FAILED, INTERRUPTED, TERMINATED = 0, 1, 130, 143


class Terminated(KeyboardInterrupt):
    """The system asked the process to end; it ends as tidily as after Ctrl-C."""


def torch_engine(device: DeviceName, profile: Profile) -> Studio:
    """Make the engine that runs on this machine; imports torch."""
    from core.models.library import Library
    from core.models.torchvision_import import mend_torchvision
    from core.models.verdict import Kind

    mend_torchvision()
    from core.engine import TorchEngine

    library = Library(profile)
    return TorchEngine(
        device,
        cache=profile.cache,
        find_lora=library.finder(Kind.LORA),
        find_embedding=library.finder(Kind.EMBEDDING),
        find_vae=library.finder(Kind.VAE),
        find_control=library.finder(Kind.CONTROLNET),
        find_upscaler=library.finder(Kind.UPSCALER),
    )


def main(
    argv: Sequence[str] | None = None,
    *,
    prog: str = "stepwise",
    make_engine: EngineFactory = torch_engine,
    open_window: Callable[[Profile], int] | None = None,
    added: Sequence[Command] = (),
) -> int:
    """Carry out a command line.

    Args:
        argv: The words after the program's name; the process's own by default.
        prog: The program's name, for usage lines.
        make_engine: Makes the engine of commands that need one.
        open_window: What to do where no command is given; without it, a command must be.
        added: Commands of other layers.

    Returns:
        The exit status: 0 done, 1 an error that was explained on stderr, 130 interrupted,
        143 asked to end.

    Raises:
        SystemExit: 2 after a wrong usage, 0 after ``--help``.
    """
    arguments = build_parser(prog, window=open_window is not None, added=added).parse_args(argv)
    profile = Profile(arguments.profile) if arguments.profile else Profile.default()
    if arguments.command is None:
        assert open_window is not None
        return open_window(profile)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A path or prompt that the terminal cannot show must not end the run.
            stream.reconfigure(errors="backslashreplace")
    with _sigterm_interrupts():
        return _ended(arguments, profile, make_engine, prog, added)


def _ended(
    arguments: argparse.Namespace,
    profile: Profile,
    make_engine: EngineFactory,
    prog: str,
    added: Sequence[Command],
) -> int:
    """Run a command and turn the way it ended into an exit status and a line on stderr."""
    try:
        _run(arguments, profile, make_engine, added)
        sys.stdout.flush()
    except CoreError as error:
        options = {command.name: command.options for command in added}
        _say(f"{prog}: {told(error, arguments.command, options)}")
        return FAILED
    except Terminated:
        return TERMINATED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        _report_bug(error, profile.logs, prog)
        return FAILED
    return DONE


def _run(
    arguments: argparse.Namespace,
    profile: Profile,
    make_engine: EngineFactory,
    added: Sequence[Command],
) -> None:
    from core.models import catalog
    from core.models.library import Library

    library = Library(profile)
    catalog.use_shelf(library)
    match arguments.command:
        case "generate":
            from core.commands import generate

            generate.run(arguments, profile, make_engine)
        case "grid":
            from core.commands import grid

            grid.run(arguments, profile, make_engine)
        case "upscale":
            from core.commands import upscale

            upscale.run(arguments, profile, make_engine)
        case "caption":
            from core.commands import caption

            caption.run(arguments, library)
        case "inspect":
            from core.commands import inspect_picture

            inspect_picture.run(arguments, library)
        case "models":
            from core.commands import models

            models.run(arguments, library)
        case "train":
            from core.commands import train

            train.run(arguments, profile, make_engine)
        case "bench":
            from core.commands import bench

            bench.run(arguments, profile)
        case name:
            next(command for command in added if command.name == name).run(arguments, profile)


def _say(line: str) -> None:
    print(harmless(" ".join(line.split("\n"))), file=sys.stderr)


def _report_bug(error: Exception, logs: Path, prog: str) -> None:
    """Log the traceback, or show it where no log can be written, and say so in one line."""
    trace = "".join(traceback.format_exception(error))
    log = logs / "stepwise.log"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{datetime.now().astimezone().isoformat()} {prog}\n{trace}\n")
    except OSError:
        print(trace, file=sys.stderr)
    what = f"{type(error).__name__}: {error}"
    _say(f"{prog}: {APP_NAME} met a bug ({what}); please report it with the end of {log}.")


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let a request to end unwind like Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
