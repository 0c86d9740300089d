"""Pictures made from pictures: what came before one, as far as the files can be found.

A record holds the hashes of its ancestors, so that the row stays known where a file is lost.
Imports no torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import InvalidRequest
from core.images.metadata import MOST_ANCESTORS, Metadata, Recorded, read_metadata, read_record
from core.images.reading import sha256_of
from core.request import ImageToImage, Request

MOST_FILES = 500
"""Files of a folder that are hashed to find an ancestor which has another name now."""

LARGEST = 64 * 2**20
"""Bytes above which a file is not hashed to find out whether it is one."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestor:
    """A picture that another was made from.

    Attributes:
        sha256: Of its file.
        path: Where it lies; None if it was not found.
        metadata: What it says of itself; None if it says nothing or was not found.
    """

    sha256: str
    path: Path | None = None
    metadata: Metadata | None = None


def ancestors_of(request: Request) -> tuple[str, ...]:
    """Give the hashes that a picture of this request records: its start, and that one's own row.

    Returns:
        Nothing for a picture from noise, or one whose start picture's hash is not known.
    """
    if not isinstance(request, ImageToImage) or not request.init_sha256:
        return ()
    path = Path(request.init_image)
    further: tuple[str, ...] = ()
    with contextlib.suppress(InvalidRequest):
        if sha256_of(path) == request.init_sha256:
            further = _row_of(read_record(path))
    return (request.init_sha256, *further)[:MOST_ANCESTORS]


def lineage_of(recorded: Recorded, beside: Path) -> tuple[Ancestor, ...]:
    """Find what came before a picture, its start picture first.

    Each is looked for where the picture made from it says that it was, then by its name and by its
    hash in the folder ``beside``. A row that comes back to itself ends there.
    """
    row: list[Ancestor] = []
    here = _Folder(beside)
    present: Metadata | None = recorded
    known = _row_of(recorded)
    while known and len(row) < MOST_ANCESTORS:
        sha256 = known[0]
        if any(sha256 == ancestor.sha256 for ancestor in row):
            break
        named = _start_of(present)
        places = [named, beside / named.name] if named else []
        found = next((a for place in places if (a := _looked_at(place, sha256))), None)
        ancestor = found or here.find(sha256) or Ancestor(sha256=sha256)
        row.append(ancestor)
        present = ancestor.metadata
        known = _row_of(present) or known[1:]
    return tuple(row)


def _row_of(metadata: Metadata | None) -> tuple[str, ...]:
    """Give a record's hashes; older ones have but the start picture's, inside the request."""
    if not isinstance(metadata, Recorded):
        return ()
    if metadata.ancestors or not isinstance(metadata.request, ImageToImage):
        return metadata.ancestors
    return (metadata.request.init_sha256,) if metadata.request.init_sha256 else ()


def _start_of(metadata: Metadata | None) -> Path | None:
    if isinstance(metadata, Recorded) and isinstance(metadata.request, ImageToImage):
        return Path(metadata.request.init_image)
    return None


def _looked_at(path: Path, sha256: str) -> Ancestor | None:
    """Give the picture at a path if it is the one with that hash."""
    metadata: Metadata | None = None
    try:
        if sha256_of(path) != sha256:
            return None
        with contextlib.suppress(InvalidRequest):
            metadata = read_metadata(path)
    except InvalidRequest:
        return None
    return Ancestor(sha256=sha256, path=path, metadata=metadata)


class _Folder:
    """The pictures of a folder by their hashes, hashed when the first one is asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: dict[str, Path] | None = None

    def find(self, sha256: str) -> Ancestor | None:
        if self._paths is None:
            self._paths = dict(_hashed(self._folder))
        path = self._paths.get(sha256)
        return None if path is None else _looked_at(path, sha256)


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
