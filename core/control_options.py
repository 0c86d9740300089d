"""The command line's words for ControlNets. Imports no torch.

Each ``--control`` begins one, and the options behind it, up to the next ``--control``, belong to
it: paths may have any letter in them, and nobody has to count.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from core.errors import InvalidRequest
from core.request import ControlUse, Preprocessor

_OPTIONS: tuple[tuple[str, Any, str, str], ...] = (
    ("image", str, "IMAGE", "the picture that it follows"),
    (
        "preprocessor",
        None,
        "NAME",
        f"what makes its map of that picture: {', '.join(Preprocessor)} (none: it is one)",
    ),
    ("low", int, "N", f"canny: gradient from which a pixel may be an edge ({ControlUse.LOW})"),
    ("high", int, "N", f"canny: gradient from which it is one ({ControlUse.HIGH})"),
    ("weight", float, "X", "how strongly it works (1)"),
    ("start", float, "X", "fraction of the run where it begins (0)"),
    ("end", float, "X", "fraction of the run where it ends (1)"),
)


def add_control_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--control`` and the options that belong to one; they are parsed to ``controls``."""
    group = parser.add_argument_group("pictures that lead the run (ControlNet)")
    group.add_argument(
        "--control",
        action=_Begin,
        dest="controls",
        metavar="NAME|PATH",
        help="ControlNet to follow (repeatable); the options below belong to the one before them",
    )
    for name, kind, metavar, summary in _OPTIONS:
        group.add_argument(
            f"--control-{name}",
            action=_Describe,
            dest="controls",
            type=kind or _preprocessor,
            metavar=metavar,
            help=summary,
        )


def add_map_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that keeps what ControlNets follow."""
    parser.add_argument(
        "--keep-control-maps",
        action="store_true",
        help="save what each ControlNet follows as DIR/control-1.png and so on",
    )


def read_controls(given: Sequence[dict[str, Any]]) -> tuple[ControlUse, ...]:
    """Give what was parsed as a request's controls.

    Raises:
        InvalidRequest: A control has no picture, or a value is out of range.
    """
    for control in given:
        if "image" not in control:
            raise InvalidRequest(
                "controls.image",
                f"is missing for the control {control['path']}; add --control-image behind it.",
            )
    return tuple(ControlUse(**control) for control in given)


def _preprocessor(word: str) -> Preprocessor:
    try:
        return Preprocessor(word.lower())
    except ValueError:
        names = ", ".join(Preprocessor)
        raise argparse.ArgumentTypeError(f"{word!r} is none of {names}") from None


class _Begin(argparse.Action):
    """Begins a ControlNet."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Keep its name."""
        del parser, option_string
        begun = getattr(namespace, self.dest) or []
        setattr(namespace, self.dest, [*begun, {"path": values}])


class _Describe(argparse.Action):
    """Says more of the ControlNet that was begun last."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Keep it, unless there is none or it was said already."""
        begun = getattr(namespace, self.dest)
        if not begun:
            parser.error(f"{option_string} belongs behind a --control; name the ControlNet first")
        name = str(option_string).removeprefix("--control-")
        if name in begun[-1]:
            parser.error(f"{option_string} stands there twice for the control {begun[-1]['path']}")
        setattr(namespace, self.dest, [*begun[:-1], begun[-1] | {name: values}])
