"""Edges by Canny's method, with the thresholds that everybody's settings are made for.

Canny 1986, "A Computational Approach to Edge Detection": gradient, thinning to one pixel across the
edge, and two thresholds, of which the lower one holds for what hangs together with the higher.
ControlNets were trained on maps of OpenCV's variant of it (Zhang et al. 2023, arXiv:2302.05543,
appendix), whose conventions are kept: no smoothing, 3 x 3 Sobel filters with the border repeated,
the gradient's size as |dx| + |dy|, of a coloured picture the channel where that is largest
(https://docs.opencv.org/4.x/da/d22/tutorial_py_canny.html). Imports no torch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from core.events import Pixels

_Whole = npt.NDArray[np.int16]
_Flags = npt.NDArray[np.bool_]

_TANGENT = round(math.tan(math.pi / 8) * 2**15)
"""The tangent of 22.5 degrees in whole numbers, so that a slope on the border is decided alike on
every machine."""


def edges(pixels: Pixels, low: int, high: int) -> Pixels:
    """Draw a picture's edges.

    Args:
        pixels: ``(H, W, 3) uint8``.
        low: Gradient above which a pixel belongs to an edge that has a strong pixel too.
        high: Gradient above which a pixel is strong, 0 to 2040 as ``low``.

    Returns:
        ``(H, W, 3) uint8``, 255 on thin edges and 0 elsewhere.
    """
    dx, dy = _gradient(pixels.astype(np.int16))
    size = np.abs(dx) + np.abs(dy)
    thin = _is_ridge(dx, dy, size)
    found = _connected(thin & (size > low), thin & (size > high))
    return np.repeat(np.where(found, 255, 0).astype(np.uint8)[..., None], 3, axis=2)


def _gradient(pixels: _Whole) -> tuple[_Whole, _Whole]:
    """Give both derivatives ``(H, W)`` of the channel that changes most; the first of equals."""
    wide = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    down = wide[:-2] + 2 * wide[1:-1] + wide[2:]
    across = wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]
    dx = down[:, 2:] - down[:, :-2]  # (H, W, 3)
    dy = across[2:] - across[:-2]
    channel = (np.abs(dx) + np.abs(dy)).argmax(axis=2)[..., None]
    return (
        np.take_along_axis(dx, channel, axis=2)[..., 0],
        np.take_along_axis(dy, channel, axis=2)[..., 0],
    )


def _is_ridge(dx: _Whole, dy: _Whole, size: _Whole) -> _Flags:
    """Say where the gradient is larger than on both sides across the edge.

    Of two equal neighbours in a row or a column the first is taken, so that their edge is thin.
    """
    wide = np.pad(size, 1)

    def beside(row: int, column: int) -> Any:
        height, width = size.shape
        return wide[1 + row : 1 + row + height, 1 + column : 1 + column + width]

    x, y = np.abs(dx).astype(np.int32), np.abs(dy).astype(np.int32) << 15
    steep, flat = x * _TANGENT, x * (_TANGENT + 2**16)
    horizontal, vertical = y < steep, y > flat
    falling = (dx < 0) != (dy < 0)
    rising_ridge = (size > beside(-1, -1)) & (size > beside(1, 1))
    falling_ridge = (size > beside(-1, 1)) & (size > beside(1, -1))
    ridge: _Flags = np.select(
        [horizontal, vertical, falling],
        [
            (size > beside(0, -1)) & (size >= beside(0, 1)),
            (size > beside(-1, 0)) & (size >= beside(1, 0)),
            falling_ridge,
        ],
        rising_ridge,
    )
    return ridge


def _connected(weak: _Flags, strong: _Flags) -> _Flags:
    """Give what of ``weak`` hangs together with ``strong``, diagonals included."""
    width = weak.shape[1] + 2
    left = np.pad(weak, 1).ravel()  # The rim keeps neighbours from wrapping around.
    found = np.zeros_like(left)
    steps = np.array([row * width + column for row in (-1, 0, 1) for column in (-1, 0, 1)])
    front = np.flatnonzero(np.pad(strong & weak, 1))
    left[front] = False
    while front.size:
        found[front] = True
        near = (front[:, None] + steps).ravel()
        near = np.unique(near[left[near]])
        left[near] = False
        front = near
    return found.reshape(-1, width)[1:-1, 1:-1]
