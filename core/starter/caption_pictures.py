"""What the starter's captioner learns from: pictures of the world, spoiled a little, and captions.

Unlike the model that draws, it is to know all of the world, what is kept from that model included:
it names the pictures that somebody teaches the model with.
"""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from core.starter.render import SIDE, Drawing, draw, lay_out
from core.starter.world import (
    COLOURS,
    HELD_OUT_SHAPES,
    HELD_OUT_STYLE,
    HELD_OUT_TEXTURE,
    SHAPES,
    Place,
    Scene,
    Texture,
    Thing,
    describe,
    sample_scene,
)

Colour = tuple[float, float, float]
"""sRGB, 0 to 1."""

_REACH = 0.48
"""How far from the middle a thing stands that stands on a side, where it has the room."""


SHADES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "red": ((255, 0, 0), (170, 10, 20), (220, 60, 50)),
    "orange": ((255, 165, 0), (255, 120, 0), (230, 125, 50)),
    "yellow": ((255, 255, 0), (255, 215, 0), (240, 230, 110)),
    "green": ((0, 128, 0), (0, 255, 0), (0, 100, 40), (110, 200, 90)),
    "blue": ((0, 0, 255), (20, 40, 140), (0, 120, 255), (70, 130, 220)),
    "purple": ((128, 0, 128), (150, 0, 210), (90, 30, 140), (150, 90, 200)),
    "pink": ((255, 192, 203), (255, 105, 180), (240, 170, 190)),
    "white": ((255, 255, 255), (236, 236, 236), (250, 248, 240)),
    "grey": ((128, 128, 128), (110, 112, 116), (165, 165, 165)),
    "black": ((0, 0, 0), (40, 40, 42), (16, 18, 30)),
}
"""What else is called by the names of the world's colours; a person's pictures have any of it."""

_SHADED_SHARE = 0.6
_ONE_COLOUR_SHARE = 0.3
"""Of pairs of different shapes; without it they are rare, and are told as two of one shape."""


@dataclass(frozen=True, slots=True)
class Captioned:
    """Pictures ``(B, 3, SIDE, SIDE) float32``, 0 to 1, and the full caption of each."""

    pictures: Tensor
    captions: list[str]


def sample_known(rng: random.Random, *, easy: bool = False) -> Scene:
    """Draw a scene of all the world, with more of what is rare in it than the model sees."""
    scene = sample_scene(rng, held_out=None, easy=easy)
    if easy:
        return scene
    first, last = scene.things[0], scene.things[-1]
    if first.shape != last.shape and rng.random() < _ONE_COLOUR_SHARE:
        scene = replace(scene, things=(first, replace(last, colour=first.colour)))
    chance = rng.random()
    if chance < 0.10:
        return _with_shape(scene, rng.choice(HELD_OUT_SHAPES))
    if chance < 0.22 and len(scene.things) == 1:
        texture: Texture = HELD_OUT_TEXTURE if chance < 0.16 else "striped"
        return replace(scene, things=(replace(scene.things[0], texture=texture),), style="flat")
    if chance < 0.30:
        return replace(scene, style="outline", things=_plain(scene))
    if chance < 0.36 and all(thing.colour != "black" for thing in scene.things):
        return replace(scene, style=HELD_OUT_STYLE, things=_plain(scene))
    return scene


def captioned(scenes: list[Scene], rng: random.Random, *, shades: bool = False) -> Captioned:
    """Draw scenes, and tell what the pictures show.

    Args:
        scenes: What to draw.
        rng: Source of chance.
        shades: Whether some are drawn in other shades of their colours than the world's.
    """
    drawings = [lay_out(scene, rng) for scene in scenes]
    if shades:
        drawings = [
            _shaded(scene, drawing, rng) if rng.random() < _SHADED_SHARE else drawing
            for scene, drawing in zip(scenes, drawings, strict=True)
        ]
    pairs = zip(scenes, drawings, strict=True)
    return Captioned(draw(drawings), [describe(as_seen(*pair)) for pair in pairs])


def as_seen(scene: Scene, drawing: Drawing) -> Scene:
    """Give the scene that the picture itself shows, so that it has one full caption.

    A thing that was put anywhere may stand on a side, and neon's ground is next to black.
    """
    if scene.style == HELD_OUT_STYLE:
        scene = replace(scene, ground="black")
    if len(scene.things) > 1 or scene.place != "anywhere":
        return scene
    layer = drawing.layers[0]
    reach = min(_REACH, 0.97 - layer.extent)
    return replace(scene, place=_place(layer.x / reach, layer.y / reach))


def spoil(pictures: Tensor, rng: random.Random) -> Tensor:
    """Do to pictures what cameras, other sizes, JPEG and generating models do, each to some.

    Args:
        pictures: ``(B, 3, SIDE, SIDE) float32``, 0 to 1; the order is kept.
        rng: Source of chance.

    Returns:
        The same shape and range.
    """
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    spoiled = pictures.clone()
    for change, share in ((_moved, 0.4), (_scaled, 0.3), (_blurred, 0.25), (_tinted, 0.6),
                          (_noisy, 0.35), (_blotched, 0.3), (_as_jpeg, 0.3)):  # fmt: skip
        rows = torch.tensor([row for row in range(len(pictures)) if rng.random() < share])
        if len(rows):
            spoiled[rows] = change(spoiled[rows], generator).clamp(0, 1)
    return (spoiled * 255).round() / 255


