"""What a picture says about how it was made: written into each of ours, read from any.

A picture of ours carries three texts: the one of AUTOMATIC1111's web UI, which most programs read;
our own versioned JSON, from which the picture can be made again bit for bit; and an XMP packet that
calls the picture the work of a trained model. Imports no torch.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.about import APP_NAME, version
from core.errors import InvalidRequest
from core.events import ImageReady
from core.images import exif_text, infotext, xmp
from core.images.foreign import Foreign
from core.images.loose_json import as_list, json_object
from core.images.readers import (
    a1111,
    comfyui,
    draw_things,
    fooocus,
    invokeai,
    mochi,
    novelai,
    sd_scripts,
    stable_diffusion_cpp,
)
from core.images.texts import Texts, read_hidden_texts, read_texts
from core.request import ImageToImage, Request
from core.request_json import from_json, to_json

KEYWORD = "stepwise"
VERSION = 1

NEWER = f"A newer version of {APP_NAME} made it; update this one to make it again as it was."
"""What is to be said of a record that this version cannot read."""

MOST_ANCESTORS = 32
"""Hashes of start pictures that a record keeps, the nearest ones."""

_HASH_DIGITS = 64

_MADE = "trainedAlgorithmicMedia"
"""IPTC's word for what a model made from nothing but its settings."""


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
        ancestors: SHA-256 of its start picture's file, of that one's start picture, and so on.
    """

    app: str
    request: Request
    picture: int
    seed: int
    model_sha256: str
    device: str = ""
    ancestors: tuple[str, ...] = ()


Metadata = Recorded | Foreign


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The texts that go into a picture's file.

    Attributes:
        parameters: The text of AUTOMATIC1111's web UI.
        record: Our own JSON, in ASCII.
        source_type: IPTC's word for where the picture comes from.
    """

    parameters: str
    record: str
    source_type: str


def describe(image: ImageReady, ancestors: tuple[str, ...] = ()) -> Description:
    """Give the texts to be written into the file of a finished picture.

    Args:
        image: The picture.
        ancestors: See ``Recorded``; none for a picture that began from noise.
    """
    record = {
        "version": VERSION,
        "app": f"{APP_NAME} {version()}",
        "request": to_json(image.request),
        "picture": image.picture,
        "seed": image.seed,
        "model_sha256": image.model_sha256,
        "device": image.device,
    }
    if ancestors:
        record["ancestors"] = list(ancestors[:MOST_ANCESTORS])
    edited = isinstance(image.request, ImageToImage)
    return Description(
        parameters=infotext.write_infotext(image),
        record=json.dumps(record),
        source_type="compositeWithTrainedAlgorithmicMedia" if edited else _MADE,
    )


def description_of(path: Path) -> Description | None:
    """Give the texts of a picture's file, for a copy of it that is another kind of file.

    Args:
        path: Any picture.

    Returns:
        Our texts as they stand there, each empty if it does not; None if the picture does not say
        how it was made. Of other programs' texts, the one of the web UI is among them.

    Raises:
        InvalidRequest: Of ``image``, if the file is no picture that can be opened.
    """
    texts = read_texts(path)
    if _first(texts) is None:
        return None
    return Description(
        parameters=texts.get(infotext.KEYWORD) or texts.get(exif_text.USER_COMMENT, ""),
        record=texts.get(KEYWORD) or texts.get(xmp.RECORD, ""),
        source_type=texts.get(xmp.SOURCE_TYPE, "").rpartition("/")[2] or _MADE,
    )


def read_metadata(path: Path) -> Metadata | None:
    """Read what a picture says about how it was made.

    Args:
        path: Any picture.

    Returns:
        The first of our own record and the forms of other programs that is there and whole; None
        if there is none. Texts hidden in the pixels are looked for last.

    Raises:
        InvalidRequest: Of ``image``, if the file is no picture that can be opened.
    """
    texts = read_texts(path)
    found = _first(texts) or _first(read_hidden_texts(path))
    if isinstance(found, Foreign) and _is_newer(texts):
        return dataclasses.replace(found, notes=(NEWER, *found.notes))
    return found


def is_newer(path: Path) -> bool:
    """Tell whether a picture has a record that a newer version of this program wrote.

    Raises:
        InvalidRequest: See ``read_metadata``.
    """
    return _is_newer(read_texts(path))


def read_record(path: Path) -> Recorded | None:
    """Read our own record alone.

    Raises:
        InvalidRequest: See ``read_metadata``.
    """
    return _read_ours(read_texts(path))


def _first(texts: Texts) -> Metadata | None:
    return next((found for read in _READERS if (found := read(texts)) is not None), None)


def _is_newer(texts: Texts) -> bool:
    record = _record_in(texts)
    wrote = record.get("version") if record else None
    return isinstance(wrote, int) and wrote > VERSION


def _record_in(texts: Texts) -> dict[str, Any] | None:
    return json_object(texts.get(KEYWORD) or texts.get(xmp.RECORD))


def _read_ours(texts: Texts) -> Recorded | None:
    """Read our record; None if it is not there, damaged, or of a later version."""
    record = _record_in(texts)
    try:
        return _recorded(record) if record and record["version"] == VERSION else None
    except (KeyError, TypeError, ValueError, RecursionError, InvalidRequest):
        return None


def _recorded(record: Mapping[str, Any]) -> Recorded:
    """Check a record of this version.

    Raises:
        KeyError: A part is missing.
        TypeError: A part is no JSON object.
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
        ancestors=_hashes(record.get("ancestors")),
    )


def _hashes(values: object) -> tuple[str, ...]:
    """Read a row of hashes up to the first that is none."""
    found: list[str] = []
    for value in as_list(values)[:MOST_ANCESTORS]:
        if not isinstance(value, str) or len(value) != _HASH_DIGITS or not _is_hex(value):
            break
        found.append(value)
    return tuple(found)


def _is_hex(text: str) -> bool:
    return set(text) <= set("0123456789abcdef")


_READERS: tuple[Callable[[Texts], Metadata | None], ...] = (
    _read_ours,
    novelai.read,
    invokeai.read,
    fooocus.read,
    draw_things.read,
    stable_diffusion_cpp.read,
    # Where a graph and the web UI's text are both there, the text says plainly what the graph does.
    a1111.read,
    comfyui.read,
    mochi.read,
    sd_scripts.read,
)
