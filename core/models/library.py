"""The user's models on disk: added, listed, found again, checked and removed. Imports no torch.

Used where they lie, or copied into the data folder, as the user says. Each is named, and known by
the hash of its weights, which is computed once and kept.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
from collections.abc import Collection, Generator, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from core.errors import ModelInvalid, ModelMissing, Unsupported
from core.files import save_failed
from core.models import catalog, curated, library_check
from core.models.copying import copying, discard
from core.models.curated import Curated
from core.models.fingerprint import Fingerprints, combined_sha256
from core.models.folder_files import settings_in
from core.models.hub_cache import find_cached
from core.models.library_events import (
    Added,
    Checked,
    LibraryEvent,
    Meter,
    Outcome,
    Progress,
    Removed,
    Task,
)
from core.models.library_file import Entry, LibraryFile, WeightFile
from core.models.library_names import check_name, free_name, name_of, plain_name, slug
from core.models.names import Resolver, gone
from core.models.partial_downloads import place_of_copy, sweep_copies
from core.models.verdict import Kind, Verdict, judge
from core.paths import Profile, expanded, is_dir


class Library:
    """The models of one profile. Any number of processes may use it at once.

    It holds nothing in memory, so that every process sees what the others did. What takes long is
    an iterator of events; closing it stops the work and leaves nothing half done.
    """

    def __init__(self, profile: Profile) -> None:
        """Use the library in a profile, of which nothing need exist yet."""
        self.folder = profile.models
        self.fingerprints = Fingerprints.kept_in(profile.cache)
        self._file = LibraryFile(profile.library_file, profile.models)

    def entries(self) -> tuple[Entry, ...]:
        """Give all entries in the order of their being added, those that are missing included.

        Raises:
            ModelInvalid: If the list is damaged.
        """
        return self._file.read()

    def models(self) -> Mapping[str, Path]:
        """Give the paths of those that can make pictures, by name; see ``catalog.Shelf``.

        Raises:
            ModelInvalid: If the list is damaged.
        """
        return {entry.name: entry.path for entry in self.entries() if entry.kind is Kind.MODEL}

    def known(self, path: Path) -> Curated | None:
        """Give what our own list says of the model that lies there; see ``catalog.Shelf``.

        Raises:
            ModelInvalid: If the list is damaged.
        """
        sources = (e.source for e in self.entries() if path in (e.path, e.path.resolve()))
        return curated.find(next(sources, "").partition("@")[0])

    def finder(self, kind: Kind) -> Resolver:
        """Give what finds the file of a LoRA or an embedding by its name in a prompt.

        That is the entry's name, or else its file's, as other programs have it, signs and spaces
        included. Names are compared without regard to small and capital letters. What it gives
        raises ``ModelInvalid`` if the list is damaged, ``ModelMissing`` if the file has gone.
        """

        def find(name: str) -> Path | None:
            entries = [entry for entry in self.entries() if entry.kind is kind]
            by_name = [entry for entry in entries if entry.name.casefold() == name.casefold()]
            if not by_name and (plain := plain_name(name)):
                by_name = [entry for entry in entries if plain_name(entry.path.name) == plain]
                by_name.sort(key=lambda entry: bool(entry.missing()))
            if not by_name:
                return None
            if by_name[0].missing():
                raise gone(kind.noun, by_name[0].name, by_name[0].path)
            return by_name[0].path

        return find

    def get(self, name: str) -> Entry:
        """Give the entry of a name, in small or capital letters.

        Raises:
            ModelMissing: If there is none.
            ModelInvalid: If the list is damaged.
        """
        entries = self.entries()
        for entry in entries:
            if entry.name.casefold() == name.casefold():
                return entry
        known = ", ".join(entry.name for entry in entries) or "nothing so far"
        raise ModelMissing(
            f"There is no {name!r} in the library, which has {known}; add it by its path."
        )

    def of_hash(self, sha256: str) -> tuple[Entry, ...]:
        """Give the entries whose hash begins so, the AutoV2 hash for one.

        Raises:
            ModelInvalid: If the list is damaged.
        """
        return tuple(entry for entry in self.entries() if entry.sha256.startswith(sha256.lower()))

    def duplicates(self) -> tuple[tuple[Entry, ...], ...]:
        """Give the groups of entries that have the same bytes and the same settings.

        Raises:
            ModelInvalid: If the list is damaged.
        """
        groups: list[list[Entry]] = []
        for entry in self.entries():
            for group in groups:
                if group[0].sha256 == entry.sha256 and _are_alike(group[0].path, entry.path):
                    group.append(entry)
                    break
            else:
                groups.append([entry])
        return tuple(tuple(group) for group in groups if len(group) > 1)

    def add(
        self,
        path: Path,
        *,
        copy: bool = False,
        own: bool = False,
        name: str = "",
        source: str = "",
    ) -> Generator[LibraryEvent, None, None]:
        """Add a model that lies on this machine; the last event is ``Added``.

        One that is in the library already, by its bytes and its settings, is not added a second
        time unless another name is given for it. One that had gone from its place is found again.

        Args:
            path: A file or a folder.
            copy: Whether to copy it into the data folder, instead of using it where it lies.
            own: Whether it was made for the library, so that its files go with it if they lie in
                the data folder.
            name: What to call it; by default made of the file's own name.
            source: Where it is from (``"owner/name@commit"``), if that is known.

        Raises:
            ModelMissing: If nothing is there.
            ModelInvalid: If it is damaged, or the list is.
            Unsupported: If it is of a kind that is not run.
            UnsafeFile: If it brings code.
            InvalidRequest: If the name cannot be had.
            SaveFailed: If something cannot be written.
        """
        path = expanded(path).absolute()
        sweep_copies(self.folder)
        check_name(name, {} if not name else {e.name: e.path for e in self.entries()}, path)
        verdict = judge(path)
        files = yield from self._hashing(verdict)
        shown = source.partition("@")[0].rpartition("/")[2] or name_of(path)
        found = _entry_of(verdict, files, name=name or shown, source=source)
        found = dataclasses.replace(found, owned=own and self.folder in path.parents)
        yield from self._reading_twins(found)
        if not copy:
            yield self._put(found, wish=name)
            return
        with place_of_copy(self.folder) as partial:
            yield from copying(found.path, partial, {found.place_of(f): f.sha256 for f in files})
            inside = partial / found.path.name if found.is_file else partial
            yield self._put(dataclasses.replace(found, path=inside), wish=name, partial=partial)

    def add_cached(
        self, repo: str, *, copy: bool = False, name: str = ""
    ) -> Generator[LibraryEvent, None, None]:
        """Add what the Hugging Face cache holds of a repository; see ``add``. No network is used.

        Raises:
            ModelMissing: If the cache holds nothing of it.
        """
        cached = find_cached(repo)
        yield from self.add(cached.path, copy=copy, name=name, source=cached.source)

    def adopt(
        self, partial: Path, *, name: str, source: str, wish: str = ""
    ) -> Generator[LibraryEvent, None, None]:
        """Take a folder within the data folder for a model; the last event is ``Added``.

        Args:
            partial: A folder whole and verified, directly below ``folder``. If it holds but one
                file, that is the model.
            name: What to call it if that is free.
            source: Where it is from.
            wish: What it must be called instead, if anything.

        Raises:
            CoreError: See ``add``; the folder is left as it is.
        """
        inside = [item for item in partial.iterdir() if not item.name.startswith(".")]
        path = inside[0] if len(inside) == 1 and inside[0].is_file() else partial
        verdict = judge(path)
        files = yield from self._hashing(verdict)
        found = _entry_of(verdict, files, name=wish or name, source=source)
        yield from self._reading_twins(found)
        yield self._put(found, wish=wish, partial=partial)

    def verify(
        self, names: Collection[str] = (), *, search: Iterable[Path] = ()
    ) -> Generator[Progress | Checked, None, None]:
        """Read every byte again and hold it against what is kept; look for what is missing.

        Args:
            names: Which entries; all by default.
            search: Folders to look through for missing ones, beside those near the old place.

        Yields:
            Progress, and ``Checked`` once for each entry.

        Raises:
            ModelMissing: If there is no entry of a name.
            ModelInvalid: If the list is damaged.
            SaveFailed: If a new place cannot be noted.
        """
        chosen = [self.get(name) for name in names] if names else self.entries()
        folders = [expanded(folder).absolute() for folder in search]
        for entry in chosen:
            checked = yield from library_check.checking(entry, folders, self.fingerprints)
            if checked.entry != entry:
                self._replace(entry, checked.entry)
            yield checked

    def remove(self, name: str) -> Removed:
        """Take a model out of the library.

        Its files are deleted if they were copied or downloaded into the data folder; files that
        were only referred to stay.

        Raises:
            ModelMissing: If there is no entry of that name.
            Unsupported: If it is a model that ships with the app.
            ModelInvalid: If the list is damaged.
            SaveFailed: If it cannot be written or deleted.
        """
        if name in catalog.SHIPPED:
            raise Unsupported(f"The model {name} comes with Stepwise and cannot be removed.")
        sweep_copies(self.folder)
        name = self.get(name).name
        with self._file.changing() as entries:
            entry = entries.pop(name, None)
            if entry is None:
                raise ModelMissing(f"{name} was removed by another Stepwise meanwhile.")
            home = self._home_of(entry)
            shared = any(self._home_of(other) == home for other in entries.values())
            if deleted := home is not None and not shared:
                assert home is not None
                discard(home)
        return Removed(entry=entry, deleted=deleted)

    def _home_of(self, entry: Entry) -> Path | None:
        """Give what lies directly in the data folder and holds an owned entry."""
        if not entry.owned:
            return None
        # ``..`` in a file that somebody edited must not lead out of the folder.
        path, folder = Path(os.path.normpath(entry.path)), Path(os.path.normpath(self.folder))
        if folder not in path.parents:
            return None
        return folder / path.relative_to(folder).parts[0]

    def _hashing(self, verdict: Verdict) -> Generator[Progress, None, tuple[WeightFile, ...]]:
        """Hash the files of a model, or remember their hashes."""
        sizes = {path: _size_of(path) for path in verdict.files}
        meter, before, files = Meter(Task.HASH, sum(sizes.values())), 0, []
        for path, size in sizes.items():
            sha256 = self.fingerprints.known(path)
            if sha256 is None:
                sha256 = yield from library_check.hashing(path, self.fingerprints, meter, before)
            before += size
            name = "" if path == verdict.path else path.relative_to(verdict.path).as_posix()
            files.append(WeightFile(name=name, size=size, sha256=sha256))
        return tuple(files)

    def _reading_twins(self, found: Entry) -> Generator[Progress, None, None]:
        """Read again what is noted with an entry's hash and may have been overwritten since."""
        for twin in self.entries():
            if twin.sha256 == found.sha256 and not twin.missing() and not self._is_sound(twin):
                yield from library_check.reading(twin, self.fingerprints)

    def _is_sound(self, entry: Entry) -> bool:
        """Say whether an entry's files are remembered to hold the bytes that are noted of them."""
        places = {entry.place_of(file): file.sha256 for file in entry.files}
        try:
            return all(self.fingerprints.known(path) == sha for path, sha in places.items())
        except ModelInvalid:  # It went this moment.
            return False

    def _put(self, found: Entry, *, wish: str, partial: Path | None = None) -> Added:
        """Put an entry into the list, and its folder into its place, if it is not there yet.

        Args:
            found: The entry; its name is made unique.
            wish: The name that it must have, if any.
            partial: The folder of the data folder that becomes its own.
        """
        with self._file.changing() as entries:
            twins = [entry for entry in entries.values() if entry.sha256 == found.sha256]
            there = _at(found.path, entries.values()) if partial is None else None
            gone = next((twin for twin in twins if twin.missing()), None)
            twins = [twin for twin in twins if self._is_sound(twin)]
            same = [twin for twin in twins if _are_alike(twin.path, found.path)]
            if there is not None and wish in ("", there.name):
                added = _refreshed(there, found)
            elif gone is not None and not wish:
                added = self._renewed(gone, found, partial, Outcome.FOUND_AGAIN)
            elif same and not wish and (partial is None or same[0].owned):
                added = Added(entry=same[0], outcome=Outcome.KNOWN)
            elif same and not wish:
                added = self._renewed(same[0], found, partial, Outcome.UPDATED)
            else:
                check_name(wish, {e.name: e.path for e in entries.values()}, found.path)
                named = dataclasses.replace(found, name=free_name(found.name, entries))
                same_as = tuple(twin.name for twin in twins)
                added = Added(
                    entry=self._settled(named, partial), outcome=Outcome.NEW, same_as=same_as
                )
            entries[added.entry.name] = added.entry
        if partial is not None and added.outcome is not Outcome.KNOWN:
            # Its files were hashed where they lay until now.
            for file in added.entry.files:
                self.fingerprints.remember(added.entry.place_of(file), file.sha256)
        return added

    def _renewed(self, entry: Entry, found: Entry, partial: Path | None, outcome: Outcome) -> Added:
        """Let an entry be what was found now, under the name that it has."""
        now = dataclasses.replace(found, name=entry.name, added=entry.added)
        return Added(entry=self._settled(now, partial), outcome=outcome)

    def _settled(self, entry: Entry, partial: Path | None) -> Entry:
        """Rename a partial folder to what the entry is called."""
        if partial is None:
            return entry
        home = self.folder / entry.name
        if home.exists():
            home = self.folder / f"{entry.name}-{secrets.token_hex(4)}"
        try:
            partial.rename(home)
        except OSError as error:
            raise save_failed(home, error) from error
        return dataclasses.replace(entry, path=home / entry.path.relative_to(partial), owned=True)

    def _replace(self, old: Entry, new: Entry) -> None:
        """Note what a check found, unless the entry was changed or removed meanwhile."""
        with self._file.changing() as entries:
            if entries.get(old.name) == old:
                entries[old.name] = new


