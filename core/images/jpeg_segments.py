"""The segments of a JPEG that carry texts, read and written byte by byte. Imports no torch.

Segments are those of ITU-T T.81, annex B; XMP stands in them as Adobe's XMP specification, part 3,
1.1.3 says: a packet of at most 65 502 bytes, and what is longer in further segments under a digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

LONGEST = 4 * 2**20
"""Bytes of an extended packet, or of Photoshop's resources, above which they are passed over."""

MOST_COMMENTS = 8

MOST_SEGMENTS = 4096
"""Segments before the pixels after which nothing more is looked for."""

_START = b"\xff\xd8"
_APP0, _APP1, _APP13, _COMMENT, _PIXELS = 0xE0, 0xE1, 0xED, 0xFE, 0xDA
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_DIGEST_LENGTH = 32
_LONGEST_DATA = 65_533
LONGEST_EXIF = _LONGEST_DATA - len(_EXIF)
LONGEST_XMP = _LONGEST_DATA - len(_XMP)
_PART = 65_000


@dataclass(slots=True)
class JpegTexts:
    """What the segments of a JPEG hold, as bytes; empty where there is none.

    Attributes:
        exif: The EXIF block, a small TIFF file.
        xmp: The XMP packet.
        extensions: Further XMP packets by their digests, whole ones only.
        comments: The first comment segments, in their order.
        photoshop: Photoshop's image resources, where IPTC captions are.
    """

    exif: bytes = b""
    xmp: bytes = b""
    extensions: dict[str, bytes] = field(default_factory=dict)
    comments: list[bytes] = field(default_factory=list)
    photoshop: bytes = b""


def read_jpeg(path: Path) -> JpegTexts:
    """Read the texts of a JPEG; a file that breaks off gives what stands before the break.

    Raises:
        OSError: It cannot be read.
    """
    found = JpegTexts()
    parts: dict[str, _Parts] = {}
    with path.open("rb") as file:
        if file.read(2) != _START:
            return found
        for marker, data in _segments(file):
            if marker == _COMMENT:
                found.comments += [data] if len(found.comments) < MOST_COMMENTS else []
            elif marker == _APP13:
                found.photoshop += data if len(found.photoshop) + len(data) <= LONGEST else b""
            elif data.startswith(_EXIF):
                found.exif = found.exif or data.removeprefix(_EXIF)
            elif data.startswith(_XMP):
                found.xmp = found.xmp or data.removeprefix(_XMP)
            elif data.startswith(_EXTENSION):
                _collect(parts, data.removeprefix(_EXTENSION))
    found.extensions = {
        digest: bytes(part.data) for digest, part in parts.items() if part.missing <= 0
    }
    return found


def with_texts(jpeg: bytes, *, exif: bytes, xmp: bytes, extension: bytes = b"") -> bytes:
    """Put texts into a JPEG, behind the JFIF segment that must come first.

    Args:
        jpeg: The whole file, as an encoder gives it.
        exif: An EXIF block of at most ``LONGEST_EXIF`` bytes, or none.
        xmp: A packet of at most ``LONGEST_XMP`` bytes.
        extension: A further packet of any length; ``digest_of`` it must stand in the first one.
    """
    head = 2
    if jpeg[2:4] == bytes((0xFF, _APP0)):
        head += 2 + int.from_bytes(jpeg[4:6])
    segments = [_segment(_EXIF + exif)] if exif else []
    segments.append(_segment(_XMP + xmp))
    length = len(extension).to_bytes(4)
    for offset in range(0, len(extension), _PART):
        part = extension[offset : offset + _PART]
        place = digest_of(extension).encode() + length + offset.to_bytes(4)
        segments.append(_segment(_EXTENSION + place + part))
    return jpeg[:head] + b"".join(segments) + jpeg[head:]


def digest_of(extension: bytes) -> str:
    """Give the name that joins an extension to the packet: its MD5, 32 capital hex digits."""
    return hashlib.md5(extension, usedforsecurity=False).hexdigest().upper()


@dataclass(slots=True)
class _Parts:
    data: bytearray
    missing: int


def _segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Give the segments that may hold texts, up to the pixels."""
    for _ in range(MOST_SEGMENTS):
        marker = file.read(2)
        while len(marker) == 2 and marker[0] == 0xFF and marker[1] == 0xFF:
            marker = marker[1:] + file.read(1)  # fill bytes before a marker are allowed
        if len(marker) < 2 or marker[0] != 0xFF or marker[1] == _PIXELS:
            return
        length = int.from_bytes(file.read(2)) - 2
        if length < 0:
            return
        if marker[1] in (_APP1, _APP13, _COMMENT):
            data = file.read(length)
            if len(data) < length:
                return
            yield marker[1], data
        else:
            file.seek(length, 1)


def _collect(parts: dict[str, _Parts], data: bytes) -> None:
    """Lay a part of an extended packet where it belongs."""
    digest = data[:_DIGEST_LENGTH].decode("latin-1")
    total = int.from_bytes(data[_DIGEST_LENGTH : _DIGEST_LENGTH + 4])
    offset = int.from_bytes(data[_DIGEST_LENGTH + 4 : _DIGEST_LENGTH + 8])
    body = data[_DIGEST_LENGTH + 8 :]
    if digest not in parts:
        if len(parts) > 2 or total > LONGEST:
            return
        parts[digest] = _Parts(bytearray(total), total)
    part = parts[digest]
    if offset + len(body) <= len(part.data):
        part.data[offset : offset + len(body)] = body
        part.missing -= len(body)


def _segment(data: bytes) -> bytes:
    assert len(data) <= _LONGEST_DATA, len(data)
    return bytes((0xFF, _APP1)) + (len(data) + 2).to_bytes(2) + data
