"""Masks: which pixels of a picture are painted anew. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from core.errors import InvalidRequest
from core.images.reading import opaque_rgb, open_picture

Mask = npt.NDArray[np.bool_]
"""``(H, W) bool``: True is painted anew."""

MIDDLE = 128
"""The grey from which on a pixel counts as white, as in diffusers' inpainting pipelines."""

ONE_COLOUR = 16
"""How far the colours of one brush may lie apart, out of 255; soft brushes round them."""


def read_mask(path: Path, *, invert: bool) -> tuple[Image.Image, tuple[int, int]]:
    """Read a mask of any kind of picture.

    White is painted anew, from the middle grey on. Of a picture with transparency, what was drawn
    with one colour is the mask, whatever the colour; of greys, what is white and visible; and of a
    coloured picture the holes.

    Args:
        path: A picture of one of ``core.images.reading.FORMATS``.
        invert: Whether the other pixels are painted anew instead.

    Returns:
        An ``L`` image, 255 where it is painted anew and 0 elsewhere before it is scaled, and its
        own width and height.

    Raises:
        InvalidRequest: Of ``mask_image``, if it cannot be read.
    """
    with open_picture(path, field="mask_image") as picture:
        upright = ImageOps.exif_transpose(picture)
        greys = _of_transparency(upright) if upright.has_transparency_data else None
        if greys is None:
            greys = np.asarray(opaque_rgb(upright).convert("L"))
    chosen = (greys >= MIDDLE) != invert
    image = Image.fromarray(np.where(chosen, 255, 0).astype(np.uint8))
    return image, image.size


def as_mask(image: Image.Image, path: Path) -> Mask:
    """Give the pixels of a read mask that are painted anew.

    Raises:
        InvalidRequest: Of ``mask_image``, if there are none.
    """
    mask = np.asarray(image) >= MIDDLE
    if not mask.any():
        raise InvalidRequest(
            "mask_image",
            f"{path} marks nothing of the picture to be painted anew; paint that part white, or "
            "invert the mask.",
        )
    return mask


def softened(mask: Mask, blur: int) -> npt.NDArray[np.float32]:
    """Let a mask rise from its edge inwards.

    Args:
        mask: ``(H, W) bool``.
        blur: Pixels from the edge to the full value; 0 for a hard edge. The picture's own border
            is no edge.

    Returns:
        ``(H, W)``, 0 outside of the mask and above 0 up to 1 inside: the share of what is new.
    """
    share = mask.astype(np.float32)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if blur == 0 or not len(rows):
        return share
    # Beyond the masked part's box there is nothing to be softened.
    box = np.s_[max(rows[0] - 1, 0) : rows[-1] + 2, max(columns[0] - 1, 0) : columns[-1] + 2]
    left = mask[box]
    total = left.astype(np.float32)
    for _ in range(blur):
        left = _eroded(left)
        total += left
    share[box] = total / (blur + 1)
    return share


def _eroded(mask: Mask) -> Mask:
    """Take away what lies next to an unmasked pixel, diagonals included."""
    wide = np.pad(mask, 1, constant_values=True)
    across = wide[:, :-2] & wide[:, 1:-1] & wide[:, 2:]
    return across[:-2] & across[1:-1] & across[2:]


def _of_transparency(picture: Image.Image) -> npt.NDArray[np.uint8] | None:
    """Read a mask that has transparent pixels; None if it has none after all."""
    rgba = np.asarray(picture.convert("RGBA"))
    colours, alpha = rgba[..., :3].astype(np.int16), rgba[..., 3]
    if (alpha == 255).all():
        return None
    visible = colours[alpha >= MIDDLE]  # (N, 3)
    if not len(visible) or np.ptp(visible, axis=0).max() <= ONE_COLOUR:
        return np.array(alpha)
    if np.ptp(visible, axis=1).max() <= ONE_COLOUR:
        return np.asarray(colours.mean(axis=2) * alpha / 255, dtype=np.uint8)
    holes: npt.NDArray[np.uint8] = 255 - alpha
    return holes
