"""The texts inside a PNG, read chunk by chunk without decoding the picture. Imports no torch.

The chunks are those of the PNG specification (https://www.w3.org/TR/png-3/, 11.3.3): tEXt is
Latin-1, zTXt the same compressed, iTXt is UTF-8, compressed or not.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL.PngImagePlugin import PngInfo

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LONGEST = 4 * 2**20
"""Bytes of one text, unpacked, above which it is passed over."""

LONGEST_TOGETHER = 16 * 2**20
MOST_TEXTS = 256
MOST_CHUNKS = 100_000
"""Bytes of all texts, texts, and chunks after which a file is not read on."""


def read_texts(path: Path) -> dict[str, str]:
    """Read the texts of a PNG by keyword; of two with one keyword the first counts.

    Damaged chunks are passed over, and a file that breaks off gives what stands before the break.

    Returns:
        Nothing if the file is no PNG.

    Raises:
        OSError: It cannot be read.
    """
    return read_png(path)[0]


def read_png(path: Path) -> tuple[dict[str, str], bytes]:
    """Read the texts of a PNG, see ``read_texts``, and its EXIF block, a small TIFF file.

    Raises:
        OSError: It cannot be read.
    """
    texts: dict[str, str] = {}
    exif = b""
    together = 0
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            return {}, b""
        for kind, data in _chunks(file):
            if kind == b"eXIf":
                exif = exif or data
                continue
            keyword, _, body = data.partition(b"\0")
            text = _decode(kind, body)
            if text is not None:
                texts.setdefault(keyword.decode("latin-1"), text)
            # What cannot be unpacked may have taken as long as the longest that can.
            together += LONGEST if text is None else len(text)
            if together > LONGEST_TOGETHER or len(texts) >= MOST_TEXTS:
                break
    return texts, exif


def add_text(info: PngInfo, keyword: str, text: str) -> None:
    """Add a text: tEXt, which every reader knows, if it is ASCII, else iTXt.

    Latin-1 in tEXt is avoided because programs that put UTF-8 there have made it ambiguous.
    """
    if text.isascii():
        info.add_text(keyword, text)
    else:
        info.add_itxt(keyword, text)


_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"comf")
"""Those of the specification, and ComfyUI's own, in which animated PNGs have what tEXt has."""


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Give the text chunks up to the end of the file, skipping all others."""
    for _ in range(MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = int.from_bytes(head[:4]), head[4:]
        if kind == b"IEND":
            return
        if kind in _TEXT_CHUNKS and length <= LONGEST:
            data = file.read(length)
            if len(data) == length:
                yield kind, data
            length = 0
        file.seek(length + 4, 1)  # and the checksum


def _decode(kind: bytes, body: bytes) -> str | None:
    """Give the text that follows a chunk's keyword; None if it is damaged."""
    try:
        match kind:
            case b"tEXt" | b"comf":
                return _latin_or_utf8(body)
            case b"zTXt":
                return _latin_or_utf8(_unpacked(body[1:]))
            case _:
                packed = body[:1] == b"\1"
                _language, _translated, rest = body[2:].split(b"\0", 2)
                return (_unpacked(rest) if packed else rest).decode()
    except (ValueError, zlib.error):
        return None


def _latin_or_utf8(data: bytes) -> str:
    """Read what should be Latin-1 as UTF-8 where it is that, as stable-diffusion.cpp writes it."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(data, LONGEST)
    if unpacker.unconsumed_tail:
        raise ValueError("too long")
    return text
