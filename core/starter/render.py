"""Draws scenes. Every pixel is computed here; no picture, font or glyph comes from elsewhere."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.starter import shapes
from core.starter.world import COLOURS, SIZES, Place, Scene

SIDE = 128
"""Width and height of the world's pictures, in pixels."""

_CENTRES: dict[Place, tuple[float, float]] = {
    "left": (-0.48, 0.0),
    "right": (0.48, 0.0),
    "top": (0.0, -0.48),
    "bottom": (0.0, 0.48),
    "centre": (0.0, 0.0),
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One thing, placed. Coordinates run from -1 to 1, y downwards; colours from 0 to 1.

    Attributes:
        field: ``(S, S)`` distance field of its shape.
        x: Centre.
        y: Centre.
        extent: Half of its size.
        turn: Radians, clockwise.
        colour: sRGB.
        second: sRGB of stripes and checks.
        texture: ``plain``, ``striped`` or ``checkered``.
        style: ``flat``, ``outline`` or ``neon``.
    """

    field: Tensor
    x: float
    y: float
    extent: float
    turn: float
    colour: tuple[float, float, float]
    second: tuple[float, float, float]
    texture: str
    style: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture before its pixels: a ground colour (0 to 1) and layers, bottom first."""

    ground: tuple[float, float, float]
    layers: tuple[Layer, ...]


def lay_out(scene: Scene, rng: random.Random) -> Drawing:
    """Place a scene's things, with the small chances that make no two pictures equal."""
    ground = _shade(scene.ground, rng)
    if scene.style == "neon":
        red, green, blue = ground
        ground = (0.12 * red, 0.12 * green, 0.12 * blue)
    layers = []
    for thing, (x, y, extent) in zip(scene.things, _places(scene, rng), strict=True):
        colour = _shade(thing.colour, rng)
        lift = 1.0 if sum(colour) < 1.9 else 0.0
        red, green, blue = (0.45 * value + 0.55 * lift for value in colour)
        layers.append(
            Layer(
                field=shapes.fields()[shapes.index_of(thing.shape)],
                x=x,
                y=y,
                extent=extent,
                turn=rng.uniform(-0.12, 0.12),
                colour=colour,
                second=(red, green, blue),
                texture=thing.texture,
                style=scene.style,
            )
        )
    return Drawing(ground, tuple(layers))


def _shade(name: str, rng: random.Random) -> tuple[float, float, float]:
    red, green, blue = ((level + rng.uniform(-6, 6)) / 255 for level in COLOURS[name])
    return (min(max(red, 0), 1), min(max(green, 0), 1), min(max(blue, 0), 1))


def _places(scene: Scene, rng: random.Random) -> list[tuple[float, float, float]]:
    """Centre and half extent of every thing."""

    def near(x: float, y: float, extent: float, jitter: float = 0.05) -> tuple[float, float, float]:
        size = extent * rng.uniform(0.93, 1.07)
        room = max(0.97 - size, 0.0)
        x, y = x + rng.uniform(-jitter, jitter), y + rng.uniform(-jitter, jitter)
        return min(max(x, -room), room), min(max(y, -room), room), size

    if len(scene.things) == 1:
        extent = SIZES[scene.things[0].size]
        if scene.place == "anywhere":
            return [near(rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5), extent)]
        return [near(*_CENTRES[scene.place], extent)]
    if len(scene.things) == 3:
        return [near(0, -0.46, 0.38), near(-0.48, 0.44, 0.38), near(0.48, 0.44, 0.38)]
    if scene.relation == "above":
        return [near(0, -0.48, 0.41), near(0, 0.48, 0.41)]
    return [near(-0.48, 0, 0.41), near(0.48, 0, 0.41)]


def draw(drawings: list[Drawing], side: int = SIDE) -> Tensor:
    """Compute the pixels of some drawings.

    Returns:
        ``(B, 3, side, side) float32``, 0 to 1.
    """
    picture = torch.tensor([drawing.ground for drawing in drawings])[:, :, None, None]
    picture = picture.expand(-1, -1, side, side).clone()  # (B, 3, H, W)
    depth = max(len(drawing.layers) for drawing in drawings)
    for level in range(depth):
        rows = [row for row, drawing in enumerate(drawings) if len(drawing.layers) > level]
        layers = [drawings[row].layers[level] for row in rows]
        picture[rows] = _paint(picture[rows], layers, side)
    return picture.clamp(0, 1)


