"""Texts hidden in the lowest bit of each pixel's opacity, as NovelAI does. Imports no torch.

Down each column, columns from the left: a signature, the length in bits, then the text, most often
compressed by gzip (https://github.com/NovelAI/novelai-image-metadata). They outlive what strips the
texts of a file.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.errors import InvalidRequest
from core.images.reading import open_picture

LONGEST = 4 * 2**20
"""Bytes of a text, unpacked, above which it is passed over."""

_PACKED, _PLAIN = b"stealth_pngcomp", b"stealth_pnginfo"
_HEAD = len(_PACKED) + 4
_GZIP = 16 + zlib.MAX_WBITS


def read_stealth(path: Path) -> str | None:
    """Read the hidden text of a picture with opacity; its pixels are decoded for that.

    Returns:
        None if there is none, or the picture has no opacity or cannot be decoded.
    """
    try:
        with open_picture(path, field="image") as picture:
            if picture.mode != "RGBA":
                return None
            lowest = np.asarray(picture.getchannel("A"), dtype=np.uint8) & np.uint8(1)  # (H, W)
    except InvalidRequest:
        return None
    head = _bytes(lowest, 0, _HEAD)
    if not head.startswith((_PACKED, _PLAIN)) or len(head) < _HEAD:
        return None
    length = int.from_bytes(head[-4:]) // 8
    if length > lowest.size // 8 - _HEAD or length > LONGEST:
        return None
    data = _bytes(lowest, _HEAD, length)
    try:
        if head.startswith(_PACKED):
            unpacker = zlib.decompressobj(_GZIP)
            data = unpacker.decompress(data, LONGEST)
            if not unpacker.eof:
                return None
        return data.decode() or None
    except (ValueError, zlib.error):
        return None


def _bytes(lowest: npt.NDArray[np.uint8], start: int, length: int) -> bytes:
    """Give ``length`` bytes of the bits that run down the columns."""
    height = lowest.shape[0]
    first, last = 8 * start // height, -(-8 * (start + length) // height)
    bits = lowest[:, first:last].T.reshape(-1)[8 * start - first * height :]
    return np.packbits(bits[: 8 * length]).tobytes()
