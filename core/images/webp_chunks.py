"""The EXIF block and the XMP packet of a WebP, read chunk by chunk. Imports no torch.

The container is Google's (https://developers.google.com/speed/webp/docs/riff_container).
"""

from __future__ import annotations

from pathlib import Path

LONGEST = 4 * 2**20
"""Bytes of one chunk above which it is passed over."""

MOST_CHUNKS = 100_000
"""Chunks after which nothing more is looked for; an animation has one for each frame."""


def read_webp(path: Path) -> dict[bytes, bytes]:
    """Read ``EXIF`` and ``XMP `` of a WebP, as they stand in it.

    Returns:
        What there is of the two; nothing if the file is no WebP.

    Raises:
        OSError: It cannot be read.
    """
    found: dict[bytes, bytes] = {}
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WEBP":
            return {}
        for _ in range(MOST_CHUNKS):
            chunk = file.read(8)
            if len(chunk) < 8:
                break
            name, length = chunk[:4], int.from_bytes(chunk[4:], "little")
            padded = length + length % 2
            if name in (b"EXIF", b"XMP ") and length <= LONGEST:
                data = file.read(padded)
                if len(data) >= length:
                    found.setdefault(name, data[:length])
                if len(found) == 2:
                    break
            else:
                file.seek(padded, 1)
    return found
