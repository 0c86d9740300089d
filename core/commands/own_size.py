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
    """Give the size that leaves every pixel of the start picture as it is, to a multiple of 8.

    Of a picture that is painted anew in part, up to 7 pixels of a side are cut off, and if one side
    is given the other keeps its ratio; one that is painted on beyond its edges grows by so much
    more.

    Args:
        given: Settings by the request's names.

    Returns:
        ``width`` and ``height``, and the sides that grow; nothing for another kind of request.
    """
    known = given.keys() & {"width", "height"}
    is_masked = "mask_image" in given
    if "init_image" not in given or not (is_masked or given.keys() & _SIDES):
        return {}
    # Only a part of the picture is scaled to the size there: the model's own is the best.
    if len(known) == 2 or given.get("only_masked") or (known and not is_masked):
        return {}
    size = size_of(expanded(Path(given["init_image"])), field="init_image")
    if is_masked:
        sides = zip(("width", "height"), size, strict=True)
        scale = next((given[name] / side for name, side in sides if name in known), 1.0)
        whole = _multiples(*(round(side * scale) for side in size))
        return {name: side for name, side in whole.items() if name not in known}
    grown: dict[str, int] = {}
    for name, side, before, after in zip(
        ("width", "height"), size, ("left", "top"), ("right", "bottom"), strict=True
    ):
        sum_ = side + given.get(before, 0) + given.get(after, 0)
        rest = -sum_ % LATENT_SCALE
        grown[name] = sum_ + rest
        if rest:
            end = before if before in given and after not in given else after
            grown[end] = given.get(end, 0) + rest
    return grown


def _multiples(width: int, height: int) -> dict[str, int]:
    return {
        name: max(side - side % LATENT_SCALE, LATENT_SCALE)
        for name, side in (("width", width), ("height", height))
    }
