"""Downloads a model from the Hugging Face hub into the library. Imports no torch.

A download lies in a hidden folder until it is whole and every file's hash is what the hub says it
is; only then it takes its place as a model. What has arrived outlives a kill and is gone on with.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import DownloadFailed, InvalidRequest, ModelInvalid, UnsafeFile, Unsupported
from core.events import Notice
from core.files import save_failed
from core.models import curated
from core.models.copying import check_room, discard
from core.models.hub import BEAT_SECONDS, Connection, Interrupted, Repo, read_repo
from core.models.library import Library
from core.models.library_events import Added, LibraryEvent, Meter, Outcome, Progress, Task
from core.models.library_file import Entry
from core.models.library_names import check_name
from core.models.partial_downloads import alone, forget_older, partial_folder, source_of
from core.models.partial_file import PartialFile, size_here
from core.models.repo_files import INDEX, RepoFile, Variant, choose_files
from core.models.safetensors_header import LONGEST as LONGEST_HEADER
from core.models.verdict import judge

TRIES = 6
"""How often one thing is tried while nothing comes of it."""

FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""Seconds between two tries: twice as long each time, up to a limit."""

WORTH_IT = 1 << 20
"""Bytes that make a try count as one from which something came."""

LARGEST_INDEX = 1 << 20

USUAL_HEADER = 1 << 18
"""Bytes of a weight file that are asked for first; most headers are shorter."""

_NOTHING = Progress(task=Task.DOWNLOAD, what="", done=0, total=0, speed=0.0)

_ID = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?:/(?P<file>[\w./ -]+\.safetensors))?")


def download(
    model_id: str, library: Library, *, variant: Variant = Variant.FP16, name: str = ""
) -> Generator[LibraryEvent, None, None]:
    """Download a model; the last event is ``Added``. Closing the iterator stops; what came is kept.

    Args:
        model_id: An id of ``curated.CURATED``, a repository (``owner/name``), or one file of one
            (``owner/name/file.safetensors``).
        library: Where it goes.
        variant: The precision to take where the hub has two.
        name: What to call it; by default after its id.

    Raises:
        InvalidRequest: If that is no id, or the name cannot be had.
        DownloadFailed: If it does not arrive, or not as the hub says it is.
        UnsafeFile: If its weights are pickles only.
        SaveFailed: If there is no room or no right to write.
        ModelInvalid: If it is no sound model; what the headers of its files tell is looked at
            before their weights are fetched.
        Unsupported: If it is of a kind that is not run.
    """
    known = curated.find(model_id)
    match = _ID.fullmatch(known.repo if known else model_id)
    if match is None:
        ids = ", ".join(model.id for model in curated.CURATED)
        raise InvalidRequest(
            "model", f"{model_id!r} is none of {ids}, nor a repository written owner/name."
        )
    check_name(name, {entry.name: entry.path for entry in library.entries()}, library.folder)
    job = _Job(library, variant)
    repo = yield from job.asking(match["repo"])
    source = source_of(repo, match["file"])
    mine = (entry for entry in library.entries() if entry.source == source)
    there = next((e for e in mine if _is_of(e, variant) and not e.missing()), None)
    if there is not None and not name:
        yield Added(entry=there, outcome=Outcome.KNOWN)
        return
    partial = partial_folder(library.folder, source, variant)
    with alone(partial, repo.id):
        forget_older(partial)
        files = yield from job.choosing(repo, match["file"])
        yield from job.fetching(repo, files, partial)
        own_name = known.id if known else Path(match["file"] or repo.id).name
        own_name = own_name.removesuffix(".safetensors")
        try:
            yield from library.adopt(partial, name=own_name, source=source, wish=name)
        except (ModelInvalid, Unsupported, UnsafeFile) as error:
            raise type(error)(
                f"{repo.id} has arrived whole, but cannot be used: {error} It lies in {partial}; "
                "delete that if you have no other use for it."
            ) from error
        if partial.exists():
            discard(partial)


def _is_of(entry: Entry, variant: Variant) -> bool:
    """Tell whether weights will do where this precision is wanted; full ones always do."""
    return variant is Variant.FP16 or not any(".fp16." in file.name for file in entry.files)


