"""Finished pictures on their way to the disk. Imports no torch."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Generator
from contextlib import closing
from datetime import datetime
from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.errors import SaveFailed
from core.events import Event, EventStream, ImageReady, Pixels, Saved
from core.files import create_file
from core.images.metadata import describe

_SLUG_BYTES = 60
"""A name may have 255 bytes on most disks; what is copied gathers additions."""


def saved(events: EventStream, folder: Path) -> Generator[Event, None, None]:
    """Pass a run's events on and keep its pictures.

    A picture lies on the disk before its ``ImageReady`` is passed on, so that a run stopped there
    loses nothing; ``Saved`` follows. Closing this closes the run.

    Args:
        events: What an engine gives.
        folder: Where the pictures go; made if it is not there.

    Raises:
        SaveFailed: After the ``ImageReady`` of a picture that cannot be written.
    """
    with closing(events):
        for event in events:
            if not isinstance(event, ImageReady):
                yield event
                continue
            try:
                path = save_picture(event, folder)
            except SaveFailed:
                yield event
                raise
            yield event
            yield Saved(path=path, image=event)


def save_picture(image: ImageReady, folder: Path) -> Path:
    """Write a picture as PNG, under a name of its own, with what it takes to make it again.

    Returns:
        ``folder/date-seed-slug.png``, numbered where that name is taken.

    Raises:
        SaveFailed: Naming the folder and the reason; nothing half-written stays.
    """
    data = encode_png(image)
    stem = file_stem(image, datetime.now().astimezone())
    path = folder / f"{stem}.png"
    for number in itertools.count(2):
        try:
            create_file(path, data)
            break
        except FileExistsError:
            path = folder / f"{stem}-{number}.png"
    return path


def encode_png(image: ImageReady) -> bytes:
    """Give the bytes of a PNG of the picture, equal for equal pictures and requests."""
    return encode_pixels(image.pixels, describe(image))


def encode_pixels(pixels: Pixels, texts: PngInfo | None = None) -> bytes:
    """Give the bytes of a PNG of ``(H, W, 3) uint8`` pixels."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=texts)
    return buffer.getvalue()


def file_stem(image: ImageReady, when: datetime) -> str:
    """Name a picture by time, seed and the beginning of its prompt.

    The name is one for every system: it has no character that one of them forbids, no device name
    (it begins with a digit), no trailing dot, and is far below their lengths.
    """
    slug = _slug(image.request.prompt_of(image.picture))
    return f"{when:%Y%m%d-%H%M%S}-{image.seed}" + (f"-{slug}" if slug else "")


def _slug(text: str) -> str:
    """Give letters, digits and marks of any script, composed and small, in runs joined by ``-``."""
    composed = unicodedata.normalize("NFC", text[: 4 * _SLUG_BYTES].lower())
    kept = (letter if unicodedata.category(letter)[0] in "LMN" else "-" for letter in composed)
    joined = re.sub("-+", "-", "".join(kept)).strip("-")
    return joined.encode()[:_SLUG_BYTES].decode(errors="ignore").strip("-")
