"""Shapes that pictures are brought to, so that those of one shape make a batch. Imports no torch.

All shapes have about as many pixels, so that each costs as much to learn from
(https://github.com/NovelAI/novelai-aspect-ratio-bucketing describes the idea).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import InvalidRequest
from core.models.identify import Identity
from core.training.config_parts import Crop, DataSettings

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How a picture is brought to a shape: scaled to cover it, then cropped.

    Attributes:
        bucket: The shape.
        scaled: The picture's size before it is cropped, at least as large on both sides.
    """

    bucket: Size
    scaled: Size

    @property
    def room(self) -> Size:
        """How far the crop can be moved to the right and down."""
        return self.scaled[0] - self.bucket[0], self.scaled[1] - self.bucket[1]

    def crop(self, kind: Crop, chance: random.Random) -> Size:
        """Choose the left and the top of the crop."""
        across, down = self.room
        if kind is Crop.CENTRE:
            return across // 2, down // 2
        return chance.randint(0, across), chance.randint(0, down)

    def is_fixed(self, kind: Crop) -> bool:
        """Say whether every showing has the same crop."""
        return kind is Crop.CENTRE or self.room == (0, 0)


def resolution_of(settings: DataSettings, identity: Identity) -> int:
    """Give the side of the square that has as many pixels as each bucket, in pixels."""
    return settings.resolution or min(identity.width, identity.height)


def step_of(identity: Identity) -> int:
    """Give what a bucket's sides are multiples of: the pixels of the UNet's coarsest cell."""
    halvings = len(identity.configs["unet"]["block_out_channels"]) - 1
    return int(identity.vae_scale * 2**halvings)


def make_buckets(resolution: int, step: int, *, square: bool = False) -> tuple[Size, ...]:
    """List the shapes there are.

    Args:
        resolution: Side of the square that has as many pixels as each at most has.
        step: Their sides are multiples of it.
        square: Whether the square is the only one.

    Returns:
        The square first; the others up to four times as long as wide, upright and lying.

    Raises:
        InvalidRequest: If not even the smallest shape has room.
    """
    side = resolution // step * step
    if not side:
        raise InvalidRequest(
            "resolution", f"{resolution} is too small for this model; give at least {step}."
        )
    sizes = [(side, side)]
    if square:
        return tuple(sizes)
    # From half the square's side on, and there twice it: four to one.
    for short in range(side - step, (side - 1) // 2, -step):
        long = resolution**2 // short // step * step
        sizes += [(short, long), (long, short)]
    return tuple(sizes)


def fit(width: int, height: int, buckets: Sequence[Size]) -> Fit:
    """Choose the shape that is most like a picture's own.

    Args:
        width: Of the picture, upright.
        height: Likewise.
        buckets: The shapes; of two that are as much like it the first is taken.
    """
    ratio = math.log(width / height)
    bucket = min(buckets, key=lambda size: abs(math.log(size[0] / size[1]) - ratio))
    return cover(width, height, bucket)


def cover(width: int, height: int, bucket: Size) -> Fit:
    """Scale a picture until it just covers a shape."""
    scale = max(bucket[0] / width, bucket[1] / height)
    scaled = max(bucket[0], round(width * scale)), max(bucket[1], round(height * scale))
    return Fit(bucket, scaled)
