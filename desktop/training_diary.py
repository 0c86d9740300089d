"""What the window has told of a training, kept beside it: its log, and how it ended."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.training.folder import Folder

log = logging.getLogger(__name__)

FILE_NAME = "diary.jsonl"
"""The file in a training's folder, one JSON object a line."""

MOST_LINES = 2000
"""Lines of the log that are shown and read back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a training ended that may go on.

    Attributes:
        saved: Steps of its latest checkpoint then.
        has_failed: Whether it failed; else the person stopped it.
        message: Why it failed, or empty.
        is_bug: Whether it failed by a fault of the app's own.
    """

    saved: int
    has_failed: bool = False
    message: str = ""
    is_bug: bool = False


class Diary:
    """Takes lines in one thread and writes them in another.

    Nothing is written before the training has made its folder, which a file in it would make look
    taken.
    """

    def __init__(self, root: Path, *, anew: bool) -> None:
        """Begin to write.

        Args:
            root: The training's folder.
            anew: Whether an earlier training's diary there is written over.
        """
        self._folder = Folder(root)
        self._mode = "w" if anew else "a"
        self._rows: deque[dict[str, Any]] = deque()

    def note(self, line: str) -> None:
        """Take a line of the log; a training that had ended goes on."""
        self._rows.append({"line": line})

    def end(self, ended: Ended) -> None:
        """Take down how it ended."""
        self._rows.append({"ended": asdict(ended)})

    def write(self) -> None:
        """Write what was taken. A full disk is logged and does no more harm."""
        if not self._rows or not self._folder.is_begun():
            return
        path = self._folder.root / FILE_NAME
        rows = [self._rows.popleft() for _ in range(len(self._rows))]
        try:
            with path.open(self._mode, encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
        except OSError as error:
            log.warning("%s is not written: %s", path, error)
        self._mode = "a"


def read_diary(root: Path) -> tuple[tuple[str, ...], Ended | None]:
    """Give the log's lines, and how a training ended unless it has gone on since.

    Lines that cannot be read, such as one cut off by a kill, are left out.
    """
    lines: deque[str] = deque(maxlen=MOST_LINES)
    ended: Ended | None = None
    for row in _rows(root / FILE_NAME):
        match row:
            case {"line": str(line)}:
                lines.append(line)
                ended = None
            case {"ended": {"saved": int(saved), "message": str(message)} as values}:
                ended = Ended(
                    saved=saved,
                    has_failed=values.get("has_failed") is True,
                    message=message,
                    is_bug=values.get("is_bug") is True,
                )
    return tuple(lines), ended


def _rows(path: Path) -> Iterator[Any]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            continue
