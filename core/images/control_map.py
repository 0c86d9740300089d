"""Control pictures: the maps that ControlNets read. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

import numpy as np

from core.events import Pixels
from core.images.canny import edges
from core.images.canvas import Canvas, fitted
from core.images.reading import fit, read_picture
from core.request import ControlUse, Preprocessor, Request

FIELD = "controls.image"


def control_maps(request: Request, canvas: Canvas | None) -> tuple[tuple[Pixels, ...], ...]:
    """Make the maps of a request's controls for each of its passes.

    Args:
        request: What is to be made.
        canvas: What the pictures are laid over, or None.

    Raises:
        InvalidRequest: See ``control_map``.
    """
    sizes = [(request.width, request.height)]
    if request.second_pass is not None:
        sizes.append(request.final_size)
    return tuple(
        tuple(control_map(use, *size, canvas) for use in request.controls) for size in sizes
    )


def control_map(use: ControlUse, width: int, height: int, canvas: Canvas | None = None) -> Pixels:
    """Make the map that a ControlNet reads.

    The control picture is fitted as the start picture is, so that one that was made from it lies
    over it; of a canvas it is laid over the whole, and the part that the run looks at is taken.

    Args:
        use: Names the picture and what is made of it.
        width: Of the pictures that are made, in pixels.
        height: Likewise.
        canvas: What the pictures are laid over, or None.

    Returns:
        ``(height, width, 3) uint8``.

    Raises:
        InvalidRequest: Of ``controls.image``, if the picture cannot be read.
    """
    picture = read_picture(Path(use.image), field=FIELD)
    if canvas is None:
        pixels = np.array(fit(picture, width, height))
    else:
        rows, columns = canvas.picture.shape[:2]
        pixels = canvas.seen(np.array(fitted(picture, columns, rows)))
    match use.preprocessor:
        case Preprocessor.NONE:
            return pixels
        case Preprocessor.CANNY:
            return edges(pixels, use.low, use.high)
        case _:
            assert_never(use.preprocessor)
