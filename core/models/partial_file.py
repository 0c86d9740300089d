"""A file on its way from the hub: what there is of it, and if it is right. Imports no torch."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from core.models.fingerprint import PIECE
from core.models.library_events import Meter, Progress, Task
from core.models.repo_files import RepoFile


class PartialFile:
    """A file that is not whole yet, ``NAME.part``, and the hash of what there is of it."""

    def __init__(self, target: Path, file: RepoFile) -> None:
        """Prepare; ``target`` is where the file goes once it is right."""
        self.file, self.path, self.size = file, target.with_name(f"{target.name}.part"), 0
        self._target = target
        self._digest = _new_digest(file)
        self._writer: BinaryIO | None = None

    def opening(self) -> Iterator[Progress]:
        """Hash what came before and get ready to go on behind it.

        Raises:
            OSError: As the system says.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = self.path.open("a+b")
        there = self._writer.seek(0, os.SEEK_END)
        if there > self.file.size:
            self.restart()
            return
        meter = Meter(Task.HASH, there)
        self._writer.seek(0)
        while piece := self._writer.read(PIECE):
            self._digest.update(piece)
            self.size += len(piece)
            if (progress := meter.at(self.file.name, self.size)) is not None:
                yield progress

    def write(self, piece: bytes) -> None:
        """Add bytes at the end."""
        assert self._writer is not None
        self._writer.write(piece)
        self._digest.update(piece)
        self.size += len(piece)

    def restart(self) -> None:
        """Forget what there is."""
        assert self._writer is not None
        self._writer.truncate(0)
        self._digest, self.size = _new_digest(self.file), 0

    def is_right(self) -> bool:
        """Say whether the bytes are those that the hub has."""
        wanted = self.file.sha256 or self.file.git_sha1
        right = not wanted or self._digest.hexdigest() == wanted
        return self.size == self.file.size and right

    def finish(self) -> None:
        """Give the file its name."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        self.path.replace(self._target)

    def close(self) -> None:
        """Write out what was added."""
        if self._writer is not None:
            self._writer.close()


def _new_digest(file: RepoFile) -> hashlib._Hash:
    """Begin the kind of hash that the hub gives for a file: its SHA-256, or Git's of a blob."""
    if file.sha256 or not file.git_sha1:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)


def size_here(target: Path, file: RepoFile) -> int:
    """Give how many bytes of a file are here, whole or in part."""
    for path in (target, target.with_name(f"{target.name}.part")):
        with contextlib.suppress(OSError):
            return min(path.stat().st_size, file.size)
    return 0
