"""The texts of an EXIF block, where JPEG and WebP pictures say how they were made.

The block is a small TIFF file; Pillow takes it apart. Imports no torch.
"""

from __future__ import annotations

import warnings

from PIL import Image
from PIL.ExifTags import IFD, Base

from core.images.reading import BROKEN

USER_COMMENT = "exif:UserComment"
IMAGE_DESCRIPTION = "exif:ImageDescription"
MAKE = "exif:Make"
MODEL = "exif:Model"
SOFTWARE = "exif:Software"
MAKER_NOTE = "exif:MakerNote"

_TAGS = {
    IMAGE_DESCRIPTION: Base.ImageDescription,
    MAKE: Base.Make,
    MODEL: Base.Model,
    SOFTWARE: Base.Software,
    MAKER_NOTE: Base.MakerNote,
    USER_COMMENT: Base.UserComment,
}

_HEAD = b"Exif\0\0"
_CODE_LENGTH = 8
_UNICODE = b"UNICODE\0"


def read_exif(block: bytes) -> dict[str, str]:
    """Read the texts of an EXIF block by the names above; a damaged block has none.

    ``UserComment`` (EXIF 2.3, 4.6.5) is eight bytes that name the encoding, then the text. Programs
    differ on the byte order of Unicode, on whether the eight bytes are there at all, and on which
    of the two directories it stands in.
    """
    found: dict[str, str] = {}
    exif = Image.Exif()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exif.load(_HEAD + block.removeprefix(_HEAD))
            inner = exif.get_ifd(IFD.Exif)
            values = {name: inner.get(tag, exif.get(tag)) for name, tag in _TAGS.items()}
        except (*BROKEN, AttributeError, OverflowError):
            return {}
    for name, value in values.items():
        text = _comment(value) if name == USER_COMMENT else _plain(value)
        if text:
            found[name] = text
    return found


def write_exif(comment: str) -> bytes:
    """Give an EXIF block whose ``UserComment`` is a text, in UTF-16, as most readers expect it."""
    exif = Image.Exif()
    exif.get_ifd(IFD.Exif)[Base.UserComment] = _UNICODE + comment.encode("utf-16-be", "replace")
    return exif.tobytes().removeprefix(_HEAD)


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="ignore").strip("\0")
    return _utf8(value) if isinstance(value, str) else ""


def _comment(value: object) -> str:
    if not isinstance(value, bytes):
        return _plain(value)
    if value.startswith(_UNICODE):
        return _unicode(value.removeprefix(_UNICODE)).strip("\0")
    plain = value.removeprefix(b"ASCII\0\0\0").removeprefix(b"\0" * _CODE_LENGTH)
    return plain.decode(errors="ignore").strip("\0")


def _utf8(text: str) -> str:
    """Read as UTF-8 what Pillow, as the standard has it, read as one byte a letter."""
    try:
        return text.encode("latin-1").decode().strip("\0")
    except ValueError:
        return text.strip("\0")


def _unicode(data: bytes) -> str:
    """Decode in the encoding that gives most ASCII, which every such text has: ``Steps: ``.

    UTF-8 is tried where no zero byte speaks against it.
    """
    encodings = ["utf-16-be", "utf-16-le"] + ([] if b"\0" in data else ["utf-8"])
    texts = [data.decode(encoding, errors="ignore") for encoding in encodings]
    return max(texts, key=lambda text: sum(letter.isascii() for letter in text)).lstrip("\ufeff")
