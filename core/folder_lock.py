"""One process at a time for a folder that is filled. Imports no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from core.errors import InvalidRequest
from core.files import save_failed


@contextmanager
def alone_in(folder: Path, locks: Path, *, work: str) -> Iterator[None]:
    """Keep other processes from a folder while this is open.

    Args:
        folder: What is filled; it need not be there yet.
        locks: Folder that all processes share, in which they lock each other out.
        work: What fills it, for people: ``training``.

    Raises:
        InvalidRequest: If another process is at work there.
        SaveFailed: If the file system refuses.
    """
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    try:
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{name}.lock", timeout=0, thread_local=False)
        lock.acquire()
    except Timeout as error:
        raise InvalidRequest(
            "out",
            f"{folder} is being filled by another {work}; wait for it, or choose another folder.",
        ) from error
    except OSError as error:
        raise save_failed(locks, error) from error
    try:
        yield
    finally:
        lock.release()
