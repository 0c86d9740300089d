"""Pictures that another one was made from, looked for where it lies. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core.errors import InvalidRequest
from core.images.reading import sha256_of

MOST_FILES = 500
"""Files of a folder that are hashed to find a picture which has another name now."""

LARGEST = 64 * 2**20
"""Bytes above which a file is not hashed to find out whether it is one."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class Beside:
    """A folder with pictures, of which one is found by its name or by its hash."""

    def __init__(self, folder: Path) -> None:
        """Look in a folder; its files are hashed when a name alone finds nothing."""
        self._folder = folder
        self._paths: dict[str, Path] | None = None

    def find(self, sha256: str, named: Path | None = None) -> Path | None:
        """Find a picture: where it was, then under its name in the folder, then under any.

        Args:
            sha256: Of its file.
            named: Where it was, if that is known.
        """
        places = [named, self._folder / named.name] if named else []
        return next((p for p in places if _hash_of(p) == sha256), None) or self._all().get(sha256)

    def _all(self) -> dict[str, Path]:
        if self._paths is None:
            self._paths = dict(_hashed(self._folder))
        return self._paths


def _hashed(folder: Path) -> Iterator[tuple[str, Path]]:
    try:
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES)
    except OSError:
        return
    for path in paths[:MOST_FILES]:
        try:
            if path.stat().st_size <= LARGEST:
                yield sha256_of(path), path
        except (OSError, InvalidRequest):
            continue


def _hash_of(path: Path) -> str:
    """Hash a file; empty if it is not there."""
    try:
        return sha256_of(path)
    except InvalidRequest:
        return ""