def _paint(below: Tensor, layers: list[Layer], side: int) -> Tensor:
    """Put one layer on each picture: ``(B, 3, H, W)`` in and out."""
    place = torch.tensor([[layer.x, layer.y, layer.extent, layer.turn] for layer in layers])
    centre, extent, turn = place[:, :2], place[:, 2], place[:, 3]
    axis = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    at = torch.stack((x, y), dim=-1)[None] - centre[:, None, None, :]  # (B, H, W, 2)
    cos, sin = turn.cos(), turn.sin()
    spin = torch.stack((torch.stack((cos, sin), -1), torch.stack((-sin, cos), -1)), -2)
    own = torch.einsum("bhwj,bij->bhwi", at, spin) / extent[:, None, None, None]
    field = torch.stack([layer.field for layer in layers])[:, None]
    distance = F.grid_sample(
        field, own / shapes.FIELD_EXTENT, padding_mode="border", align_corners=False
    )[:, 0]  # (B, H, W), in half extents
    beyond = own - own.clamp(-shapes.FIELD_EXTENT, shapes.FIELD_EXTENT)
    distance = distance + beyond.norm(dim=-1)
    distance = distance * (extent[:, None, None] * side / 2)  # in pixels

    colour = torch.tensor([layer.colour for layer in layers])[:, :, None, None]
    second = torch.tensor([layer.second for layer in layers])[:, :, None, None]
    ink = torch.where(_texture_mask(layers, own)[:, None], second, colour)
    style = [layer.style for layer in layers]
    outline = torch.tensor([name == "outline" for name in style])[:, None, None]
    neon = torch.tensor([name == "neon" for name in style])[:, None, None]
    width = (extent * side * 0.055)[:, None, None]
    edge = distance.abs() - width
    cover = (0.5 - torch.where(outline | neon, edge, distance)).clamp(0, 1)
    glow = torch.where(neon, torch.exp(-edge.clamp(min=0) / (3 * width)) * 0.6, 0.0)
    cover = torch.maximum(cover, glow)[:, None]
    return below * (1 - cover) + ink * cover


def _texture_mask(layers: list[Layer], own: Tensor) -> Tensor:
    """Where the second colour shows: ``(B, H, W) bool``."""
    names = [layer.texture for layer in layers]
    striped = torch.tensor([name == "striped" for name in names])[:, None, None]
    checkered = torch.tensor([name == "checkered" for name in names])[:, None, None]
    stripes = torch.sin(own[..., 1] * 2 * math.pi * 1.6) > 0
    columns = torch.sin(own[..., 0] * 2 * math.pi * 1.6) > 0
    return (striped & stripes) | (checkered & (stripes ^ columns))


def draw_scenes(scenes: list[Scene], rng: random.Random, side: int = SIDE) -> Tensor:
    """Lay out and draw scenes: ``(B, 3, side, side) float32``, 0 to 1."""
    return draw([lay_out(scene, rng) for scene in scenes], side)


def draw_abstract(count: int, rng: random.Random, side: int = SIDE) -> Tensor:
    """Draw blobs, polygons and gratings in any colour, for an autoencoder that is not too narrow.

    Returns:
        ``(count, 3, side, side) float32``, 0 to 1.
    """
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    fields = shapes.blob_fields(8, generator)

    def colour() -> tuple[float, float, float]:
        return (rng.random(), rng.random(), rng.random())

    drawings = []
    for _ in range(count):
        layers = tuple(
            Layer(
                field=rng.choice(fields),
                x=rng.uniform(-0.8, 0.8),
                y=rng.uniform(-0.8, 0.8),
                extent=rng.uniform(0.15, 0.9),
                turn=rng.uniform(0, 6.3),
                colour=colour(),
                second=colour(),
                texture=rng.choice(("plain", "plain", "striped")),
                style=rng.choice(("flat", "flat", "flat", "outline")),
            )
            for _ in range(rng.randint(1, 4))
        )
        drawings.append(Drawing(colour(), layers))
    return draw(drawings, side)