@dataclass(slots=True)
class _Job:
    """A download under way.

    Attributes:
        library: Where it goes.
        variant: The precision to take.
        failures: Tries of which nothing came, since one of which something did.
        furthest: How far each file ever came; what only comes again is no progress.
        wrong: Files that arrived once with wrong bytes.
        last: What was reported last.
    """

    library: Library
    variant: Variant
    failures: int = 0
    furthest: dict[str, int] = field(default_factory=dict)
    wrong: set[str] = field(default_factory=set)
    last: Progress = field(default_factory=lambda: _NOTHING)

    def asking(self, repo: str) -> Generator[LibraryEvent, None, Repo]:
        """Ask the hub what a repository holds, again if it is busy."""
        while True:
            try:
                found = read_repo(repo)
            except Interrupted as error:
                yield from self.waiting(error)
            else:
                self.failures = 0
                return found

    def choosing(
        self, repo: Repo, only: str | None
    ) -> Generator[LibraryEvent, None, tuple[RepoFile, ...]]:
        """Choose what to download: one file if one was asked for, else a model's parts."""
        by_name = {file.name: file for file in repo.files}
        if only:
            if only not in by_name:
                raise DownloadFailed(f"{repo.id} has no {only}; check the file's name on the hub.")
            return (dataclasses.replace(by_name[only], alone=True),)
        index = None
        if INDEX in by_name:
            index = yield from self.reading_index(repo, by_name[INDEX])
        return choose_files(repo.id, repo.files, index, self.variant)

    def reading_index(
        self, repo: Repo, file: RepoFile
    ) -> Generator[LibraryEvent, None, dict[str, Any]]:
        """Read the list of a repository's components."""
        text = yield from self.reading(repo, file, min(file.size, LARGEST_INDEX), end=None)
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise DownloadFailed(f"{file.name} of {repo.id} is damaged; choose another repository.")
        return values

    def reading(
        self, repo: Repo, file: RepoFile, size: int, *, end: int | None
    ) -> Generator[LibraryEvent, None, bytes]:
        """Read the first bytes of a file into memory, again if the connection is lost.

        Args:
            repo: Where it is.
            file: The file.
            size: How many bytes.
            end: As of ``Connection``.
        """
        while True:
            data = bytearray()
            try:
                with Connection(repo, file.name, 0, end) as connection:
                    for piece in connection:
                        data += piece
                        if len(data) >= size:
                            break
                        if not piece:
                            yield dataclasses.replace(self.last, speed=0.0)
                if len(data) < size and not connection.ended:
                    raise Interrupted(_cut(repo, file))
            except Interrupted as error:
                yield from self.waiting(error)
                continue
            return bytes(data[:size])

    def foreseeing(
        self, repo: Repo, files: tuple[RepoFile, ...], partial: Path
    ) -> Generator[LibraryEvent, None, None]:
        """Say what a model is before its weights come, from the headers of their files.

        The small files must be here. They and the headers make up a model without weights, which is
        judged like one that lies on the disk. Where there is no room for that, it is judged when it
        has arrived.

        Raises:
            ModelInvalid: If it is no sound model; what was fetched for it is deleted.
            Unsupported: If it is of a kind that is not run; likewise.
            UnsafeFile: If it brings code; likewise.
        """
        with contextlib.suppress(OSError), tempfile.TemporaryDirectory() as place:
            root = Path(place) / repo.id.rpartition("/")[2]
            for file in files:
                target = _target(root, file)
                target.parent.mkdir(parents=True, exist_ok=True)
                if not _is_weights(file):
                    shutil.copyfile(_target(partial, file), target)
                    continue
                header = yield from self.reading_header(repo, file)
                with target.open("wb") as writer:
                    writer.write(header)
                    writer.truncate(file.size)
            try:
                judge(_target(root, files[0]) if files[0].alone else root)
            except (ModelInvalid, Unsupported, UnsafeFile) as error:
                discard(partial)
                said = str(error).replace(f"{root}{os.sep}", f"{repo.id}/")
                raise type(error)(
                    f"{repo.id} is not downloaded: {said.replace(str(root), repo.id)}"
                ) from error

    def reading_header(self, repo: Repo, file: RepoFile) -> Generator[LibraryEvent, None, bytes]:
        """Read the header of a safetensors file, with the eight bytes of its length before it."""
        usual = min(file.size, USUAL_HEADER)
        data = yield from self.reading(repo, file, usual, end=usual)
        size = 8 + int.from_bytes(data[:8], "little")
        if USUAL_HEADER < size <= min(file.size, LONGEST_HEADER):
            data = yield from self.reading(repo, file, size, end=size)
        return data[:size]

    def fetching(
        self, repo: Repo, files: tuple[RepoFile, ...], partial: Path
    ) -> Generator[LibraryEvent, None, None]:
        """Fetch the files that are not here yet."""
        arrived = {file.name: size_here(_target(partial, file), file) for file in files}
        total = sum(file.size for file in files)
        check_room(self.library.folder, total - sum(arrived.values()))
        # Weights that came in an earlier run were looked at there.
        began = any(arrived[file.name] for file in files if _is_weights(file))
        done, is_foreseen = 0, False
        meter = Meter(Task.DOWNLOAD, total, done=sum(arrived.values()))
        for number, file in enumerate(files):
            # Those behind this one count as far as they have come in an earlier run.
            later = sum(arrived[other.name] for other in files[number + 1 :])
            if _is_weights(file) and not began and not is_foreseen:
                yield from self.foreseeing(repo, files, partial)
                is_foreseen = True
            if not _target(partial, file).is_file():
                yield from self.fetching_file(repo, file, partial, meter, done + later)
            done += file.size
        if (progress := meter.at(repo.id, total)) is not None:
            yield progress

    def fetching_file(
        self, repo: Repo, file: RepoFile, partial: Path, meter: Meter, before: int
    ) -> Generator[LibraryEvent, None, None]:
        """Fetch one file, going on where it was left, until its bytes are the right ones."""
        while True:
            part = PartialFile(_target(partial, file), file)
            try:
                with contextlib.closing(part):
                    yield from part.opening()
                    came = yield from self.receiving(repo, part, meter, before)
            except Interrupted as error:
                yield from self.waiting(error)
                continue
            except OSError as error:
                raise save_failed(partial, error) from error
            if came and part.is_right():
                part.finish()
                self.failures = 0
                return
            part.path.unlink(missing_ok=True)
            if file.name in self.wrong:
                raise DownloadFailed(
                    f"{file.name} of {repo.id} arrived twice with other bytes than the hub says it "
                    "has; try again later, or on another network."
                )
            self.wrong.add(file.name)
            yield Notice(message=f"{file.name} arrived damaged and is fetched once more.")

    def receiving(
        self, repo: Repo, part: PartialFile, meter: Meter, before: int
    ) -> Generator[LibraryEvent, None, bool]:
        """Write down what arrives; False if it is more or less than the file can be."""
        start = part.size
        if start == part.file.size:
            return True
        with Connection(repo, part.file.name, start) as connection:
            for piece in connection:
                if piece and part.size == start and connection.starts_at != start:
                    # The server cannot begin in the middle.
                    part.restart()
                    start = 0
                    if connection.starts_at != 0:
                        raise Interrupted(_cut(repo, part.file))
                part.write(piece)
                if part.size > part.file.size:
                    return False
                if part.size >= self.furthest.get(part.file.name, 0) + WORTH_IT:
                    self.furthest[part.file.name], self.failures = part.size, 0
                if (progress := meter.at(part.file.name, before + part.size)) is not None:
                    self.last = progress
                    yield progress
            if connection.ended:
                return False
        if part.size < part.file.size:
            raise Interrupted(_cut(repo, part.file))
        return True

    def waiting(self, error: Interrupted) -> Generator[LibraryEvent, None, None]:
        """Wait before the next try.

        Raises:
            DownloadFailed: If there was no use in the last ones, or the hub wants too long a wait.
        """
        self.failures += 1
        wait = max(error.wait, FIRST_WAIT * 2 ** (self.failures - 1))
        if self.failures >= TRIES or error.wait > LONGEST_WAIT:
            raise error.failure from error
        wait = min(wait, LONGEST_WAIT)
        yield Notice(message=f"{error.failure} Trying again in {wait:.0f} s.")
        end = time.monotonic() + wait
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, BEAT_SECONDS))
            yield dataclasses.replace(self.last, speed=0.0)


def _is_weights(file: RepoFile) -> bool:
    return file.name.endswith(".safetensors")


def _cut(repo: Repo, file: RepoFile) -> DownloadFailed:
    return DownloadFailed(
        f"{file.name} of {repo.id} stopped arriving before its end; try again, what has arrived is "
        "kept."
    )


def _target(partial: Path, file: RepoFile) -> Path:
    """Give where a file goes; one that is a model by itself needs no folders around it."""
    return partial / (Path(file.name).name if file.alone else file.name)
