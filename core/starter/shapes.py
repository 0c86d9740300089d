"""Every shape as a signed distance field, computed once from outlines and strokes of our own.

All coordinates lie in a box of -1 to 1, y downwards, the shape's extent about 1. A distance is
negative inside. Fill, outline and glow all come from the same distance (Quilez, "2D distance
functions", https://iquilezles.org/articles/distfunctions2d/).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from core.starter.world import DIGITS, HELD_OUT_SHAPES, SHAPES

FIELD_SIZE = 160
FIELD_EXTENT = 1.4
"""A field covers -1.4 to 1.4; beyond, its border value goes on."""

NAMES: tuple[str, ...] = (*SHAPES, *DIGITS, *HELD_OUT_SHAPES)

Points = list[tuple[float, float]]


def index_of(shape: str) -> int:
    """Where ``shape`` stands in ``fields()``."""
    return NAMES.index(shape)


@lru_cache(maxsize=1)
def fields() -> Tensor:
    """Compute the distance fields of all shapes.

    Returns:
        ``(len(NAMES), FIELD_SIZE, FIELD_SIZE) float32``, in units of half the shape's extent.
    """
    axis = (torch.arange(FIELD_SIZE) + 0.5) / FIELD_SIZE * 2 * FIELD_EXTENT - FIELD_EXTENT
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack((x, y), dim=-1)  # (S, S, 2)
    return torch.stack([_field(name, grid) for name in NAMES])


def blob_fields(count: int, generator: torch.Generator) -> Tensor:
    """Compute fields of random smooth blobs and polygons, which look like no named shape.

    Returns:
        ``(count, FIELD_SIZE, FIELD_SIZE) float32``.
    """
    axis = (torch.arange(FIELD_SIZE) + 0.5) / FIELD_SIZE * 2 * FIELD_EXTENT - FIELD_EXTENT
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid = torch.stack((x, y), dim=-1)
    blobs = []
    for number in range(count):
        corners = 48 if number % 2 else int(torch.randint(3, 9, (1,), generator=generator))
        angles = torch.arange(corners) / corners * 2 * math.pi
        waves = torch.randn(3, 2, generator=generator) * 0.16
        radius = torch.full((corners,), 0.75)
        for k, (a, b) in enumerate(waves, start=1):
            radius += a * (k * angles).cos() + b * (k * angles).sin()
        points = torch.stack((angles.cos(), angles.sin()), dim=-1) * radius.clamp(0.2, 1.1)[:, None]
        blobs.append(_polygon([(float(px), float(py)) for px, py in points], grid))
    return torch.stack(blobs)


def _field(name: str, grid: Tensor) -> Tensor:
    radius: Tensor = grid.norm(dim=-1)
    match name:
        case "circle":
            return radius - 0.9
        case "ring":
            return (radius - 0.72).abs() - 0.22
        case "moon":
            bite = (grid - torch.tensor([0.42, -0.1])).norm(dim=-1) - 0.78
            return torch.maximum(radius - 0.92, -bite)
        case "heart":
            return _polygon(_heart(), grid)
        case _ if name in DIGITS:
            return _strokes(_digit(int(name)), grid) - 0.17
        case _:
            return _polygon(_outline(name), grid)


def _outline(name: str) -> Points:
    match name:
        case "square":
            return [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)]
        case "triangle":
            return [(0.0, -0.92), (0.98, 0.78), (-0.98, 0.78)]
        case "diamond":
            return [(0.0, -1.0), (0.72, 0.0), (0.0, 1.0), (-0.72, 0.0)]
        case "cross":
            a, b = 0.32, 0.92
            return [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a),
                    (-b, a), (-b, -a), (-a, -a)]  # fmt: skip
        case "star":
            return [
                ((1.02 if k % 2 == 0 else 0.43) * math.sin(k * math.pi / 5),
                 -(1.02 if k % 2 == 0 else 0.43) * math.cos(k * math.pi / 5) + 0.06)
                for k in range(10)
            ]  # fmt: skip
        case "arrow":
            return [(0.98, 0.0), (0.2, -0.8), (0.2, -0.3), (-0.95, -0.3), (-0.95, 0.3), (0.2, 0.3),
                    (0.2, 0.8)]  # fmt: skip
        case _:
            raise AssertionError(f"no outline for {name}")


def _heart() -> Points:
    points = []
    for k in range(72):
        t = k / 72 * 2 * math.pi
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 17, -(y + 2.5) / 16))
    return points


def _arc(cx: float, cy: float, rx: float, ry: float, start: float, end: float) -> Points:
    """Points of an arc; angles in turns, clockwise on the screen, 0 at the right."""
    steps = 24
    angles = [(start + (end - start) * k / steps) * 2 * math.pi for k in range(steps + 1)]
    return [(cx + rx * math.cos(a), cy + ry * math.sin(a)) for a in angles]


def _digit(digit: int) -> list[Points]:
    match digit:
        case 0:
            return [_arc(0, 0, 0.46, 0.78, 0, 1)]
        case 1:
            return [[(-0.28, -0.5), (0.05, -0.78), (0.05, 0.78)]]
        case 2:
            return [[*_arc(0, -0.36, 0.46, 0.42, 0.5, 1.08), (-0.48, 0.78), (0.5, 0.78)]]
        case 3:
            upper, lower = (
                _arc(-0.04, -0.4, 0.42, 0.38, 0.55, 1.25),
                _arc(-0.04, 0.38, 0.48, 0.4, 0.75, 1.45),
            )
            return [[*upper, *lower]]
        case 4:
            return [[(0.22, 0.78), (0.22, -0.78), (-0.52, 0.32), (0.55, 0.32)]]
        case 5:
            return [
                [
                    (0.42, -0.78),
                    (-0.36, -0.78),
                    (-0.4, -0.12),
                    *_arc(-0.02, 0.26, 0.48, 0.52, 0.68, 1.42),
                ]
            ]
        case 6:
            return [
                _arc(0, 0.34, 0.46, 0.44, 0, 1),
                [(0.3, -0.74), (-0.05, -0.55), (-0.34, -0.15), (-0.46, 0.34)],
            ]
        case 7:
            return [[(-0.48, -0.78), (0.48, -0.78), (-0.12, 0.78)]]
        case 8:
            return [_arc(0, -0.4, 0.36, 0.38, 0, 1), _arc(0, 0.38, 0.46, 0.4, 0, 1)]
        case 9:
            return [
                _arc(0, -0.34, 0.46, 0.44, 0, 1),
                [(-0.3, 0.74), (0.05, 0.55), (0.34, 0.15), (0.46, -0.34)],
            ]
        case _:
            raise AssertionError(f"{digit} is no digit")


def _to_segments(grid: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Distance of every grid point to the nearest of some segments: ``(S, S)``."""
    nearest = torch.full(grid.shape[:-1], math.inf)
    for a, b in zip(start, end, strict=True):
        along = b - a
        t = ((grid - a) @ along / along.dot(along).clamp(min=1e-9)).clamp(0, 1)
        nearest = torch.minimum(nearest, (grid - a - t[..., None] * along).norm(dim=-1))
    return nearest


def _polygon(points: Points, grid: Tensor) -> Tensor:
    start = torch.tensor(points)
    end = start.roll(-1, 0)
    x, y = grid[..., 0], grid[..., 1]
    inside = torch.zeros(x.shape, dtype=torch.bool)
    for (ax, ay), (bx, by) in zip(start.tolist(), end.tolist(), strict=True):
        if ay != by:  # A ray to the right crosses this edge: even-odd rule.
            inside ^= ((ay > y) != (by > y)) & (x < (bx - ax) * (y - ay) / (by - ay) + ax)
    distance = _to_segments(grid, start, end)
    return torch.where(inside, -distance, distance)


def _strokes(strokes: list[Points], grid: Tensor) -> Tensor:
    starts = torch.tensor([point for stroke in strokes for point in stroke[:-1]])
    ends = torch.tensor([point for stroke in strokes for point in stroke[1:]])
    return _to_segments(grid, starts, ends)
