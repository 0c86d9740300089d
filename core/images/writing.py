"""Finished pictures on their way to the disk. Imports no torch."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Generator, Mapping
from contextlib import closing
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import assert_never

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.errors import SaveFailed
from core.events import Event, EventStream, ImageReady, Pixels, Saved
from core.files import create_file
from core.images import exif_text, infotext, jpeg_segments, metadata, png_text, xmp
from core.images.formats import PictureFormat
from core.images.lineage import ancestors_of
from core.images.metadata import Description, describe, description_of
from core.images.reading import read_picture

JPEG_QUALITY = 95

_SLUG_BYTES = 60
"""A name may have 255 bytes on most disks; what is copied gathers additions."""


def saved(
    events: EventStream, folder: Path, picture_format: PictureFormat = PictureFormat.PNG
) -> Generator[Event, None, None]:
    """Pass a run's events on and keep its pictures.

    A picture lies on the disk before its ``ImageReady`` is passed on, so that a run stopped there
    loses nothing; ``Saved`` follows. Closing this closes the run.

    Args:
        events: What an engine gives.
        folder: Where the pictures go; made if it is not there.
        picture_format: Which kind of file they become.

    Raises:
        SaveFailed: After the ``ImageReady`` of a picture that cannot be written.
    """
    with closing(events):
        for event in events:
            if not isinstance(event, ImageReady):
                yield event
                continue
            try:
                path = save_picture(event, folder, picture_format)
            except SaveFailed:
                yield event
                raise
            yield event
            yield Saved(path=path, image=event)


def save_picture(
    image: ImageReady, folder: Path, picture_format: PictureFormat = PictureFormat.PNG
) -> Path:
    """Write a picture under a name of its own, with what it takes to make it again.

    Returns:
        ``folder/date-seed-slug.png``, numbered where that name is taken.

    Raises:
        SaveFailed: Naming the folder and the reason; nothing half-written stays.
    """
    stem = file_stem(image, datetime.now().astimezone())
    return create_numbered(folder / stem, encode_picture(image, picture_format), picture_format)


def create_numbered(stem: Path, data: bytes, picture_format: PictureFormat) -> Path:
    """Write a picture's bytes under a name that nothing has yet.

    Args:
        stem: The path without the ending.
        data: What the file holds.
        picture_format: Which kind of file it is.

    Returns:
        The path with its ending, numbered where that name is taken.

    Raises:
        SaveFailed: Naming the folder and the reason; nothing half-written stays.
    """
    path = stem.with_name(f"{stem.name}{picture_format.suffix}")
    for number in itertools.count(2):
        try:
            create_file(path, data)
            break
        except FileExistsError:
            path = stem.with_name(f"{stem.name}-{number}{picture_format.suffix}")
    return path


def encode_picture(image: ImageReady, picture_format: PictureFormat = PictureFormat.PNG) -> bytes:
    """Give the bytes of a picture's file, equal for equal pictures and requests.

    A start picture is read for what it says of its own; see ``lineage.ancestors_of``.
    """
    description = describe(image, ancestors_of(image.request))
    return encode_pixels(image.pixels, description, picture_format)


def encode_pixels(
    pixels: Pixels,
    description: Description | None = None,
    picture_format: PictureFormat = PictureFormat.PNG,
) -> bytes:
    """Give the bytes of a picture file.

    Args:
        pixels: ``(H, W, 3) uint8``; PNG and WebP keep them exactly, JPEG nearly.
        description: The texts to put into it, if any.
        picture_format: Which kind of file.
    """
    picture = Image.fromarray(pixels)
    match picture_format:
        case PictureFormat.PNG:
            return _png(picture, description)
        case PictureFormat.JPEG:
            return _jpeg(picture, description)
        case PictureFormat.WEBP:
            return _webp(picture, description)
        case _:
            assert_never(picture_format)


def converted(path: Path, picture_format: PictureFormat) -> bytes:
    """Give a picture as another kind of file, which says how it was made as the first one does.

    Raises:
        InvalidRequest: Of ``image``, if it cannot be read.
    """
    pixels = np.asarray(read_picture(path, field="image"))
    return encode_pixels(pixels, description_of(path), picture_format)


def _png(picture: Image.Image, description: Description | None) -> bytes:
    texts: dict[str, str] = {}
    if description is not None:
        texts = {
            infotext.KEYWORD: description.parameters,
            metadata.KEYWORD: description.record,
            xmp.KEYWORD: xmp.write_packet(description.source_type),
        }
    return encode_png(picture, {keyword: text for keyword, text in texts.items() if text})


def encode_png(picture: Image.Image, texts: Mapping[str, str]) -> bytes:
    """Give the bytes of a PNG that carries some texts by their keywords."""
    info = PngInfo()
    for keyword, text in texts.items():
        png_text.add_text(info, keyword, text)
    buffer = BytesIO()
    picture.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def _jpeg(picture: Image.Image, description: Description | None) -> bytes:
    """Encode finely, with all colours kept at full size.

    A segment takes 64 KB. Where our record is longer, it goes into an extension of the packet; the
    web UI's text has no such place and is left out.
    """
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    if description is None:
        return buffer.getvalue()
    exif = _exif(description)
    packet = xmp.write_packet(description.source_type, record=description.record).encode()
    extension = b""
    if len(packet) > jpeg_segments.LONGEST_XMP:
        extension = xmp.write_extension(description.record).encode()
        digest = jpeg_segments.digest_of(extension)
        packet = xmp.write_packet(description.source_type, extension=digest).encode()
    return jpeg_segments.with_texts(
        buffer.getvalue(),
        exif=exif if len(exif) <= jpeg_segments.LONGEST_EXIF else b"",
        xmp=packet,
        extension=extension,
    )


def _webp(picture: Image.Image, description: Description | None) -> bytes:
    """Encode without loss."""
    texts: dict[str, bytes] = {}
    if description is not None:
        packet = xmp.write_packet(description.source_type, record=description.record)
        texts = {"exif": _exif(description), "xmp": packet.encode()}
    buffer = BytesIO()
    picture.save(buffer, "WEBP", lossless=True, **texts)
    return buffer.getvalue()


def _exif(description: Description) -> bytes:
    return exif_text.write_exif(description.parameters) if description.parameters else b""


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
