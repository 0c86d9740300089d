"""Downloads and copies that are not whole: where they lie, how they go. Imports no torch."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock

from core.errors import DownloadFailed, ModelMissing, SaveFailed
from core.files import save_failed
from core.models import curated
from core.models.copying import PARTIAL, discard
from core.models.hub import Repo
from core.models.repo_files import Variant

_FOLDER = re.compile(
    re.escape(PARTIAL) + r"(?P<repo>.+?--.+)-[0-9a-f]{40}(?P<file>--.+)?-(?:fp16|full)"
)


_CONFUSED, _DASH = re.compile("--|-/|/-"), "%2D"
"""Dashes in a file's name that would be taken for its slashes, and what then stands for them."""

_COPY = re.compile(re.escape(PARTIAL) + r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialDownload:
    """What has arrived of a download that was stopped.

    Attributes:
        id: What was to be downloaded: ``owner/name``, or ``owner/name/file.safetensors``.
        size: Bytes that have arrived.
        path: The folder that they lie in.
    """

    id: str
    size: int
    path: Path


def source_of(repo: Repo, file: str | None) -> str:
    """Name what is downloaded: ``owner/name@commit``, or one file of that."""
    return f"{repo.id}@{repo.commit}" + (f"/{file}" if file else "")


def partial_folder(folder: Path, source: str, variant: Variant) -> Path:
    """Give where a download lies until it is whole."""
    repo, _, file = source.partition("@")
    if _CONFUSED.search(file):
        file = file.replace("-", _DASH)
    slug = f"{repo}-{file}".replace("/", "--")
    return folder / f"{PARTIAL}{slug}-{variant.value}"


def partial_downloads(folder: Path) -> tuple[PartialDownload, ...]:
    """List the downloads below the data folder that are not whole."""
    found = []
    for path in sorted(folder.glob(f"{PARTIAL}*")):
        if (match := _FOLDER.fullmatch(path.name)) is not None and path.is_dir():
            name = (match["repo"] + (match["file"] or "")).replace("--", "/").replace(_DASH, "-")
            found.append(PartialDownload(id=name, size=_size_of(path), path=path))
    return tuple(found)


def _size_of(folder: Path) -> int:
    """Add up the files of a folder in which another process may be at work."""
    total = 0
    for where, _below, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += Path(where, name).stat().st_size
    return total


def discard_download(folder: Path, model_id: str) -> tuple[PartialDownload, ...]:
    """Delete what has arrived of a download, in every precision and of every commit.

    Args:
        folder: The data folder of models.
        model_id: As it was given to ``download``.

    Returns:
        What is deleted.

    Raises:
        ModelMissing: If nothing has arrived of it.
        DownloadFailed: If another process is downloading it right now.
        SaveFailed: If it cannot be deleted.
    """
    known = curated.find(model_id)
    wanted = known.repo if known else model_id
    there = partial_downloads(folder)
    found = tuple(one for one in there if one.id.casefold() == wanted.casefold())
    if not found:
        others = ", ".join(one.id for one in there) or "nothing"
        raise ModelMissing(
            f"Nothing of {wanted} waits to be gone on with; what does is {others}. A model that "
            "has arrived whole goes by `stepwise models remove`."
        )
    for one in found:
        with alone(one.path, one.id):
            discard(one.path)
    return found


@contextmanager
def alone(partial: Path, repo: str) -> Iterator[None]:
    """Keep other processes from the folder of a download or copy, which need not exist.

    Raises:
        DownloadFailed: If one does.
        SaveFailed: If the folder cannot be written.
    """
    lock = filelock.FileLock(f"{partial}.lock", blocking=False)
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        # Before there is a folder, which would be taken for what a killed process left.
        lock.acquire()
    except filelock.Timeout:
        raise DownloadFailed(
            f"Another Stepwise is downloading {repo} right now; wait for it."
        ) from None
    except OSError as error:
        raise save_failed(partial.parent, error) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            partial.rmdir()  # If nothing came, nothing is left.
        if not partial.exists():
            with contextlib.suppress(OSError):
                Path(lock.lock_file).unlink()
        lock.release()


def forget_older(partial: Path) -> None:
    """Delete what is left of downloads of the same thing at older commits."""

    def without_commit(name: str) -> str:
        return re.sub("-[0-9a-f]{40}-", "-", name)

    for folder in partial.parent.glob(f"{PARTIAL}*"):
        if folder != partial and without_commit(folder.name) == without_commit(partial.name):
            _give_up(folder)


@contextmanager
def place_of_copy(folder: Path) -> Iterator[Path]:
    """Give where a copy may lie until it is whole; what is there in the end is deleted.

    Args:
        folder: The data folder of models.

    Raises:
        SaveFailed: If the folder cannot be written.
    """
    partial = folder / (PARTIAL + secrets.token_hex(8))
    with alone(partial, partial.name):
        try:
            yield partial
        finally:
            if partial.exists():
                discard(partial)


def sweep_copies(folder: Path) -> None:
    """Delete what killed processes left of copies; see ``place_of_copy``."""
    for left in folder.glob(f"{PARTIAL}*"):
        if _COPY.fullmatch(left.name):
            _give_up(left)


def _give_up(folder: Path) -> None:
    """Delete a folder that no other process is at; one that cannot be deleted stays."""
    if folder.is_dir():
        with contextlib.suppress(DownloadFailed, SaveFailed), alone(folder, folder.name):
            discard(folder)
