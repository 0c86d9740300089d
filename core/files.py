"""Writing files so that a killed process leaves the old file or the new one. Imports no torch."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    with _written_beside(path, data) as temporary, _explained(path.parent):
        temporary.replace(path)
        _sync_folder(path.parent)


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
    with _explained(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with _explained(path.parent), temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


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
