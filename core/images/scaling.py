"""Pictures made larger or smaller. Imports no torch."""

from __future__ import annotations

import numpy as np
from PIL import Image

from core.events import Pixels


def scaled(pixels: Pixels, width: int, height: int) -> Pixels:
    """Scale ``(h, w, 3) uint8`` with a Lanczos filter; a picture of that size stays as it is.

    Returns:
        ``(height, width, 3) uint8``.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))
