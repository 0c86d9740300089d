"""All texts inside a picture file by one set of names, whatever the container. Imports no torch.

A PNG's texts have their own keywords; those of EXIF and XMP have the names that ``exif_text`` and
``xmp`` give them; the rest is named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core.images import exif_text, iptc, png_text, xmp
from core.images.jpeg_segments import read_jpeg
from core.images.loose_json import json_object
from core.images.reading import check_is_file, open_picture, unreadable
from core.images.stealth import read_stealth
from core.images.webp_chunks import read_webp

Texts = Mapping[str, str]

COMMENT = "jpeg:comment"
"""The first comment segment of a JPEG; others are numbered, ``jpeg:comment:1``."""

CAPTION = "iptc:caption"


def read_texts(path: Path) -> dict[str, str]:
    """Read the texts of a picture without decoding its pixels.

    Raises:
        InvalidRequest: Of ``image``, if it cannot be opened, or has no text and is no picture.
    """
    check_is_file(path, field="image")
    try:
        texts = _png(path) | _jpeg(path) | _webp(path)
    except OSError as error:
        raise unreadable(path, "image", error) from error
    return texts or _by_pillow(path)


def read_hidden_texts(path: Path) -> dict[str, str]:
    """Read the texts that lie in the pixels themselves; nothing if there are none."""
    hidden = read_stealth(path)
    if hidden is None:
        return {}
    values = json_object(hidden)
    if values is None:
        return {"parameters": hidden}
    return {key: value for key, value in values.items() if isinstance(value, str)}


def _png(path: Path) -> dict[str, str]:
    texts, exif = png_text.read_png(path)
    packet = texts.pop(xmp.KEYWORD, "")
    return texts | exif_text.read_exif(exif) | xmp.read_packet(packet)


def _jpeg(path: Path) -> dict[str, str]:
    found = read_jpeg(path)
    texts = exif_text.read_exif(found.exif) | xmp.read_packet(found.xmp)
    extension = found.extensions.get(texts.pop(xmp.EXTENSION, ""), b"")
    texts = xmp.read_packet(extension) | texts
    for number, comment in enumerate(found.comments):
        name = f"{COMMENT}:{number}" if number else COMMENT
        texts[name] = comment.decode(errors="replace")
    caption = iptc.read_caption(found.photoshop)
    return texts | ({CAPTION: caption} if caption else {})


def _webp(path: Path) -> dict[str, str]:
    chunks = read_webp(path)
    exif, packet = chunks.get(b"EXIF", b""), chunks.get(b"XMP ", b"")
    return exif_text.read_exif(exif) | xmp.read_packet(packet)


def _by_pillow(path: Path) -> dict[str, str]:
    """Read EXIF and XMP of the other kinds of picture, and refuse what is none."""
    with open_picture(path, field="image") as picture:
        exif, packet = picture.info.get("exif"), picture.info.get("xmp")
    texts: dict[str, str] = {}
    if isinstance(exif, bytes):
        texts |= exif_text.read_exif(exif)
    if isinstance(packet, bytes | str):
        texts |= xmp.read_packet(packet)
    return texts
