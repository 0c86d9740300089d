"""What a picture says about how it was made: written into each of ours, read from any.

A PNG of ours carries three texts: ``parameters``, which most programs read; ``stepwise``, our own
versioned JSON, from which the picture can be made again bit for bit; and an XMP packet that calls
the picture the work of a trained model. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL.PngImagePlugin import PngInfo

from core.about import APP_NAME, version
from core.errors import InvalidRequest
from core.events import ImageReady
from core.images import infotext, png_text
from core.images.exif_text import read_user_comment
from core.images.infotext import Infotext
from core.images.reading import check_is_file, open_picture, unreadable
from core.request import ImageToImage, Request, from_json, to_json

KEYWORD = "stepwise"
VERSION = 1

_XMP_KEYWORD = "XML:com.adobe.xmp"
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/{source}"/>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a picture of ours says.

    Attributes:
        app: The name and version that made it.
        request: The request as it was carried out.
        picture: The picture's index in that request.
        seed: Its own seed.
        model_sha256: Hash of the model's weights, 64 hex digits.
        device: What computed it, ``"cpu"``, ``"cuda"`` or ``"mps"``; empty if it does not say.
    """

    app: str
    request: Request
    picture: int
    seed: int
    model_sha256: str
    device: str = ""


Metadata = Recorded | Infotext


def describe(image: ImageReady) -> PngInfo:
    """Give the texts to be written into a PNG of the picture."""
    record = {
        "version": VERSION,
        "app": f"{APP_NAME} {version()}",
        "request": to_json(image.request),
        "picture": image.picture,
        "seed": image.seed,
        "model_sha256": image.model_sha256,
        "device": image.device,
    }
    edited = isinstance(image.request, ImageToImage)
    source = "compositeWithTrainedAlgorithmicMedia" if edited else "trainedAlgorithmicMedia"
    info = PngInfo()
    png_text.add_text(info, infotext.KEYWORD, infotext.write_infotext(image))
    png_text.add_text(info, KEYWORD, json.dumps(record))
    png_text.add_text(info, _XMP_KEYWORD, _XMP.format(source=source))
    return info


def read_metadata(path: Path) -> Metadata | None:
    """Read what a picture says about how it was made.

    Args:
        path: Any picture; PNG, and what carries EXIF, can say something.

    Returns:
        The first of our own record and the formats of other programs that is there and whole;
        None if there is none.

    Raises:
        InvalidRequest: Of ``image``, if the file is no picture that can be opened.
    """
    texts = _texts_of(path)
    return next((found for read in _READERS if (found := read(texts)) is not None), None)


def _texts_of(path: Path) -> dict[str, str]:
    check_is_file(path, field="image")
    try:
        texts = png_text.read_texts(path)
    except OSError as error:
        raise unreadable(path, "image", error) from error
    if texts:
        return texts
    with open_picture(path, field="image") as picture:
        comment = read_user_comment(picture)
    return {infotext.KEYWORD: comment} if comment else {}


def _read_ours(texts: Mapping[str, str]) -> Recorded | None:
    """Read our record; None if it is not there, damaged, or of a later version."""
    try:
        record = json.loads(texts[KEYWORD])
        return _recorded(record) if record["version"] == VERSION else None
    except (KeyError, TypeError, ValueError, RecursionError, InvalidRequest):
        return None


def _recorded(record: Mapping[str, Any]) -> Recorded:
    """Check a record of this version.

    Raises:
        KeyError: A part is missing.
        TypeError: It is no JSON object, or a part of it is not.
        ValueError: A part contradicts the request.
        InvalidRequest: The request is not valid.
    """
    request = from_json(record["request"])
    picture = range(request.total).index(record["picture"])
    if record["seed"] != request.seed_of(picture):
        raise ValueError("another seed than the request's")
    return Recorded(
        app=str(record["app"]),
        request=request,
        picture=picture,
        seed=request.seed_of(picture),
        model_sha256=str(record["model_sha256"]),
        device=str(record.get("device", "")),
    )


def _read_infotext(texts: Mapping[str, str]) -> Infotext | None:
    text = texts.get(infotext.KEYWORD)
    return None if text is None else infotext.parse_infotext(text)


_READERS: tuple[Callable[[Mapping[str, str]], Metadata | None], ...] = (
    _read_ours,
    _read_infotext,
)
