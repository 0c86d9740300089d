"""A picture as it is shown to a model: upright, opaque, scaled, cropped, mirrored.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from core.errors import DatasetInvalid, InvalidRequest
from core.events import Pixels
from core.images.reading import opaque_rgb, open_picture, sha256_of
from core.training.buckets import Fit, Size

Greys = npt.NDArray[np.uint8]
"""``(H, W) uint8``: 255 where a picture is learned, 0 where it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A picture to learn from.

    Attributes:
        path: Its file.
        caption: What it shows, before a trigger word; may be empty.
        width: In pixels, upright.
        height: In pixels, upright.
        sha256: Of its file, 64 hex digits.
        repeats: How often an epoch shows it.
        mask: The file of its mask, if masks are used and it has one.
        mask_sha256: Of that file, or empty.
    """

    path: Path
    caption: str
    width: int
    height: int
    sha256: str
    repeats: int = 1
    mask: Path | None = None
    mask_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Upright:
    """A picture as it was read.

    Attributes:
        image: Upright, 8-bit sRGB, what is transparent laid over a colour.
        alpha: How opaque it is, mode ``L``; None if it has no transparency.
        frames: How many pictures the file holds, of which this is the first.
    """

    image: Image.Image
    alpha: Image.Image | None
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How a picture is shown.

    Attributes:
        fit: To which shape it is brought.
        crop: Left and top of the part that is kept, in the scaled picture.
        flip: Whether it is mirrored.
        background: Colour under transparent parts, ``#rrggbb``.
    """

    fit: Fit
    crop: Size
    flip: bool
    background: str

    @property
    def corner(self) -> Size:
        """Left and top of the part that is kept, in the scaled picture as it is seen."""
        left, top = self.crop
        return (self.fit.room[0] - left if self.flip else left), top

    def of(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """Scale, crop and mirror an upright picture or mask, ``(H, W, 3)`` or ``(H, W)``."""
        left, top = self.crop
        width, height = self.fit.bucket
        scaled = image.resize(self.fit.scaled, Image.Resampling.LANCZOS)
        cropped = scaled.crop((left, top, left + width, top + height))
        return np.array(ImageOps.mirror(cropped) if self.flip else cropped)


def show(example: Example, view: View, *, masked: bool) -> tuple[Pixels, Greys | None]:
    """Read a picture as it is shown.

    Args:
        example: The picture.
        view: How it is shown.
        masked: Whether its mask is wanted, from the file beside it or else its transparency.

    Returns:
        ``(H, W, 3) uint8`` and ``(H, W) uint8``, or None for the mask if it has none.

    Raises:
        DatasetInvalid: If a file has gone or changed since the folder was looked through.
    """
    _check_unchanged(example.path, example.sha256)
    upright = read_upright(example.path, view.background)
    mask = None
    if masked and example.mask is not None:
        _check_unchanged(example.mask, example.mask_sha256)
        mask = read_mask(example.mask, upright.image.size)
    elif masked:
        mask = upright.alpha
    return view.of(upright.image), None if mask is None else view.of(mask)


def read_upright(path: Path, background: str) -> Upright:
    """Read a picture of any kind.

    Args:
        path: Its file.
        background: Colour under transparent parts.

    Raises:
        DatasetInvalid: If there is no such file any more or it is no whole picture.
    """
    with _explained(path) as picture:
        # A phone's JPEG that holds a preview beside it is no animation.
        frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
        picture.seek(0)
        upright = ImageOps.exif_transpose(picture)
        alpha = None
        if upright.has_transparency_data:
            alpha = upright.convert("RGBA").getchannel("A")
        return Upright(opaque_rgb(upright, background), alpha, frames)


def read_mask(path: Path, size: Size) -> Image.Image:
    """Read a mask: white where the picture beside is learned, black where it is not.

    Args:
        path: Its file.
        size: Of the picture, upright.

    Returns:
        Mode ``L``, of that size.

    Raises:
        DatasetInvalid: If it cannot be read, has another shape than the picture, or is all black.
    """
    greys = read_upright(path, "#000000").image.convert("L")
    width, height = size
    if abs(greys.width * height - greys.height * width) > max(width, height, *greys.size):
        raise DatasetInvalid(
            f"{path} is {greys.width} x {greys.height} pixels and its picture {width} x {height}; "
            "give it the picture's shape."
        )
    if greys.getextrema()[1] == 0:
        raise DatasetInvalid(f"{path} is black all over; paint white what is to be learned.")
    return greys if greys.size == size else greys.resize(size, Image.Resampling.BILINEAR)


def _check_unchanged(path: Path, sha256: str) -> None:
    """Make sure that a file is still the one that was found.

    Raises:
        DatasetInvalid: If it is not.
    """
    try:
        now = sha256_of(path, field="data")
    except InvalidRequest:
        now = ""
    if now != sha256:
        what = "has changed" if now else "cannot be read any more"
        raise DatasetInvalid(
            f"{path} {what} since the training began; put it back, or start a new training."
        )


@contextmanager
def _explained(path: Path) -> Iterator[Image.Image]:
    try:
        with open_picture(path, field="data") as picture:
            yield picture
    except InvalidRequest as error:
        raise DatasetInvalid(error.reason) from error