def _shaded(scene: Scene, drawing: Drawing, rng: random.Random) -> Drawing:
    """Draw each colour of a scene anew, somewhere between the world's and another of that name."""
    steps = {}
    for name in COLOURS:
        share, other = rng.random(), rng.choice(SHADES[name])
        steps[name] = tuple(
            (share * (there - here) + rng.uniform(-8, 8)) / 255
            for here, there in zip(COLOURS[name], other, strict=True)
        )
    layers = tuple(
        replace(
            layer,
            colour=_moved_colour(layer.colour, steps[thing.colour]),
            second=_moved_colour(layer.second, steps[thing.colour]),
        )
        for layer, thing in zip(drawing.layers, scene.things, strict=True)
    )
    if scene.style == HELD_OUT_STYLE:
        return replace(drawing, layers=layers)
    return Drawing(_moved_colour(drawing.ground, steps[scene.ground]), layers)


def _moved_colour(colour: Colour, step: Sequence[float]) -> Colour:
    red, green, blue = (
        min(max(value + by, 0.0), 1.0) for value, by in zip(colour, step, strict=True)
    )
    return (red, green, blue)


def _with_shape(scene: Scene, shape: str) -> Scene:
    """Put a shape in the place of the first thing's, or of all that are like it."""
    first = scene.things[0]
    changed = replace(first, shape=shape)
    return replace(scene, things=tuple(changed if t == first else t for t in scene.things))


def _plain(scene: Scene) -> tuple[Thing, ...]:
    return tuple(replace(thing, texture="plain") for thing in scene.things)


def _place(x: float, y: float) -> Place:
    """Name the place of a thing; 1 is where one stands that was put on a side."""
    if max(abs(x), abs(y)) < 0.35:
        return "centre"
    if abs(x) > 0.7 and abs(y) < 0.4:
        return "right" if x > 0 else "left"
    if abs(y) > 0.7 and abs(x) < 0.4:
        return "bottom" if y > 0 else "top"
    return "anywhere"


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draw ``(count,)`` numbers."""
    return torch.rand(count, generator=generator) * (high - low) + low


def _moved(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Shift, turn and stretch a little; what comes in at an edge repeats it."""
    count = len(pictures)
    turn = _uniform(count, -0.08, 0.08, generator)
    wide, high = (_uniform(count, 0.92, 1.08, generator) for _ in range(2))
    x, y = (_uniform(count, -0.05, 0.05, generator) for _ in range(2))
    rows = torch.stack((turn.cos() * wide, -turn.sin(), x, turn.sin(), turn.cos() * high, y), dim=1)
    grid = F.affine_grid(rows.view(count, 2, 3), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def _scaled(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Bring to a smaller size and back."""
    side = int(torch.randint(40, 112, (), generator=generator))
    small = F.interpolate(pictures, size=(side, side), mode="bilinear", antialias=True)
    return F.interpolate(small, size=(SIDE, SIDE), mode="bicubic")


def _blurred(pictures: Tensor, generator: torch.Generator) -> Tensor:
    del generator
    soft = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return F.avg_pool2d(F.pad(soft, (1, 1, 1, 1), mode="replicate"), 3, 1)


def _tinted(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Change the light: each channel by itself, and all of them together."""
    count = len(pictures)
    gain = _uniform(3 * count, 0.95, 1.05, generator).view(count, 3, 1, 1)
    light = _uniform(count, 0.93, 1.05, generator).view(count, 1, 1, 1)
    lift = _uniform(3 * count, -0.025, 0.025, generator).view(count, 3, 1, 1)
    return pictures * gain * light + lift


def _noisy(pictures: Tensor, generator: torch.Generator) -> Tensor:
    much = _uniform(len(pictures), 0, 0.04, generator).view(-1, 1, 1, 1)
    return pictures + much * torch.randn(pictures.shape, generator=generator)


def _blotched(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Let colours drift over the picture, as a generated one's do."""
    coarse = torch.randn((len(pictures), 3, 6, 6), generator=generator)
    drift = F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic")
    return pictures + 0.02 * drift


def _as_jpeg(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Write to JPEG and read again."""
    qualities = torch.randint(30, 92, (len(pictures),), generator=generator).tolist()
    levels = (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()
    read = []
    for picture, quality in zip(levels, qualities, strict=True):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
        with Image.open(buffer) as image:
            read.append(np.array(image))
    return torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).float() / 255


def words_before(rng: random.Random) -> str:
    """Make up words that may stand before a caption and say nothing of the picture."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    strange = "".join(rng.choice(letters) for _ in range(rng.randint(2, 8)))
    known = rng.choice((*SHAPES, *COLOURS, "picture", "style"))
    return rng.choice(
        (
            strange,
            f"{strange},",
            f"{strange} {known},",
            f"a picture of {strange},",
            "a picture of",
            "a photo of",
            "a photography of",
            f"in the style of {strange},",
        )
    )
