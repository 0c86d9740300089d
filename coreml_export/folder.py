"""The folder that an export fills, part by part. Imports no torch."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from core.coreml_folder import COMPILED, MANIFEST, Manifest, PartRecord
from core.errors import InvalidRequest
from core.files import replace_file, save_failed
from core.folder_lock import alone_in

_UNFINISHED = ".unfinished"
_ALWAYS_THERE = {_UNFINISHED, ".DS_Store", "Thumbs.db", "desktop.ini"}


@dataclass(frozen=True, slots=True)
class ExportFolder:
    """Where an export lies.

    Attributes:
        root: ``OUT``.
        suffix: What the names of its packages end with.
    """

    root: Path
    suffix: str

    @property
    def unfinished(self) -> Path:
        """The folder in which parts are made; it is gone when nothing is."""
        return self.root / _UNFINISHED

    def package(self, name: str) -> Path:
        """Give the place of a part."""
        return self.root / f"{name}{self.suffix}"

    def compiled(self, name: str) -> Path:
        """Give the place of a part as macOS compiles it."""
        return self.root / f"{name}{COMPILED}"

    def check(self) -> None:
        """Refuse a folder that holds something else.

        Raises:
            InvalidRequest: If it does.
            ModelInvalid: If its manifest cannot be read.
        """
        if self.manifest() is not None:
            return
        try:
            there = {path.name for path in self.root.iterdir()} if self.root.exists() else set()
        except OSError as error:
            raise InvalidRequest(
                "out", f"{self.root} cannot be looked into ({error.strerror}); choose another."
            ) from error
        if others := sorted(there - _ALWAYS_THERE):
            raise InvalidRequest(
                "out",
                f"{self.root} holds other things ({others[0]}); choose a new or an empty folder.",
            )

    def manifest(self) -> Manifest | None:
        """Read what was exported here before, if anything was.

        Raises:
            ModelInvalid: If its manifest cannot be read.
        """
        return Manifest.read(self.root) if (self.root / MANIFEST).is_file() else None

    def has(self, record: PartRecord) -> bool:
        """Whether a part lies there as it was written."""
        return size_of(self.package(record.name)) == record.bytes > 0

    @contextmanager
    def alone(self, locks: Path) -> Iterator[None]:
        """Keep other processes from the folder while this is open, and unfinished parts from it.

        Args:
            locks: Folder that all processes share, in which they lock each other out.

        Raises:
            InvalidRequest: If another export is at work here.
            SaveFailed: If the file system refuses.
        """
        was_there = self.root.exists()
        with alone_in(self.root, locks, work="export"):
            try:
                shutil.rmtree(self.unfinished, ignore_errors=True)
                self.unfinished.mkdir(parents=True)
            except OSError as error:
                raise save_failed(self.root, error) from error
            try:
                yield
            finally:
                shutil.rmtree(self.unfinished, ignore_errors=True)
                if not was_there:
                    # What was refused leaves no folder; one that holds something stays.
                    with suppress(OSError):
                        self.root.rmdir()

    def note(self, manifest: Manifest) -> None:
        """Write the manifest.

        Raises:
            SaveFailed: If the file system refuses.
        """
        replace_file(self.root / MANIFEST, manifest.to_json().encode())

    def forget(self, names: Sequence[str]) -> None:
        """Remove parts; the manifest no longer names them.

        Raises:
            SaveFailed: If the file system refuses.
        """
        for name in names:
            for path in (self.package(name), self.compiled(name)):
                self._put_away(path)

    def take(self, made: Path, place: Path) -> None:
        """Give what was made in ``unfinished`` its place, in that of an earlier one.

        Raises:
            SaveFailed: If the file system refuses.
        """
        self._put_away(place)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            made.rename(place)
        except OSError as error:
            raise save_failed(self.root, error) from error

    def _put_away(self, path: Path) -> None:
        """Take a folder out of sight at once, and then delete it, which is not done at once."""
        if not path.exists():
            return
        away = self.unfinished / f"old-{path.name}"
        try:
            path.rename(away)
            shutil.rmtree(away)
        except OSError as error:
            raise save_failed(self.root, error) from error


def size_of(path: Path) -> int:
    """Count the bytes of a package's files; 0 if it is not there."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
