"""Writing files so that a killed process leaves the old file or the new one. Imports no torch."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from core.errors import SaveFailed

_REASONS = {
    errno.ENOSPC: "has no room left; make some, or",
    errno.EDQUOT: "has no room left for you; make some, or",
    errno.EFBIG: "takes no file of that size;",
    errno.EACCES: "may not be written to;",
    errno.EPERM: "may not be written to;",
    errno.EROFS: "may not be written to;",
    errno.EEXIST: "is a file where a folder should be;",
    errno.ENOTDIR: "lies below a file where a folder should be;",
    errno.ENAMETOOLONG: "is too long a name;",
}


def replace_file(path: Path, data: bytes) -> None:
    """Write ``path``, over an older file if there is one, whole or not at all.

    Raises:
        SaveFailed: Naming the folder and the reason; what was there is unchanged.
    """
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write to, which becomes ``path`` when it is whole; see ``replace_file``.

    It is for what is too much to be held in memory. An error in the ``with`` leaves what was there
    unchanged.

    Raises:
        SaveFailed: Naming the folder and the reason.
    """
    with _beside(path) as temporary, _explained(path.parent):
        with temporary.open("xb") as file:
            yield file
            _sync(file)
        temporary.replace(path)
        _sync_folder(path.parent)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which gets the name ``folder`` when it is whole.

    Whoever fills it writes each file by ``replacing`` or ``replace_file``, so that all of them are
    on the disk before the folder has its name.

    Raises:
        SaveFailed: If something has the name already, or nothing can be written there or within.
    """
    _check_free(folder)
    unfinished = _name_beside(folder)
    with _explained(folder.parent):
        unfinished.mkdir(parents=True)
    try:
        try:
            yield unfinished
        except SaveFailed as error:
            # It names a folder that is hidden, and gone when the person reads of it.
            if isinstance(error.__cause__, OSError):
                raise save_failed(folder.parent, error.__cause__) from error.__cause__
            raise
        with _explained(folder.parent):
            for path in (unfinished, *unfinished.rglob("*")):
                if path.is_dir():
                    _sync_folder(path)
            _check_free(folder)
            unfinished.rename(folder)
            _sync_folder(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def create_file(path: Path, data: bytes) -> None:
    """Write ``path``, whole or not at all, and only if nothing is there yet.

    Raises:
        FileExistsError: Something is there already; of two processes, one gets this.
        SaveFailed: Naming the folder and the reason.
    """
    with _written_beside(path, data) as temporary:
        try:
            _rename_exclusively(temporary, path)
        except FileExistsError:
            raise
        except OSError as error:
            raise save_failed(path.parent, error) from error
        _sync_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Make a folder if it is not there, and make sure that it takes files.

    Raises:
        SaveFailed: Naming the folder and the reason.
    """
    with _written_beside(folder / "probe", b""):
        pass


def save_failed(folder: Path, error: OSError) -> SaveFailed:
    """Say in one sentence why nothing can be written into a folder."""
    reason = _REASONS.get(error.errno or 0, f"cannot be written to ({error.strerror or error});")
    return SaveFailed(f"{folder} {reason} choose another folder.")


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise save_failed(folder, error) from error


@contextmanager
def _written_beside(path: Path, data: bytes) -> Iterator[Path]:
    """Give a temporary file in ``path``'s folder that holds ``data`` on the disk itself."""
    with _beside(path) as temporary:
        with _explained(path.parent), temporary.open("xb") as file:
            file.write(data)
            _sync(file)
        yield temporary


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Give a name in ``path``'s folder that nothing has; a file of that name is removed after."""
    with _explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _name_beside(path)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _name_beside(path: Path) -> Path:
    return path.with_name(f".{secrets.token_hex(8)}.part")


def _check_free(path: Path) -> None:
    if os.path.lexists(path):
        raise SaveFailed(f"{path} is there already; choose another name, or remove it.")


def _sync(file: BinaryIO) -> None:
    """Bring what was written to the disk itself."""
    file.flush()
    os.fsync(file.fileno())


def _rename_exclusively(source: Path, target: Path) -> None:
    """Move a file to a name that nothing has.

    Raises:
        FileExistsError: Something has the name.
        OSError: As the system says.
    """
    if os.name == "nt":
        source.rename(target)  # Windows refuses by itself where POSIX would replace.
        return
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        # No hard links here (exFAT, some network drives): take the name, then fill it.
        target.touch(exist_ok=False)
        try:
            source.replace(target)
        except OSError:
            target.unlink(missing_ok=True)
            raise


def _sync_folder(folder: Path) -> None:
    """Make a new name outlast a power cut, where the system lets folders be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
