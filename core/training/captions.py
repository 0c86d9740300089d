"""Folders of pictures, each with a caption beside it in a text file. Imports no torch."""

from __future__ import annotations

import re
from pathlib import Path

from core.errors import DatasetInvalid
from core.files import replace_file
from core.paths import is_dir, is_file

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".gif")
"""How the names of files end that are taken for pictures, in small or capital letters."""

MASK = ".mask.png"
"""How the name of a file ends that says where another picture is learned."""

REPEATED = re.compile(r"(\d+)_(.+)")
"""The name of a folder within a folder of pictures: how often each picture of it is shown, and what
they all show, as in kohya-ss's sd-scripts (https://github.com/kohya-ss/sd-scripts)."""


def picture_folders(folder: Path) -> tuple[Path, ...]:
    """Give a folder and those within it that are named like ``10_red star``, by name.

    Raises:
        DatasetInvalid: If the folder is not there or cannot be listed.
    """
    return (
        folder,
        *(path for path in contents(folder) if REPEATED.fullmatch(path.name) and is_dir(path)),
    )


def picture_paths(folder: Path) -> tuple[Path, ...]:
    """List a folder's files that are pictures by their names, by name.

    Hidden ones and masks are left out.

    Raises:
        DatasetInvalid: If the folder is not there or cannot be listed.
    """
    return tuple(path for path in contents(folder) if is_picture(path) and is_file(path))


def is_picture(path: Path) -> bool:
    """Say whether a file's name is that of a picture to be learned from, not of a mask."""
    return path.suffix.lower() in SUFFIXES and not is_mask(path)


def is_mask(path: Path) -> bool:
    """Say whether a file's name is that of a mask."""
    return path.name.lower().endswith(MASK)


def mask_path(picture: Path) -> Path:
    """Give the file that holds a picture's mask: its own name, ending in ``.mask.png``."""
    return picture.with_suffix(MASK)


def caption_path(picture: Path) -> Path:
    """Give the file that holds a picture's caption: its own name, ending in ``.txt``."""
    return picture.with_suffix(".txt")


def read_caption(picture: Path) -> str | None:
    """Read the caption beside a picture, on one line; None if there is no such file.

    Raises:
        DatasetInvalid: If the file is there and cannot be read as text.
    """
    path = caption_path(picture)
    try:
        return " ".join(path.read_text(encoding="utf-8-sig").split())
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = error.strerror or error
        raise DatasetInvalid(f"{path} cannot be opened ({reason}); choose another file.") from error
    except UnicodeDecodeError as error:
        raise DatasetInvalid(f"{path} is no text in UTF-8; save it anew in that.") from error


def write_caption(picture: Path, text: str) -> Path:
    """Write the caption beside a picture, over an older one, whole or not at all.

    Returns:
        The file.

    Raises:
        SaveFailed: If it cannot be written; what was there is unchanged.
    """
    path = caption_path(picture)
    replace_file(path, f"{text}\n".encode())
    return path


def contents(folder: Path) -> list[Path]:
    """Give what lies in a folder and is not hidden, by name.

    Raises:
        DatasetInvalid: If the folder is not there or cannot be listed.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        reason = error.strerror or error
        raise DatasetInvalid(
            f"{folder} cannot be listed ({reason}); give a folder of pictures."
        ) from error
