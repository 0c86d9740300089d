"""The size that a start picture asks for. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.images.reading import size_of
from core.paths import expanded
from core.request import LATENT_SCALE

_SIDES = {"left", "top", "right", "bottom"}
"""The settings that say by how much a picture is painted on."""


def own_size(given: dict[str, Any]) -> dict[str, int]:
    """Give the size at which every pixel of the start picture stays as it is.

    It is the next multiple of 8, of which the picture keeps its own part; see
    ``core.images.canvas``. If one side of a picture that is painted anew in part is given, the
    other keeps its ratio.

    Args:
        given: Settings by the request's names.

    Returns:
        ``width`` and ``height``; nothing for another kind of request.
    """
    known = given.keys() & {"width", "height"}
    is_masked = "mask_image" in given
    if "init_image" not in given or not (is_masked or given.keys() & _SIDES):
        return {}
    # Only a part of the picture is scaled to the size there: the model's own is the best.
    if len(known) == 2 or given.get("only_masked") or (known and not is_masked):
        return {}
    size = size_of(expanded(Path(given["init_image"])), field="init_image")
    if not known:
        grown = (
            size[0] + given.get("left", 0) + given.get("right", 0),
            size[1] + given.get("top", 0) + given.get("bottom", 0),
        )
        return {"width": _next_multiple(grown[0]), "height": _next_multiple(grown[1])}
    sides = zip(("width", "height"), size, strict=True)
    scale = next(given[name] / side for name, side in sides if name in known)
    whole = zip(("width", "height"), (round(side * scale) for side in size), strict=True)
    return {
        name: max(side - side % LATENT_SCALE, LATENT_SCALE)
        for name, side in whole
        if name not in known
    }


def _next_multiple(side: int) -> int:
    return side + -side % LATENT_SCALE
