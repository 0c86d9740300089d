"""Measures the starter's captioner on renders that it never saw, and on generated pictures."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from core.engine import TorchEngine
from core.models.catalog import STARTER, card
from core.starter.caption_pictures import captioned
from core.starter.evaluate import Studio, to_tensor
from core.starter.recogniser import train_recogniser
from core.starter.world import (
    COLOURS,
    DIGITS,
    HELD_OUT_SHAPES,
    NUMBERS,
    SHAPES,
    Scene,
    describe,
    sample_scene,
)
from core.training.caption_request import CaptionSettings
from core.training.captioner import Captioner, load_captioner

UNSEEN = "unseen"
"""Seed of the pictures; training's are numbers."""

_SHAPES = (*SHAPES, *HELD_OUT_SHAPES, *DIGITS)
_PLACE = re.compile(r"left of|above|on the left|on the right|at the top|at the bottom|in the cen")


@dataclass(frozen=True, slots=True)
class Told:
    """What a caption says.

    Attributes:
        things: Colour and shape of each kind of thing that it names, sorted.
        number: Of things.
        ground: Colour of the ground, or nothing.
        place: The words of the place, or how two things stand, or nothing.
    """

    things: tuple[tuple[str, str], ...]
    number: int
    ground: str
    place: str


def read(caption: str) -> Told:
    """Take a caption of the world's grammar apart."""
    words = caption.split()
    things = [
        (colour, shape)
        for colour, noun in pairwise(words)
        for shape in _SHAPES
        if colour in COLOURS and noun in (shape, f"{shape}s", f"{shape}es")
    ]
    number = next((n for n, word in NUMBERS.items() if word in words), len(things))
    ground = re.search(r"(\w+) background", caption)
    place = _PLACE.search(caption)
    return Told(
        tuple(sorted(things)),
        number,
        ground[1] if ground else "",
        place[0] if place else "",
    )


def marks(caption: str, wanted: str) -> dict[str, bool]:
    """Say what a caption has right of another that is true."""
    told, true = read(caption), read(wanted)
    return {
        "colour and shape": told.things == true.things,
        "number": told.number == true.number,
        "ground": told.ground == true.ground,
        "place": told.place == true.place,
        "whole caption": caption == wanted,
    }


def measure(captioner: Captioner, count: int) -> tuple[dict[str, float], list[tuple[str, str]]]:
    """Caption renders of scenes, held-out pairs of colour and shape among them.

    Returns:
        The shares of ``marks``, and what was written and what is true where they differ.
    """
    rng = random.Random(UNSEEN)
    right: Counter[str] = Counter()
    wrong = []
    for _ in range(count):
        made = captioned([sample_scene(rng, held_out=None)], rng)
        (wanted,) = made.captions
        caption = captioner.describe(to_image(made.pictures[0]), CaptionSettings())
        right.update(marks(caption, wanted))
        if caption != wanted:
            wrong.append((caption, wanted))
    return {name: number / count for name, number in right.items()}, wrong


def measure_generated(captioner: Captioner, count: int) -> dict[str, float]:
    """Caption pictures that the starter model makes of full captions of one or two things.

    Returns:
        The share in which colours and shapes are those that were asked for by the captioner's
        word, by the recogniser's, and in which the two say the same.
    """
    rng = random.Random(UNSEEN)
    model = card(STARTER)
    studio = Studio(TorchEngine(), model, train_recogniser(), model.steps, model.scheduler)
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = sample_scene(rng, held_out=None)
        if scene.style == "flat" and len(set(scene.things)) == len(scene.things):
            scenes.append(scene)
    prompts = [describe(scene) for scene in scenes]
    made = studio.make(studio.request(prompts, seed=77, guidance_scale=model.guidance_scale))
    right: Counter[str] = Counter()
    for image, prompt in zip(made, prompts, strict=True):
        told = read(captioner.describe(Image.fromarray(image.pixels), CaptionSettings())).things
        seen = studio.recogniser.read(to_tensor(image.pixels)).things
        found = tuple(sorted((thing.colour, thing.shape) for thing in seen))
        asked = read(prompt).things
        right["captioner and prompt"] += told == asked
        right["recogniser and prompt"] += found == asked
        right["captioner and recogniser"] += told == found
    return {name: number / count for name, number in right.items()}


def to_image(picture: Tensor) -> Image.Image:
    """Turn ``(3, H, W) float32``, 0 to 1, into a picture."""
    return Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())


def report(folder: Path, *, pictures: int, generated: int) -> None:
    """Print how well the captioner in a folder does."""
    captioner = load_captioner(folder, torch.device("cpu"))
    shares, wrong = measure(captioner, pictures)
    for caption, wanted in wrong:
        print(f"  {caption!r} for {wanted!r}")
    print(f"of {pictures} unseen renders: {_line(shares)}", flush=True)
    if generated:
        print(
            f"of {generated} generated pictures: {_line(measure_generated(captioner, generated))}"
        )


def _line(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