def _entry_of(verdict: Verdict, files: tuple[WeightFile, ...], *, name: str, source: str) -> Entry:
    hashes = dict(zip(verdict.files, (file.sha256 for file in files), strict=True))
    return Entry(
        name=slug(name) or "model",
        title=verdict.title,
        kind=verdict.kind,
        family=verdict.family,
        path=verdict.path,
        owned=False,
        files=files,
        sha256=combined_sha256(verdict.weights, hashes.__getitem__),
        precision=verdict.precision,
        source=source,
        added=datetime.now(UTC).date().isoformat(),
    )


def _at(path: Path, entries: Iterable[Entry]) -> Entry | None:
    """Give the entry that lies at a path, however that is written."""
    real = os.path.realpath(path)
    return next((entry for entry in entries if os.path.realpath(entry.path) == real), None)


def _are_alike(one: Path, other: Path) -> bool:
    """Whether what has the same weights works the same, by its settings; a file has none."""
    return not (is_dir(one) and is_dir(other)) or settings_in(one) == settings_in(other)


def _refreshed(there: Entry, found: Entry) -> Added:
    """Hold an entry against what now lies at its place."""
    now = dataclasses.replace(
        there,
        title=found.title,
        precision=found.precision,
        kind=found.kind,
        family=found.family,
        files=found.files,
        sha256=found.sha256,
    )
    return Added(entry=now, outcome=Outcome.KNOWN if now == there else Outcome.UPDATED)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise ModelInvalid(
            f"{path} cannot be read ({error.strerror or error}); add the model once it is whole."
        ) from error
