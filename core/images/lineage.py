"""Pictures made from pictures: what came before one, as far as the files can be found.

A record holds the hashes of its ancestors, so that the row stays known where a file is lost.
Imports no torch.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from core.errors import InvalidRequest
from core.images.beside import Beside
from core.images.metadata import MOST_ANCESTORS, Metadata, Recorded, read_metadata, read_record
from core.images.reading import sha256_of
from core.request import ImageToImage, Request


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
    here = Beside(beside)
    present: Metadata | None = recorded
    known = _row_of(recorded)
    while known and len(row) < MOST_ANCESTORS:
        sha256 = known[0]
        if any(sha256 == ancestor.sha256 for ancestor in row):
            break
        path = here.find(sha256, _start_of(present))
        present = None if path is None else _said_by(path)
        row.append(Ancestor(sha256=sha256, path=path, metadata=present))
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


def _said_by(path: Path) -> Metadata | None:
    try:
        return read_metadata(path)
    except InvalidRequest:
        return None
