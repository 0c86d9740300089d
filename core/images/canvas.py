"""What inpainting works on: a picture, the part of it to be painted anew, and the way back.

Imports no torch. Inpainting and outpainting differ in how their canvas is prepared and in nothing
after that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from core.events import Pixels
from core.images.mask import Mask, as_mask, read_mask, softened
from core.images.reading import fit, read_picture, size_of
from core.images.scaling import scaled
from core.request import LATENT_SCALE, Inpaint, Outpaint, Request

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the canvas, the last two excluded; it may lie beyond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """A picture and the part of it that is painted anew.

    Attributes:
        picture: ``(H, W, 3) uint8``, of the result's size, which need be no multiple of 8.
        mask: ``(H, W) bool``.
        blur: Pixels inside of the mask over which the new fades into the old.
        box: What the run looks at.
        width: To which ``box`` is scaled for the run, in pixels.
        height: Likewise.
        notices: What the person should know of how it was prepared.
    """

    picture: Pixels
    mask: Mask
    blur: int
    box: Box
    width: int
    height: int
    notices: tuple[str, ...] = ()

    def start(self) -> Pixels:
        """Give what the run starts from: ``(height, width, 3) uint8``.

        Beyond the picture its border is drawn out.
        """
        return self.seen(self.picture)

    def seen(self, pixels: Pixels) -> Pixels:
        """Give what the run looks at of a picture ``(H, W, 3)`` that lies under this one."""
        return scaled(_cut(pixels, self.box), self.width, self.height)

    def area(self) -> Mask:
        """Give the part that the run paints anew: ``(height, width) bool``.

        What becomes smaller keeps every pixel that the mask touches, so that no stroke is lost.
        """
        part = Image.fromarray(np.where(_cut(self.mask, self.box), 255, 0).astype(np.uint8))
        return np.asarray(part.resize((self.width, self.height), Image.Resampling.BOX)) > 0

    def finish(self, made: Pixels) -> Pixels:
        """Lay what was made over the picture, where the mask is and nowhere else.

        This is the one place where new and old are blended: on 8-bit pixels, after the VAE, by
        ``core.images.mask.softened``, so that a pixel outside of the mask is the picture's own.

        Args:
            made: ``(height, width, 3) uint8``.

        Returns:
            ``(H, W, 3) uint8``.
        """
        left, top, right, bottom = self.box
        part = scaled(made, right - left, bottom - top)
        rows, columns = self.picture.shape[:2]
        inside = np.s_[max(top, 0) : min(bottom, rows), max(left, 0) : min(right, columns)]
        part = part[max(-top, 0) :, max(-left, 0) :]
        old = self.picture[inside].astype(np.float32)
        new = part[: old.shape[0], : old.shape[1]].astype(np.float32)
        share = softened(self.mask, self.blur)[inside][..., None]
        result = self.picture.copy()
        result[inside] = np.rint(old + share * (new - old)).astype(np.uint8)
        return result


def result_size(request: Request) -> tuple[int, int]:
    """Give width and height of the pictures that a request makes, in pixels.

    Raises:
        InvalidRequest: If they are those of a start picture that cannot be read.
    """
    if not isinstance(request, Inpaint | Outpaint):
        return request.final_size
    size = size_of(Path(request.init_image), field="init_image")
    if isinstance(request, Inpaint):
        return size if request.only_masked else _kept_size(size, request.width, request.height)
    width, height = _kept_size(size, *request.kept_size)
    return request.left + width + request.right, request.top + height + request.bottom


def canvas_of(request: Inpaint | Outpaint) -> Canvas:
    """Prepare a request's canvas.

    Raises:
        InvalidRequest: If the picture or the mask cannot be read, or the mask is empty.
    """
    return _inpaint_canvas(request) if isinstance(request, Inpaint) else _outpaint_canvas(request)


def _inpaint_canvas(request: Inpaint) -> Canvas:
    path, mask_path = Path(request.init_image), Path(request.mask_image)
    picture = read_picture(path, field="init_image")
    drawn, (width, height) = read_mask(mask_path, invert=request.mask_invert)
    notices = []
    if (width, height) != picture.size:
        notices.append(
            f"The mask has {width} x {height} pixels and the picture {picture.width} x "
            f"{picture.height}; the mask was scaled to the picture."
        )
        drawn = drawn.resize(picture.size, Image.Resampling.BILINEAR)
    if request.only_masked:
        mask = as_mask(drawn, mask_path)
        box = _box_around(mask, request.padding, request.width / request.height)
    else:
        kept = _kept_size(picture.size, request.width, request.height)
        notices += _cropping(picture.size, kept)
        picture = fitted(picture, *kept)
        mask = as_mask(fitted(drawn, *kept), mask_path)
        box = (0, 0, request.width, request.height)
    return Canvas(
        picture=np.array(picture),
        mask=mask,
        blur=request.mask_blur,
        box=box,
        width=request.width,
        height=request.height,
        notices=tuple(notices),
    )


def _outpaint_canvas(request: Outpaint) -> Canvas:
    picture = read_picture(Path(request.init_image), field="init_image")
    kept_size = _kept_size(picture.size, *request.kept_size)
    kept = np.array(fitted(picture, *kept_size))
    sides = ((request.top, request.bottom), (request.left, request.right))
    old = np.pad(np.ones(kept.shape[:2], np.bool_), sides)
    # Of the picture, what lies so near to the new parts is painted anew with them.
    old = softened(old, request.mask_blur) == 1
    return Canvas(
        picture=np.pad(kept, (*sides, (0, 0)), mode="edge"),
        mask=~old,
        blur=request.mask_blur,
        box=(0, 0, request.width, request.height),
        width=request.width,
        height=request.height,
        notices=tuple(_cropping(picture.size, kept_size)),
    )


def _kept_size(size: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """Give the size that a picture has on a canvas for which a run has so much room.

    It keeps its own where the room is the next multiple of 8: what is over is drawn out of its
    border for the run and cut off behind it.
    """
    return size if _is_cropped((width, height), size) else (width, height)


def _cropping(size: tuple[int, int], kept: tuple[int, int]) -> list[str]:
    """Say that a picture loses pixels at its edges, if it does."""
    if kept == size or not _is_cropped(size, kept):
        return []
    return [
        f"Of the picture's {size[0]} x {size[1]} pixels {kept[0]} x {kept[1]} are kept; leave out "
        "width and height to keep them all."
    ]


def _is_cropped(size: tuple[int, int], kept: tuple[int, int]) -> bool:
    """Whether one size is so little larger than another that it is cropped and not scaled."""
    over = size[0] - kept[0], size[1] - kept[1]
    return all(0 <= pixels < LATENT_SCALE for pixels in over)


def fitted(image: Image.Image, width: int, height: int) -> Image.Image:
    """Scale and crop to cover a size; only crop where that takes less than 8 pixels of a side."""
    if _is_cropped(image.size, (width, height)):
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))
    return fit(image, width, height)


def _box_around(mask: Mask, padding: int, ratio: float) -> Box:
    """Give a box around the masked part, of a ratio of width to height, within the picture.

    Where the picture is too small for the ratio, the box lies beyond it evenly.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    top, bottom = max(int(rows[0]) - padding, 0), min(int(rows[-1]) + 1 + padding, height)
    left, right = max(int(columns[0]) - padding, 0), min(int(columns[-1]) + 1 + padding, width)
    wanted_width = max(right - left, math.ceil((bottom - top) * ratio))
    wanted_height = max(bottom - top, math.ceil((right - left) / ratio))
    left, right = _widened(left, right, wanted_width, width)
    top, bottom = _widened(top, bottom, wanted_height, height)
    return left, top, right, bottom


def _widened(start: int, end: int, wanted: int, limit: int) -> tuple[int, int]:
    """Widen an interval to both sides, moved into ``0 .. limit`` as far as it fits."""
    if wanted >= limit:
        start = -((wanted - limit) // 2)
        return start, start + wanted
    start -= (wanted - (end - start)) // 2
    start = min(max(start, 0), limit - wanted)
    return start, start + wanted


def _cut(pixels: np.ndarray, box: Box) -> np.ndarray:
    """Cut a box out of ``(H, W)`` or ``(H, W, 3)``; beyond it the border is drawn out."""
    left, top, right, bottom = box
    rows = np.clip(np.arange(top, bottom), 0, pixels.shape[0] - 1)
    columns = np.clip(np.arange(left, right), 0, pixels.shape[1] - 1)
    return pixels[rows[:, None], columns]
