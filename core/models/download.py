"""Downloads a model from the Hugging Face hub into the library. Imports no torch.

A download lies in a hidden folder until it is whole and every file's hash is what the hub says it
is; only then it takes its place as a model. What has arrived outlives a kill and is gone on with.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from core.errors import DownloadFailed, InvalidRequest, ModelInvalid, UnsafeFile, Unsupported
from core.events import Notice
from core.files import save_failed
from core.models import curated
from core.models.copying import PARTIAL, check_room, discard
from core.models.hub import BEAT_SECONDS, Connection, Interrupted, Repo, read_repo
from core.models.library import Library
from core.models.library_events import Added, LibraryEvent, Meter, Outcome, Progress, Task
from core.models.library_names import check_name
from core.models.partial_file import PartialFile, size_here
from core.models.repo_files import INDEX, RepoFile, Variant, choose_files

TRIES = 6
"""How often one thing is tried while nothing comes of it."""

FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
"""Seconds between two tries: twice as long each time, up to a limit."""

WORTH_IT = 1 << 20
"""Bytes that make a try count as one from which something came."""

LARGEST_INDEX = 1 << 20

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
        ModelInvalid: If it arrived whole and is no sound model.
        Unsupported: If it arrived whole and is of a kind that is not run.
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
    source = f"{repo.id}@{repo.commit}" + (f"/{match['file']}" if match["file"] else "")
    there = next((e for e in library.entries() if e.source == source and not e.missing()), None)
    if there is not None and not name:
        yield Added(entry=there, outcome=Outcome.KNOWN)
        return
    slug = source.replace("/", "--").replace("@", "-")
    partial = library.folder / f"{PARTIAL}{slug}-{variant.value}"
    with _alone(partial, repo.id):
        _forget_older(partial)
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


@contextmanager
def _alone(partial: Path, repo: str) -> Iterator[None]:
    """Keep other processes from downloading the same thing meanwhile."""
    lock = filelock.FileLock(f"{partial}.lock", blocking=False)
    try:
        partial.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise DownloadFailed(
            f"Another Stepwise is downloading {repo} right now; wait for it."
        ) from None
    except OSError as error:
        raise save_failed(partial, error) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            partial.rmdir()  # If nothing came, nothing is left.
        if not partial.exists():
            with contextlib.suppress(OSError):
                Path(lock.lock_file).unlink()
        lock.release()


def _forget_older(partial: Path) -> None:
    """Delete what is left of downloads of the same thing at older commits."""

    def without_commit(name: str) -> str:
        return re.sub("-[0-9a-f]{40}-", "-", name)

    for folder in partial.parent.glob(f"{PARTIAL}*"):
        same = without_commit(folder.name) == without_commit(partial.name)
        if same and folder != partial and folder.is_dir():
            with contextlib.suppress(DownloadFailed), _alone(folder, folder.name):
                discard(folder)


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
        while True:
            text = b""
            try:
                with Connection(repo, file.name, 0) as connection:
                    for piece in connection:
                        text += piece
                        if len(text) > LARGEST_INDEX:
                            break
                values = json.loads(text)
            except Interrupted as error:
                yield from self.waiting(error)
                continue
            except (ValueError, RecursionError):
                values = None
            if isinstance(values, dict):
                return values
            raise DownloadFailed(f"{file.name} of {repo.id} is damaged; choose another repository.")

    def fetching(
        self, repo: Repo, files: tuple[RepoFile, ...], partial: Path
    ) -> Generator[LibraryEvent, None, None]:
        """Fetch the files that are not here yet."""
        arrived = {file.name: size_here(_target(partial, file), file) for file in files}
        total = sum(file.size for file in files)
        check_room(self.library.folder, total - sum(arrived.values()))
        done = 0
        meter = Meter(Task.DOWNLOAD, total, done=sum(arrived.values()))
        for number, file in enumerate(files):
            # Those behind this one count as far as they have come in an earlier run.
            later = sum(arrived[other.name] for other in files[number + 1 :])
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


def _cut(repo: Repo, file: RepoFile) -> DownloadFailed:
    return DownloadFailed(
        f"{file.name} of {repo.id} stopped arriving before its end; try again, what has arrived is "
        "kept."
    )


def _target(partial: Path, file: RepoFile) -> Path:
    """Give where a file goes; one that is a model by itself needs no folders around it."""
    return partial / (Path(file.name).name if file.alone else file.name)
