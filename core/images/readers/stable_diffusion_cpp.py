"""stable-diffusion.cpp: the web UI's text in places of its own. Imports no torch.

PNG has it as raw UTF-8 in tEXt, JPEG in a comment segment after the word ``parameters`` and a zero
byte, WebP in an XMP property (``examples/common/media_io.cpp``).
"""

from __future__ import annotations

from core.images import xmp
from core.images.foreign import Foreign
from core.images.infotext import KEYWORD, parse_infotext
from core.images.readers.a1111 import from_infotext
from core.images.texts import COMMENT, Texts

_MARK = f"{KEYWORD}\0"
_NAME = "stable-diffusion.cpp"


def read(texts: Texts) -> Foreign | None:
    """Read its text; in a PNG only one that names the program."""
    own = texts.get(xmp.SDCPP_PARAMETERS)
    comments = (value for name, value in texts.items() if name.startswith(COMMENT))
    for comment in comments:
        if own is None and comment.startswith(_MARK):
            own = comment.removeprefix(_MARK).rstrip("\0")
    if own is None:
        text = texts.get(KEYWORD, "")
        own = text if f"Version: {_NAME}" in text else None
    return None if own is None else from_infotext(parse_infotext(own), source=_NAME)
