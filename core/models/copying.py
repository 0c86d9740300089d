"""Copies models into the data folder and takes them out of it again. Imports no torch."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from core.errors import CoreError, ModelInvalid, SaveFailed
from core.files import save_failed
from core.models.exported import PACKAGES
from core.models.fingerprint import PIECE
from core.models.library_events import Meter, Progress, Task
from core.models.lone_folder import ADAPTER_CONFIG
from core.models.lora_keys import PEFT_ROOT
from core.models.tensor_list import read_tensors
from core.paths import is_dir, is_file

PARTIAL, DISCARDED = ".partial-", ".removed-"
"""How the names of folders begin that are not whole yet, or no longer; they are no models."""

KEPT_SUFFIXES = (".safetensors", ".json", ".txt", ".model")
"""What a model is made of: weights, configurations, and the tokenizers' lists."""

SPARE = 64 << 20
"""Bytes that a disk should have left in the end."""


def check_room(
    folder: Path, size: int, *, remedy: str = "keep the data on another disk (--profile)"
) -> None:
    """Make a folder if it is not there, and make sure that so many bytes fit on its disk.

    Args:
        folder: The folder.
        size: The bytes.
        remedy: What else to do than to make room.

    Raises:
        SaveFailed: Saying how much is needed and how much there is.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise save_failed(folder, error) from error
    if free < size + SPARE:
        raise SaveFailed(
            f"{folder} needs {format_size(size + SPARE)} and has {format_size(free)} free; make "
            f"room, or {remedy}."
        )


def format_size(size: float) -> str:
    """Write a number of bytes for people: ``"4.3 GB"``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"


def files_of_model(path: Path) -> tuple[Path, ...]:
    """Give the files that make up a model, a file itself or a folder's, in order of name.

    Links are followed, to folders too, but for those that lead back to where they are. What is
    hidden is left out, and so is what cannot be looked into. Pickles are a folder's weights where
    it has no others. With a LoRA that peft saved goes the
    file beside it that has its scale.
    """
    if not path.is_file():
        return tuple(sorted(_below(path, frozenset())))
    beside = path.with_name(ADAPTER_CONFIG)
    return (path, beside) if is_file(beside) and _is_of_peft(path) else (path,)


def _below(folder: Path, above: frozenset[str], *, whole: bool = False) -> Iterator[Path]:
    """Give a folder's files.

    Args:
        folder: The folder.
        above: The real places of the folders that it is in.
        whole: Whether it lies in a part of an exported model, all of whose files are needed.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    items: list[Path] = []
    with contextlib.suppress(OSError):
        items = [item for item in folder.iterdir() if not item.name.startswith(".")]
    for item in items:
        if is_dir(item):
            yield from _below(item, above | {real}, whole=whole or item.suffix in PACKAGES)
        elif (whole or item.suffix in KEPT_SUFFIXES) and is_file(item):
            yield item
    pickles = [item for item in items if item.suffix == ".bin" and is_file(item)]
    if not whole and not any(item.suffix == ".safetensors" for item in items):
        yield from pickles


def _is_of_peft(path: Path) -> bool:
    try:
        return any(name.startswith(PEFT_ROOT) for name in read_tensors(path).tensors)
    except CoreError:
        return False


def copying(
    source: Path, target: Path, sha256: Mapping[Path, str]
) -> Generator[Progress, None, None]:
    """Copy a model to ``target``, which is removed again if the copy does not become whole.

    Args:
        source: A file, or a folder of which only ``files_of_model`` are copied.
        target: A folder that is not there yet; a file is copied into it.
        sha256: Hashes that the copies of some files must have, all of which must be copied.

    Raises:
        ModelInvalid: If a file cannot be read, changes meanwhile, or is hidden.
        SaveFailed: If there is no room or no right to write.
    """
    files = files_of_model(source)
    base = source.parent if source.is_file() else source
    if left := sorted(sha256.keys() - set(files)):
        raise ModelInvalid(
            f"{left[0]} is a part of the model, but hidden by its name, and hidden files are not "
            "copied; rename it, or add the model without --copy."
        )
    try:
        total = sum(file.stat().st_size for file in files)
    except OSError as error:
        raise _unreadable(source, error) from error
    check_room(target.parent, total)
    meter, done, whole = Meter(Task.COPY, total), 0, False
    try:
        for file in files:
            digest = hashlib.sha256()
            for piece in _copying_file(file, target / file.relative_to(base)):
                digest.update(piece)
                done += len(piece)
                if (progress := meter.at(file.name, done)) is not None:
                    yield progress
            if sha256.get(file, digest.hexdigest()) != digest.hexdigest():
                raise ModelInvalid(f"{file} changed while it was copied; add it once it is whole.")
        whole = True
    finally:
        if not whole:
            shutil.rmtree(target, ignore_errors=True)


def discard(folder: Path) -> None:
    """Delete a file or folder of the data folder, at once out of sight even if killed meanwhile.

    Raises:
        SaveFailed: If it cannot be.
    """
    hidden = folder.with_name(DISCARDED + secrets.token_hex(8))
    try:
        with contextlib.suppress(FileNotFoundError):
            folder.rename(hidden)
    except OSError as error:
        raise SaveFailed(
            f"{folder} cannot be deleted ({error.strerror or error}); close what uses it."
        ) from error
    for leftover in hidden.parent.glob(f"{DISCARDED}*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _copying_file(source: Path, target: Path) -> Generator[bytes, None, None]:
    """Copy one file, giving its bytes as they go by."""
    try:
        reader = source.open("rb")
    except OSError as error:
        raise _unreadable(source, error) from error
    with reader:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as writer:
                while piece := _read(reader, source):
                    writer.write(piece)
                    yield piece
                writer.flush()
                os.fsync(writer.fileno())
        except OSError as error:
            raise save_failed(target.parent, error) from error


def _read(reader: BinaryIO, source: Path) -> bytes:
    try:
        return reader.read(PIECE)
    except OSError as error:
        raise _unreadable(source, error) from error


def _unreadable(source: Path, error: OSError) -> ModelInvalid:
    return ModelInvalid(f"{source} cannot be read ({error.strerror or error}); try another copy.")
