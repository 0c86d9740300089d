"""Work on a folder of pictures as iterators of events, for the worker that carries it out."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import SaveFailed
from core.events import Prepared
from core.files import replace_file, save_failed
from core.training.captions import caption_path, is_picture, mask_path, write_caption
from core.training.config_parts import DataSettings
from core.training.pictures import Found, scanning


@dataclass(frozen=True, slots=True)
class Looked:
    """A folder was looked through.

    Attributes:
        settings: Which, and how.
        found: What it holds.
    """

    settings: DataSettings
    found: Found


@dataclass(frozen=True, slots=True)
class Gathered:
    """Pictures were copied into a folder.

    Attributes:
        folder: Which.
        count: How many.
        refused: Names of what was no picture, or was there already.
    """

    folder: Path
    count: int
    refused: tuple[str, ...]


def looking(settings: DataSettings, resolution: int) -> Generator[Prepared | Looked, None, None]:
    """Look through a folder; see ``core.training.pictures.scanning``.

    Raises:
        DatasetInvalid: If nothing in it can be learned from.
    """
    found = yield from scanning(settings, resolution=resolution)
    yield Looked(settings, found)


def writing(captions: Mapping[Path, str]) -> Generator[Prepared, None, None]:
    """Write captions beside their pictures.

    Raises:
        SaveFailed: If one cannot be written; those before it are.
    """
    for number, (picture, text) in enumerate(captions.items(), 1):
        write_caption(picture, text)
        yield Prepared(what="captions", index=number, total=len(captions))


def gathering(paths: Sequence[Path], folder: Path) -> Generator[Prepared | Gathered, None, None]:
    """Copy pictures into a folder, with their captions and masks; nothing there is replaced.

    Raises:
        SaveFailed: If one cannot be copied; those before it are.
    """
    refused, count = [], 0
    for number, path in enumerate(paths, 1):
        target = folder / path.name
        if not is_picture(path) or target.exists():
            refused.append(path.name)
        else:
            for source in (path, caption_path(path), mask_path(path)):
                if source.is_file():
                    _copy(source, folder / source.name)
            count += 1
        yield Prepared(what="pictures", index=number, total=len(paths))
    yield Gathered(folder, count, tuple(refused))


def _copy(source: Path, target: Path) -> None:
    try:
        data = source.read_bytes()
    except OSError as error:
        raise SaveFailed(
            f"{source} cannot be read ({error.strerror or error}); drop the others."
        ) from error
    if target.exists():
        return
    replace_file(target, data)
    try:
        shutil.copystat(source, target)
    except OSError as error:
        raise save_failed(target.parent, error) from error
