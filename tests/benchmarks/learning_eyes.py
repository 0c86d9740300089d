"""What looks at pictures that were made of something new; taught on renders alone."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL

from core.events import Pixels
from core.models.catalog import resolve
from core.starter import render
from core.starter.recogniser import Recogniser, train_recogniser
from core.starter.shapes import NAMES
from core.starter.world import COLOURS, SHAPES, Scene, Style, Thing

CONTRAST = 0.17
"""RGB distance (0 to 1.73) from the ground at which a pixel belongs to a thing."""
RIM = 3
SPECK = 4
"""Pixels of a row that differ at least where a thing is."""


@dataclass(frozen=True, slots=True)
class Concept:
    """Something new to the model.

    Attributes:
        name: What it is.
        thing: Of this colour, one thing that shows it.
        varies: Whether its colour may be any.
        class_word: What the model knows of its kind.
        seen: Says whether a picture shows it.
    """

    name: str
    thing: Thing
    varies: bool
    class_word: str

    def like(self, colour: str) -> Thing:
        """Give it in a colour, if it has any."""
        return dataclasses.replace(self.thing, colour=colour) if self.varies else self.thing


TEXTURES = ("plain", "striped", "checkered")


class Eyes:
    """Reads pictures; taught on renders alone."""

    def __init__(self) -> None:
        """Learn: a minute on one core."""
        self._shapes: Recogniser = train_recogniser()
        self._textures = train_textures()

    def shows(self, concept: Concept, pixels: Pixels) -> bool:
        """Say whether a picture shows what is new."""
        picture = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255
        things = self._shapes.read(picture).things
        if concept.thing.texture != "plain":
            with torch.inference_mode():
                found = TEXTURES[int(self._textures(closer(picture)[None]).argmax())]
            if not things:
                return False
            is_shape = things[0].shape in (concept.thing.shape, "other")
            is_colour = concept.varies or things[0].colour == concept.thing.colour
            return is_shape and is_colour and found == concept.thing.texture
        if not things or things[0].shape != concept.thing.shape:
            return False
        return concept.varies or things[0].colour == concept.thing.colour

    def diversity(self, pictures: Sequence[Pixels], shape: str) -> Diversity:
        """Measure how different the things of a shape are from one another."""
        found = []
        for pixels in pictures:
            picture = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255
            found += [t for t in self._shapes.read(picture).things[:1] if t.shape == shape]
        counts = Counter(thing.colour for thing in found)
        shares = np.array(list(counts.values())) / max(len(found), 1)
        places = np.array([(thing.x, thing.y) for thing in found] or [(0.0, 0.0)])
        return Diversity(
            share=len(found) / len(pictures),
            colours=float(-(shares * np.log2(shares)).sum()),
            places=float(places.std(axis=0).mean()),
            sizes=float(np.std([thing.area**0.5 for thing in found] or [0.0])),
        )


@dataclass(frozen=True, slots=True)
class Diversity:
    """How different pictures of one class are.

    Attributes:
        share: Of pictures that show it at all.
        colours: Entropy of its colours, in bits.
        places: Standard deviation of where it stands; the picture is 2 wide.
        sizes: Standard deviation of its extent; the picture is 1 wide.
    """

    share: float
    colours: float
    places: float
    sizes: float

    def left_of(self, before: Diversity) -> float:
        """Give what is left of another, as the mean share of its three measures."""
        names = ("colours", "places", "sizes")
        return float(np.mean([getattr(self, name) / getattr(before, name) for name in names]))


def closer(picture: torch.Tensor) -> torch.Tensor:
    """Cut out what differs from the ground: ``(3, H, W)`` to ``(3, 48, 48)``, contrast evened.

    Specks, and the rim that a VAE leaves at a picture's edges, are no part of a thing.
    """
    border = torch.cat([picture[:, :4].flatten(1), picture[:, -4:].flatten(1)], 1)
    ground = border.median(dim=1).values[:, None, None]
    inner = ((picture - ground).norm(dim=0) > CONTRAST)[RIM:-RIM, RIM:-RIM]
    rows, columns = ((inner.sum(dim) >= SPECK).nonzero()[:, 0] + RIM for dim in (1, 0))
    if len(rows) < SPECK or len(columns) < SPECK:
        return torch.zeros(3, 48, 48)
    box = picture[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    cut = torch.nn.functional.interpolate(box[None], size=(48, 48), mode="bilinear")[0]
    return (cut - cut.mean()) / cut.std().clamp(min=1e-3)


def train_textures(steps: int = 300, seed: int = 6) -> torch.nn.Module:
    """Teach a small network the three textures, on renders of all shapes."""

    def example(rng: random.Random) -> tuple[Scene, list[int]]:
        label = rng.randrange(3)
        ground, colour = rng.sample(list(COLOURS), 2)
        size = rng.choice(("small", "", "big"))
        thing = Thing(rng.choice(NAMES), colour, size, texture=TEXTURES[label])
        return Scene((thing,), ground), [label]

    return _taught(example, _closer, (3,), _soft, steps=steps, seed=seed)


STYLES: tuple[Style, ...] = ("flat", "outline", "neon")
_COLOUR_NAMES = tuple(COLOURS)


class StyleEyes:
    """Tells style, colour and shape of one thing on a ground; taught on renders of all styles.

    A quarter of them has been through the starter's VAE, which leaves little of a glow: who knows
    the others alone takes every other glowing thing for a flat one after that.
    """

    _answers = (len(STYLES), len(COLOURS), len(SHAPES))

    def __init__(self) -> None:
        """Learn: some minutes on one core."""
        self._vae = AutoencoderKL.from_pretrained(resolve("starter") / "vae")

        def example(rng: random.Random) -> tuple[Scene, list[int]]:
            scene = style_scene(rng, rng.choice(STYLES))
            thing = scene.things[0]
            told = (STYLES, scene.style), (_COLOUR_NAMES, thing.colour), (SHAPES, thing.shape)
            return scene, [names.index(name) for names, name in told]

        def softened(pictures: torch.Tensor, _: random.Random) -> torch.Tensor:
            few, others = pictures.tensor_split([len(pictures) // 4])
            return torch.cat([self._round_trip(few), others])

        self._network = _taught(example, _near_and_far, self._answers, softened, steps=400, seed=8)

    @torch.inference_mode()
    def read(self, pictures: Sequence[Pixels]) -> list[tuple[str, str, str]]:
        """Give style, colour and shape of each."""
        stack = torch.stack([torch.from_numpy(np.array(p)) for p in pictures])
        found = self._network(_near_and_far(stack.permute(0, 3, 1, 2).float() / 255))
        rows = zip(*(one.argmax(1) for one in found.split(self._answers, 1)), strict=True)
        return [(STYLES[k], _COLOUR_NAMES[c], SHAPES[s]) for k, c, s in rows]

    def tells(self, style: Style, count: int = 100) -> list[tuple[bool, bool]]:
        """Say of renders that have been through the VAE whether style, and all, are read right."""
        rng = random.Random(5)
        scenes = [style_scene(rng, style) for _ in range(count)]
        pictures = self._round_trip(render.draw_scenes(scenes, rng))
        pixels = (pictures.permute(0, 2, 3, 1) * 255).round().byte().numpy()
        rows = []
        for found, scene in zip(self.read(list(pixels)), scenes, strict=True):
            thing = scene.things[0]
            rows.append((found[0] == style, found == (style, thing.colour, thing.shape)))
        return rows

    @torch.no_grad()
    def _round_trip(self, pictures: torch.Tensor) -> torch.Tensor:
        """Give what the VAE leaves of pictures: ``(B, 3, H, W)``, 0 to 1, in and out."""
        latents = self._vae.encode(pictures * 2 - 1).latent_dist.mode()
        decoded: torch.Tensor = self._vae.decode(latents).sample
        return (decoded / 2 + 0.5).clamp(0, 1)


def style_scene(rng: random.Random, style: Style) -> Scene:
    """Draw a scene of one thing in a style; what glows is on black, as every ground looks then.

    Half of the others are on black too, so that the ground does not tell the style.
    """
    ground, colour = rng.sample(_COLOUR_NAMES, 2)
    if style == "neon" or rng.random() < 0.5:
        ground, colour = "black", rng.choice([name for name in COLOURS if name != "black"])
    return Scene((Thing(rng.choice(SHAPES), colour),), ground, style=style)


def _closer(pictures: torch.Tensor) -> torch.Tensor:
    return torch.stack([closer(picture) for picture in pictures])


def _near_and_far(pictures: torch.Tensor) -> torch.Tensor:
    """Lay what a thing looks like, its contrast evened, over what all looks like."""
    far = torch.nn.functional.interpolate(pictures, size=(48, 48), mode="area")
    return torch.cat([_closer(pictures), far], dim=1)  # (B, 6, 48, 48)


def _soft(pictures: torch.Tensor, rng: random.Random) -> torch.Tensor:
    """Blur every other batch: what a VAE decodes is softer than a render."""
    if rng.random() < 0.5:
        return torch.nn.functional.avg_pool2d(pictures, 3, 1, 1)
    return pictures


def _taught(
    example: Callable[[random.Random], tuple[Scene, list[int]]],
    look: Callable[[torch.Tensor], torch.Tensor],
    answers: tuple[int, ...],
    softened: Callable[[torch.Tensor, random.Random], torch.Tensor],
    *,
    steps: int,
    seed: int,
) -> torch.nn.Module:
    """Teach a small network to answer questions about renders.

    Args:
        example: Gives a scene and the number of the right answer to each question.
        look: What of pictures ``(B, 3, H, W)`` it sees, ``(B, C, 48, 48)``.
        answers: How many answers each question has.
        softened: Makes renders more like what a model draws.
        steps: Of 24 pictures.
        seed: Of everything that is left to chance.
    """
    rng = random.Random(seed)
    torch.manual_seed(seed)
    layers: list[torch.nn.Module] = []
    channels = look(torch.zeros(1, 3, render.SIDE, render.SIDE)).shape[1]
    for before, after in ((channels, 24), (24, 48), (48, 64)):
        norm = torch.nn.BatchNorm2d(after)
        layers += [torch.nn.Conv2d(before, after, 3, 2, 1), norm, torch.nn.ReLU()]
    last = torch.nn.Linear(64 * 36, sum(answers))
    network = torch.nn.Sequential(*layers, torch.nn.Flatten(), last)
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3)
    for _ in range(steps):
        scenes, right = zip(*(example(rng) for _ in range(24)), strict=True)
        pictures = softened(render.draw_scenes(list(scenes), rng), rng)
        found = network(look(pictures + 0.02 * torch.randn_like(pictures))).split(answers, 1)
        losses = [
            torch.nn.functional.cross_entropy(one, labels)
            for one, labels in zip(found, torch.tensor(right).T, strict=True)
        ]
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        optimiser.step()
    return network.eval()
