"""The maps that ControlNets follow as files, to see whether a preprocessor found what it should."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core.errors import InvalidRequest
from core.events import Event, Notice
from core.images.canvas import canvas_of
from core.images.control_map import control_maps
from core.images.formats import PictureFormat
from core.images.writing import create_numbered, encode_pixels
from core.request import Inpaint, Outpaint, Request


def keep_maps(request: Request, folder: Path) -> Iterator[Event]:
    """Save the maps of a request's controls in a folder, in their order, over nothing.

    Yields:
        A ``Notice`` of each.

    Raises:
        InvalidRequest: There are none, or a picture cannot be read.
        SaveFailed: One cannot be written.
    """
    if not request.controls:
        raise InvalidRequest("controls", "has no map to keep; name a ControlNet by --control.")
    canvas = canvas_of(request) if isinstance(request, Inpaint | Outpaint) else None
    first, *_ = control_maps(request, canvas)
    for number, pixels in enumerate(first, 1):
        data = encode_pixels(pixels)
        path = create_numbered(folder / f"control-{number}", data, PictureFormat.PNG)
        yield Notice(message=f"The map of control {number} is {path}.")
