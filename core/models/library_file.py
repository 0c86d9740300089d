"""The list of the user's models on disk: versioned JSON that outlives a kill. Imports no torch."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from core.errors import ModelInvalid, SaveFailed
from core.files import replace_file, save_failed
from core.models.verdict import Kind
from core.paths import is_file

Migration = Callable[[dict[str, Any]], dict[str, Any]]
MIGRATIONS: tuple[Migration, ...] = ()
"""Entry ``i`` turns the values of version ``i + 1`` into those of version ``i + 2``."""

LOCK_SECONDS = 10.0
"""How long a change waits for another process; one holds the lock for milliseconds."""

AUTOV2_DIGITS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """One of a model's weight files, as it was when it was added.

    Attributes:
        name: Its path below the entry's, with ``/``; empty if the entry is this file.
        size: Bytes.
        sha256: 64 hex digits.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One of the user's models.

    Attributes:
        name: What commands and requests call it; of letters, digits, ``.``, ``_`` and ``-``.
        title: What it is, for people.
        kind: What it is good for.
        family: The architecture it belongs to, such as ``"sd1"``.
        path: Its file or folder.
        owned: Whether it was copied or downloaded into the data folder, and goes when it is
            removed. What is only referred to is never deleted.
        files: Its weight files.
        sha256: Of the file; of a model of several files the hash that pictures carry.
        precision: The number format of most of its weights, such as ``"fp16"``; empty in entries of
            before it was noted.
        source: Where it was downloaded from (``"owner/name@commit"``), or empty.
        added: The day, ISO 8601.
    """

    name: str
    title: str
    kind: Kind
    family: str
    path: Path
    owned: bool
    files: tuple[WeightFile, ...]
    sha256: str
    precision: str = ""
    source: str = ""
    added: str = ""

    @property
    def size(self) -> int:
        """Bytes of its weights."""
        return sum(file.size for file in self.files)

    @property
    def autov2(self) -> str:
        """The short hash by which A1111 and Civitai know a file; empty for a folder."""
        return self.sha256[:AUTOV2_DIGITS] if self.is_file else ""

    @property
    def is_file(self) -> bool:
        """Whether it is a single file and no folder."""
        return [file.name for file in self.files] == [""]

    def place_of(self, file: WeightFile) -> Path:
        """Give where one of its files lies."""
        return self.path / file.name if file.name else self.path

    def missing(self) -> tuple[Path, ...]:
        """Look which of its files are not where they were."""
        places = [self.place_of(file) for file in self.files]
        return tuple(place for place in places if not is_file(place))


class LibraryFile:
    """Reads and changes the list. Any number of processes may do so at once.

    Reading needs no lock, as the file is only ever replaced whole. A change is made under a lock to
    what is on disk at that moment, so that no process undoes another's.
    """

    def __init__(
        self, path: Path, models: Path, *, migrations: Sequence[Migration] = MIGRATIONS
    ) -> None:
        """Use ``path``, which need not exist.

        Args:
            path: The JSON file.
            models: The folder below which owned models lie; they are noted relative to it, so that
                a data folder may move.
            migrations: What makes older versions into the present one.
        """
        self._path, self._models, self._migrations = path, models, migrations

    def read(self) -> tuple[Entry, ...]:
        """Give the entries in the order of their being added.

        Raises:
            ModelInvalid: If the file is damaged or of a later version; it is left as it is.
        """
        return self._read()[0]

    @contextmanager
    def changing(self) -> Iterator[dict[str, Entry]]:
        """Give the entries by name, to be changed; what they are at the end is kept.

        An older version of the file is first copied to ``.bak`` beside it. Nothing is written if
        nothing changed or an error passes.

        Raises:
            ModelInvalid: See ``read``.
            SaveFailed: If it cannot be written, or another process holds it.
        """
        with self._locked():
            before, version = self._read()
            entries = {entry.name: entry for entry in before}
            yield entries
            current = len(self._migrations) + 1
            if tuple(entries.values()) == before:
                return
            if version not in (None, current):
                backup = self._path.with_name(self._path.name + ".bak")
                replace_file(backup, self._path.read_bytes())
            values = [_to_json(entry, self._models) for entry in entries.values()]
            text = json.dumps({"version": current, "models": values}, indent=1)
            replace_file(self._path, text.encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = filelock.FileLock(f"{self._path}.lock", timeout=LOCK_SECONDS)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except filelock.Timeout:
            raise SaveFailed(
                f"Another Stepwise keeps the library {self._path} locked; wait for it or end it, "
                "and try again."
            ) from None
        except OSError as error:
            raise save_failed(self._path.parent, error) from error
        try:
            yield
        finally:
            lock.release()

    def _read(self) -> tuple[tuple[Entry, ...], int | None]:
        """Give the entries and the version that they were written in; None without a file."""
        try:
            values = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return (), None
        except (OSError, ValueError, RecursionError) as error:
            raise self._damaged(str(error)) from error
        version = values.get("version") if isinstance(values, dict) else None
        if type(version) is not int or version < 1:
            raise self._damaged("it names no version")
        if version > len(self._migrations) + 1:
            raise ModelInvalid(
                f"{self._path} was written by a later version of Stepwise; update this one."
            )
        try:
            for migration in self._migrations[version - 1 :]:
                values = migration(values)
            return tuple(_from_json(value, self._models) for value in values["models"]), version
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise self._damaged(f"an entry makes no sense: {error!r}") from error

    def _damaged(self, why: str) -> ModelInvalid:
        return ModelInvalid(
            f"The library {self._path} cannot be read ({why}); put back a copy of it, or move it "
            "away and add the models again, which are where they were."
        )


def _to_json(entry: Entry, models: Path) -> dict[str, Any]:
    path = entry.path
    if entry.owned:
        with contextlib.suppress(ValueError):
            path = path.relative_to(models)
    return {
        "name": entry.name,
        "title": entry.title,
        "kind": entry.kind.value,
        "family": entry.family,
        "path": str(path),
        "owned": entry.owned,
        "files": [{"name": f.name, "size": f.size, "sha256": f.sha256} for f in entry.files],
        "sha256": entry.sha256,
        "precision": entry.precision,
        "source": entry.source,
        "added": entry.added,
    }


def _from_json(value: dict[str, Any], models: Path) -> Entry:
    files = value["files"]
    texts = {name: value[name] for name in ("name", "title", "family", "sha256", "source", "added")}
    texts["precision"] = value.get("precision", "")
    if not all(isinstance(text, str) for text in (*texts.values(), value["path"])):
        raise ValueError("a value that should be text is none")
    if not files or type(value["owned"]) is not bool:
        raise ValueError("it has no files, or does not say whose they are")
    return Entry(
        **texts,
        kind=Kind(value["kind"]),
        path=models / value["path"],
        owned=value["owned"],
        files=tuple(
            WeightFile(name=str(f["name"]), size=int(f["size"]), sha256=str(f["sha256"]))
            for f in files
        ),
    )
