"""From the name of a LoRA, embedding, VAE or ControlNet to where it lies. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.errors import ModelMissing
from core.paths import expanded

Resolver = Callable[[str], Path | None]
"""Gives the file of a name, or None if nothing is called so; ``ModelMissing`` if it has gone."""


def no_names(name: str) -> Path | None:
    """Know no names: only paths are found."""
    del name
    return None


def gone(what: str, name: str, path: Path) -> ModelMissing:
    """Say that what is known by a name is no longer where it was."""
    return ModelMissing(
        f"The {what} {name} is no longer at {path}; `stepwise models verify {name} --search "
        "FOLDER` finds it by its hash."
    )


def locate(name: str, resolver: Resolver, what: str, *, folder_ok: bool = False) -> Path:
    """Find a file by its path, or by its name.

    Args:
        name: A path, or a name.
        resolver: What knows names.
        what: What is looked for, for the error: ``"LoRA"``.
        folder_ok: Whether a folder will do.

    Returns:
        An absolute path.

    Raises:
        ModelMissing: If it is neither.
    """
    path = expanded(Path(name))
    try:
        if path.is_file() or (folder_ok and path.is_dir()):
            return path.absolute()
    except OSError as error:
        raise ModelMissing(
            f"The {what} {name} cannot be looked at ({error.strerror or error}); choose another."
        ) from error
    found = resolver(name)
    if found is None:
        raise ModelMissing(
            f"There is no {what} {name!r}, neither a file nor a name that is known; give the path "
            "of its file."
        )
    return found.absolute()
