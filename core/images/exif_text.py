"""The EXIF comment, where JPEG and WebP pictures say how they were made. Imports no torch."""

from __future__ import annotations

from PIL import Image
from PIL.ExifTags import IFD, Base

_CODE_LENGTH = 8
_UNICODE = b"UNICODE\0"


def read_user_comment(picture: Image.Image) -> str | None:
    """Read ``UserComment`` (EXIF 2.3, 4.6.5): eight bytes that name the encoding, then the text.

    Programs differ on the byte order of Unicode and on whether the eight bytes are there at all.

    Returns:
        None if the picture has none.
    """
    if "exif" not in picture.info:
        return None  # Asked all the same, Pillow would decode a PNG to look behind its pixels.
    value = picture.getexif().get_ifd(IFD.Exif).get(Base.UserComment)
    if isinstance(value, str):
        return value or None
    if not isinstance(value, bytes):
        return None
    if value.startswith(_UNICODE):
        text = _utf16(value.removeprefix(_UNICODE))
    else:
        plain = value.removeprefix(b"ASCII\0\0\0").removeprefix(b"\0" * _CODE_LENGTH)
        text = plain.decode(errors="ignore")
    return text.strip("\0") or None


def _utf16(data: bytes) -> str:
    """Decode in the byte order that gives more ASCII, which every such text has: ``Steps: ``."""
    texts = [data.decode(order, errors="ignore") for order in ("utf-16-be", "utf-16-le")]
    return max(texts, key=lambda text: sum(letter.isascii() for letter in text)).lstrip("\ufeff")
