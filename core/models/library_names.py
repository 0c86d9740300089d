"""What models of the library are called. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from core.errors import InvalidRequest
from core.models import catalog
from core.models.tensor_list import SUFFIXES

LONGEST_NAME = 60


def check_name(wish: str, taken: Mapping[str, Path], path: Path) -> None:
    """Make sure that a name that somebody chose can be had; an empty one always can.

    Args:
        wish: The name.
        taken: The entries there are: where each one lies.
        path: Where the new one lies.

    Raises:
        InvalidRequest: If it is taken or no name.
    """
    if not wish:
        return
    if wish != slug(wish):
        raise InvalidRequest(
            "name", f"{wish!r} is no name; take letters, digits and . _ - (60 at most)."
        )
    places = {name.casefold(): str(place) for name, place in taken.items()}
    places |= {name.casefold(): "the app itself" for name in catalog.SHIPPED}
    if (place := places.get(wish.casefold())) is not None and place != str(path):
        raise InvalidRequest("name", f"{wish!r} is taken by {place}; choose another.")


def slug(text: str) -> str:
    """Make a name that needs no quotes, in a shell or in a file's name."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-._")[:LONGEST_NAME].rstrip("-._")


def plain_name(name: str) -> str:
    """Give a file's name as the library would have it: without its folder and its ending."""
    last = re.split(r"[\\/]", name)[-1]
    suffix = next((s for s in SUFFIXES if last.lower().endswith(s)), "")
    return slug(last[: len(last) - len(suffix)]).casefold()


def name_of(path: Path) -> str:
    """Name a model by its file or folder."""
    return slug(path.stem if path.is_file() else path.name) or "model"


def free_name(wish: str, taken: Collection[str]) -> str:
    """Give the name, with a number behind it if it is taken."""
    used = {name.casefold() for name in (*taken, *catalog.SHIPPED)}
    name, number = wish, 2
    while name.casefold() in used:
        name, number = f"{wish}-{number}", number + 1
    return name
