"""Holds entries of the library against their files, and finds moved ones. Imports no torch."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path

from core.errors import ModelInvalid
from core.models.fingerprint import Fingerprints
from core.models.library_events import Checked, Meter, Progress, State, Task
from core.models.library_file import Entry
from core.paths import is_dir

NEAR_LEVELS = 2
"""How far up from the old place the search begins, and how far down from there it goes."""

MOST_FOLDERS = 20_000
"""How many folders are looked through near an old place; a folder that was named has no limit."""


def checking(
    entry: Entry, search: Sequence[Path], fingerprints: Fingerprints
) -> Generator[Progress, None, Checked]:
    """Read an entry's files again; if one is missing, look for the whole entry elsewhere.

    Args:
        entry: What to check.
        search: Folders to look through, those below them included.
        fingerprints: The memory of hashes, in which what was read is noted.
    """
    missing = entry.missing()
    if not missing:
        return (yield from reading(entry, fingerprints))
    for place in (*_near(entry), *_below(search, entry)):
        moved = dataclasses.replace(entry, path=place, owned=False)
        if moved.path == entry.path or not _sizes_fit(moved):
            continue
        checked = yield from reading(moved, fingerprints)
        if checked.state is State.SOUND:
            return dataclasses.replace(
                checked, state=State.MOVED, reason=f"{entry.path} lies at {moved.path} now."
            )
    return Checked(
        entry=entry,
        state=State.MISSING,
        reason=f"{missing[0]} is gone; say with --search where to look, or remove {entry.name}.",
    )


def hashing(
    path: Path, fingerprints: Fingerprints, meter: Meter, before: int
) -> Generator[Progress, None, str]:
    """Hash a file anew.

    Args:
        path: The file.
        fingerprints: The memory of hashes, in which it is noted.
        meter: What reports the progress.
        before: Bytes of the whole task that are done already.

    Raises:
        ModelInvalid: If it cannot be read.
    """
    reading = fingerprints.reading(path)
    while True:
        try:
            done = next(reading)
        except StopIteration as finished:
            return str(finished.value)
        if (progress := meter.at(path.name, before + done)) is not None:
            yield progress


def reading(entry: Entry, fingerprints: Fingerprints) -> Generator[Progress, None, Checked]:
    """Read the files of an entry again, and hold them against what is noted of them."""
    meter, before = Meter(Task.HASH, entry.size), 0
    for file in entry.files:
        place = entry.place_of(file)
        try:
            if place.stat().st_size != file.size:
                return _changed(entry, f"{place} is not as long as it was")
            sha256 = yield from hashing(place, fingerprints, meter, before)
        except (OSError, ModelInvalid) as error:
            return _changed(entry, f"{place} cannot be read ({error})")
        if sha256 != file.sha256:
            return _changed(entry, f"{place} does not hold the bytes that it did")
        before += file.size
    return Checked(entry=entry, state=State.SOUND)


def _changed(entry: Entry, why: str) -> Checked:
    advice = "download it again" if entry.source else "put the old file back, or add it anew"
    return Checked(entry=entry, state=State.CHANGED, reason=f"{why}; {advice}.")


def _sizes_fit(entry: Entry) -> bool:
    try:
        return all(entry.place_of(f).stat().st_size == f.size for f in entry.files)
    except OSError:
        return False


def _near(entry: Entry) -> Iterator[Path]:
    """Give the places near the old one where the entry may lie now."""
    start = entry.path
    for _ in range(NEAR_LEVELS):
        start = start.parent
    if not is_dir(start) or start == start.parent:
        start = entry.path.parent
    for number, folder in enumerate(_folders(start, deepest=2 * NEAR_LEVELS)):
        if number == MOST_FOLDERS:
            return
        yield from _candidates(folder, entry)


def _below(search: Iterable[Path], entry: Entry) -> Iterator[Path]:
    for folder in search:
        for inside in _folders(folder):
            yield from _candidates(inside, entry)


def _folders(start: Path, deepest: int | None = None) -> Iterator[Path]:
    """Give a folder and those below it; links are not followed, which might go round in circles."""
    for where, below, _files in os.walk(start):
        below[:] = sorted(name for name in below if not name.startswith("."))
        folder = Path(where)
        if deepest is not None and len(folder.relative_to(start).parts) >= deepest:
            below.clear()
        yield folder


def _candidates(folder: Path, entry: Entry) -> Iterator[Path]:
    """Give what in a folder may be the entry: a file of any name if it is one, or the folder."""
    if not entry.is_file:
        yield folder
        return
    size, suffix = entry.files[0].size, entry.path.suffix
    try:
        inside = sorted(folder.iterdir())
    except OSError:
        return
    for path in inside:
        try:
            if path.suffix == suffix and path.is_file() and path.stat().st_size == size:
                yield path
        except OSError:
            continue
