"""What the parsers of all commands have in common. Imports no torch."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from core.paths import Profile

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of a layer that this one knows nothing of.

    Attributes:
        name: What a person types.
        add: Adds its parser, with ``add_command``.
        run: Carries it out; see ``core.cli.main`` for how it may end.
        options: Its options by the settings that they give, for error messages.
    """

    name: str
    add: Callable[[Commands, argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Profile], None]
    options: Mapping[str, str]


def add_command(
    commands: Commands, everywhere: argparse.ArgumentParser, name: str, summary: str
) -> argparse.ArgumentParser:
    """Add a command's parser; what it parses has ``name`` as ``command``."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        parents=[everywhere],
        allow_abbrev=False,
    )
    parser.set_defaults(command=name)
    return parser


def add_choice(
    group: argparse._ActionsContainer,
    option: str,
    enum: type[StrEnum],
    summary: str,
    *,
    default: StrEnum | None = None,
    dest: str | None = None,
) -> None:
    """Add an option that takes one of ``enum``'s values, in small or capital letters."""

    def read(word: str) -> StrEnum:
        try:
            return enum(word.lower())
        except ValueError:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(enum)}") from None

    name = option.removeprefix("--")
    group.add_argument(
        option,
        type=read,
        dest=dest or name,
        metavar=name.upper(),
        default=default,
        help=f"{summary}: {', '.join(enum)}" + (f" (default: {default})" if default else ""),
    )


def add_json(group: argparse._ActionsContainer, summary: str) -> None:
    """Add ``--json``."""
    group.add_argument("--json", action="store_true", help=f"{summary} on stdout, nothing else")
