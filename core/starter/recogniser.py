"""Tells what a picture of the starter world shows, to measure how well prompts are followed.

Colours are read off: the ground is the palette colour nearest to the border, a thing is a connected
region that differs from it. Shapes are told by a small network on the region's outline, trained on
renders alone, never on generated pictures.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.starter import render, shapes
from core.starter.world import COLOURS, Scene, Thing

OTHER = "other"
LABELS = (*shapes.NAMES, OTHER)
CROP = 40
_CONTRAST = 0.17
"""RGB distance (0 to 1.73) from the ground at which a pixel belongs to a thing."""
_SMALLEST = 0.008
"""Smallest share of the picture that counts as a thing."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A thing seen. ``x`` and ``y`` run from -1 to 1; ``area`` is a share of the picture."""

    shape: str
    colour: str
    x: float
    y: float
    area: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What a picture shows: its ground, and its things from the largest on."""

    ground: str
    things: tuple[Sighting, ...]


@dataclass(frozen=True, slots=True)
class _Region:
    mask: Tensor  # (H, W) bool
    colour: Tensor  # (3,)
    area: float


class Recogniser:
    """Reads pictures of the world."""

    def __init__(self, network: nn.Module) -> None:
        """Use a trained network; see ``train_recogniser``."""
        self._network = network.eval()

    @torch.inference_mode()
    def read(self, picture: Tensor) -> Seen:
        """Tell what ``(3, H, W) float32`` (0 to 1) shows."""
        ground, regions = _segment(picture)
        things = []
        for region in regions:
            crop = _crop(region.mask)[None, None]
            shape = LABELS[int(self._network(crop).argmax())]
            rows, columns = region.mask.nonzero(as_tuple=True)
            side = picture.shape[-1]
            x, y = (float(c.float().mean() + 0.5) / side * 2 - 1 for c in (columns, rows))
            things.append(Sighting(shape, _nearest(region.colour), x, y, region.area))
        return Seen(_nearest(ground), tuple(things))


def train_recogniser(*, steps: int = 300, seed: int = 5) -> Recogniser:
    """Train the network on outlines of renders: about a minute on one core."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(1, 24, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(24, 48, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(48, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 25, 128),
        nn.ReLU(),
        nn.Linear(128, len(LABELS)),
    )
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-3)
    crops, labels = _examples(1100, rng)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, 2 * (1 - step / steps))
        rows = torch.tensor([rng.randrange(len(labels)) for _ in range(64)])
        loss = F.cross_entropy(network(crops[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return Recogniser(network)


def _examples(count: int, rng: random.Random) -> tuple[Tensor, Tensor]:
    """Outlines ``(N, 1, CROP, CROP)`` and labels ``(N,)``; one in sixteen is no known shape."""
    crops: list[Tensor] = []
    labels: list[int] = []
    names = list(COLOURS)
    strange = count // 16
    scenes: list[Scene] = []
    for number in range(count - strange):
        ground, colour = rng.sample(names, 2)
        shape = LABELS[number % (len(LABELS) - 1)]
        scenes.append(Scene((Thing(shape, colour, rng.choice(("small", "", "big"))),), ground))
    drawn = [render.draw_scenes(scenes[k : k + 64], rng) for k in range(0, len(scenes), 64)]
    pictures = torch.cat([*drawn, render.draw_abstract(strange, rng)])
    asked = [scene.things[0].shape for scene in scenes] + [OTHER] * strange
    for picture, label in zip(pictures, asked, strict=True):
        soft = F.avg_pool2d(picture[None], 3, 1, 1)[0] if rng.random() < 0.5 else picture
        _, regions = _segment(soft + 0.02 * torch.randn_like(soft))
        if regions:
            crops.append(_crop(regions[0].mask)[None])
            labels.append(LABELS.index(label))
    return torch.stack(crops), torch.tensor(labels)


def _palette() -> Tensor:
    return torch.tensor(list(COLOURS.values())).float() / 255  # (10, 3)


def _nearest(colour: Tensor) -> str:
    return list(COLOURS)[int((_palette() - colour).norm(dim=1).argmin())]


def _segment(picture: Tensor) -> tuple[Tensor, list[_Region]]:
    """Give the ground's colour ``(3,)`` and the regions that differ, from the largest on."""
    side = picture.shape[-1]
    margin = max(side // 32, 1)
    inner = torch.zeros(side, side, dtype=torch.bool)
    inner[margin:-margin, margin:-margin] = True
    ground = picture[:, ~inner].median(dim=1).values
    different = (picture - ground[:, None, None]).norm(dim=0) > _CONTRAST
    regions = []
    for mask in _components(different):
        area = float(mask.float().mean())
        if area >= _SMALLEST:
            core = -F.max_pool2d(-mask[None].float(), 3, 1, 1)[0] > 0
            inside = core if core.sum() >= 12 else mask
            regions.append(_Region(mask, picture[:, inside].median(dim=1).values, area))
    return ground, sorted(regions, key=lambda region: -region.area)


def _components(mask: Tensor) -> list[Tensor]:
    """Split ``(H, W) bool`` into its connected parts (eight neighbours).

    Rows are cut into runs, and runs that touch one of the row above join its part (Rosenfeld &
    Pfaltz 1966, in the form for run-length codes).
    """
    parents: list[int] = []

    def root(run: int) -> int:
        while parents[run] != run:
            run = parents[run]
        return run

    edges = torch.diff(F.pad(mask.int(), (1, 1)), dim=1)
    starts, ends = (edges == 1).nonzero().tolist(), (edges == -1).nonzero().tolist()
    runs = [(row, start, end) for (row, start), (_, end) in zip(starts, ends, strict=True)]
    by_row: dict[int, list[int]] = {}
    for number, (row, start, end) in enumerate(runs):
        parents.append(number)
        for other in by_row.get(row - 1, ()):
            if runs[other][1] <= end and start <= runs[other][2]:
                parents[root(other)] = number
        by_row.setdefault(row, []).append(number)
    parts: dict[int, Tensor] = {}
    for number, (row, start, end) in enumerate(runs):
        part = root(number)
        if part not in parts:
            parts[part] = torch.zeros_like(mask)
        parts[part][row, start:end] = True
    return list(parts.values())


def _crop(mask: Tensor) -> Tensor:
    """Fit a region into ``(CROP, CROP) float32`` without changing its proportions."""
    rows, columns = mask.nonzero(as_tuple=True)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    box = mask[top:bottom, left:right].float()
    side = max(box.shape)
    above, before = (side - box.shape[0]) // 2, (side - box.shape[1]) // 2
    square = F.pad(box, (before, side - box.shape[1] - before, above, side - box.shape[0] - above))
    size = (CROP, CROP)
    return F.interpolate(square[None, None], size, mode="bilinear", align_corners=False)[0, 0]


def follows(seen: Seen, scene: Scene) -> dict[str, bool]:
    """Compare a picture with the scene that was asked for.

    Returns:
        ``ground``, ``count``, ``colour``, ``shape``, ``colour_and_shape`` and ``position``; of
        two different things both must be right, each in its place.
    """
    wanted, found = scene.things, seen.things
    by_place = sorted(found[: len(wanted)], key=lambda t: t.y if scene.relation == "above" else t.x)
    same = len(found) >= len(wanted)
    different = len(wanted) == 2 and wanted[0] != wanted[1]
    if different and not same:
        return dict.fromkeys(
            ("count", "colour", "shape", "colour_and_shape", "position"), False
        ) | {"ground": seen.ground == scene.ground}
    pairs = list(zip(by_place, wanted, strict=False))
    both = same and all(s.colour == w.colour and s.shape == w.shape for s, w in pairs)
    ordered = sorted((s.colour, s.shape) for s, _ in pairs)
    asked = sorted((w.colour, w.shape) for w in wanted)
    return {
        "ground": seen.ground == scene.ground,
        "count": len(found) == len(wanted),
        "colour": same and sorted(c for c, _ in ordered) == sorted(c for c, _ in asked),
        "shape": same and sorted(s for _, s in ordered) == sorted(s for _, s in asked),
        "colour_and_shape": same and ordered == asked,
        "position": both if different else same and _in_place(found[0], scene),
    }


def _in_place(thing: Sighting, scene: Scene) -> bool:
    match scene.place:
        case "anywhere":
            return True
        case "centre":
            return abs(thing.x) < 0.25 and abs(thing.y) < 0.25
        case "left":
            return thing.x < -0.15
        case "right":
            return thing.x > 0.15
        case "top":
            return thing.y < -0.15
        case "bottom":
            return thing.y > 0.15
