"""``metadata.jsonl``: a folder's captions in one file. Imports no torch.

Each line is a JSON object with ``file_name`` and ``text``, as Hugging Face's ``imagefolder`` has it
(https://huggingface.co/docs/datasets/image_dataset).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeGuard

METADATA = "metadata.jsonl"


@dataclass(frozen=True, slots=True)
class Line:
    """A picture and what it shows.

    Attributes:
        picture: Its file, within the folder.
        text: Its caption, on one line.
    """

    picture: Path
    text: str


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is left out.

    Attributes:
        reason: What is wrong with it; its subject is the file.
    """

    reason: str


def read_lines(folder: Path) -> Iterator[Line | BadLine]:
    """Read a folder's captions; nothing if it has no such file."""
    try:
        raw = (folder / METADATA).read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        yield BadLine(f"cannot be opened ({error.strerror or error}).")
        return
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if line.strip():
            yield _read(folder, number, line)


def _read(folder: Path, number: int, line: bytes) -> Line | BadLine:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return BadLine(f"has no JSON in line {number}.")
    name = values.get("file_name") if isinstance(values, dict) else None
    text = values.get("text") if isinstance(values, dict) else None
    if not _is_text(name) or not _is_text(text) or not name or "\0" in name:
        return BadLine(f"has no object with the texts file_name and text in line {number}.")
    if PureWindowsPath(name).anchor or PurePosixPath(name).is_absolute() or ".." in _parts(name):
        return BadLine(f"names a file outside of its folder in line {number}: {name}.")
    picture = folder.joinpath(name)
    try:
        is_there = picture.is_file()
    except OSError:
        is_there = False
    if not is_there:
        return BadLine(f"names {name} in line {number}, which is not there.")
    return Line(picture, " ".join(text.split()))


def _is_text(value: object) -> TypeGuard[str]:
    """Say whether this is a text, and one that can be written: JSON allows half a character."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parts(name: str) -> set[str]:
    return {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
