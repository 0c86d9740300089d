"""``python -m core.starter.evaluate``: measures how well the starter model does what it is asked.

Every picture is made through the engine, as a person would make it, and read by a recogniser that
was trained on renders alone (``core.starter.recogniser``). Figures are shares of pictures unless
said otherwise.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from core.engine import TorchEngine
from core.errors import CoreError
from core.events import ImageReady, Pixels, PreviewSettings
from core.models.catalog import ModelCard, card
from core.request import ImageToImage, PreviewDecoder, Request, SchedulerName, TextToImage
from core.starter import autoencoder, render
from core.starter.recogniser import Recogniser, follows, train_recogniser
from core.starter.world import COLOURS, SHAPES, Scene, Thing, describe, sample_scene

GUIDANCE_SCALES = (1.0, 3.0, 7.5)
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
NO_PREVIEW = PreviewSettings(decoder=PreviewDecoder.OFF)


@dataclass(frozen=True, slots=True)
class Studio:
    """What every measurement needs: the engine, the model, its good settings, a pair of eyes."""

    engine: TorchEngine
    model: ModelCard
    recogniser: Recogniser
    steps: int
    scheduler: SchedulerName

    def request(self, prompts: Sequence[str], *, seed: int, guidance_scale: float) -> TextToImage:
        """Ask for one picture of each prompt."""
        return TextToImage(
            model=self.model.name,
            prompts=tuple(prompts),
            steps=self.steps,
            scheduler=self.scheduler,
            guidance_scale=guidance_scale,
            width=self.model.width,
            height=self.model.height,
            seed=seed,
        )

    def make(self, request: Request) -> list[ImageReady]:
        """Make a request's pictures."""
        events = self.engine.generate(request, preview=NO_PREVIEW)
        return [event for event in events if isinstance(event, ImageReady)]

    def follow(self, scenes: list[Scene], *, seed: int, guidance_scale: float) -> dict[str, float]:
        """Make the scenes from their full captions and tell the shares that came out right."""
        prompts = [describe(scene) for scene in scenes]
        made = self.make(self.request(prompts, seed=seed, guidance_scale=guidance_scale))
        marks = [
            follows(self.recogniser.read(to_tensor(image.pixels)), scene)
            for image, scene in zip(made, scenes, strict=True)
        ]
        return {key: sum(mark[key] for mark in marks) / len(marks) for key in marks[0]}


def to_tensor(pixels: Pixels) -> Tensor:
    """Turn ``(H, W, 3) uint8`` into ``(3, H, W) float32``, 0 to 1."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255


def scene_sets(count: int, seed: int) -> dict[str, list[Scene]]:
    """Draw the scenes to ask for, by the name of the set they belong to."""
    rng = random.Random(seed)

    def single(scene: Scene) -> bool:
        thing = scene.things[0]
        plain = thing.texture == "plain" and scene.style == "flat"
        return len(scene.things) == 1 and plain and thing.shape in SHAPES

    def digit(scene: Scene) -> bool:
        thing = scene.things[0]
        plain = thing.texture == "plain" and scene.style == "flat"
        return len(scene.things) == 1 and plain and thing.shape not in SHAPES

    def two(scene: Scene) -> bool:
        return len(set(scene.things)) == 2 and scene.style == "flat"

    def many(scene: Scene) -> bool:
        return len(scene.things) > 1 and len(set(scene.things)) == 1 and scene.style == "flat"

    def draw(fits: Callable[[Scene], bool], *, held_out: bool) -> list[Scene]:
        scenes: list[Scene] = []
        while len(scenes) < count:
            scene = sample_scene(rng, held_out=held_out)
            if fits(scene):
                scenes.append(scene)
        return scenes

    return {
        "one shape, seen pairs": draw(single, held_out=False),
        "one shape, held-out pairs": draw(single, held_out=True),
        "one digit": draw(digit, held_out=False),
        "two shapes": draw(two, held_out=False),
        "two shapes, a held-out pair": draw(two, held_out=True),
        "two or three equal shapes": draw(many, held_out=False),
    }


def measure_negative(studio: Studio, count: int) -> tuple[int, int]:
    """Ask for a shape of any colour, then again without the colour that came.

    Returns:
        How many pictures had a colour of the palette, and how many of those lost it when it was
        named as the negative prompt, same seed.
    """
    prompts = [
        f"a {shape} on a {ground} background" for shape in SHAPES for ground in ("white", "black")
    ]
    had = lost = 0
    for number in range(count):
        request = studio.request(
            [prompts[number % len(prompts)]], seed=500 + number, guidance_scale=7.5
        )
        before = _colour_of(studio, studio.make(request)[0])
        if before is None:
            continue
        after = _colour_of(studio, studio.make(replace(request, negative_prompt=before))[0])
        had += 1
        lost += after != before
    return had, lost


def negative_line(had: int, lost: int) -> str:
    """Tell what ``measure_negative`` found."""
    if not had:
        return "negative prompt: no picture had a named colour"
    share = f"{lost / had:.0%}"
    return f"negative prompt: of {had} pictures with a named colour {lost} lost it ({share})"


def _colour_of(studio: Studio, image: ImageReady) -> str | None:
    things = studio.recogniser.read(to_tensor(image.pixels)).things
    return things[0].colour if things else None


def measure_strength(studio: Studio, count: int) -> list[float]:
    """Give the mean distance (0 to 255) to the start picture at each of ``STRENGTHS``."""
    rng = random.Random(8)
    starts = [Scene((Thing(rng.choice(SHAPES), c),), "white") for c in COLOURS if c != "white"]
    drawn = (render.draw_scenes(starts[:count], rng) * 255).round().byte()
    distances = []
    with tempfile.TemporaryDirectory() as folder:
        for strength in STRENGTHS:
            total = 0.0
            for number, picture in enumerate(drawn):
                path = Path(folder) / f"{number}.png"
                pixels = picture.permute(1, 2, 0).numpy()
                Image.fromarray(pixels).save(path)
                request = _from_start(studio, path, number, strength)
                made = studio.make(request)[0].pixels
                total += float(np.abs(made.astype(float) - pixels).mean())
            distances.append(total / len(drawn))
    return distances


def _from_start(studio: Studio, path: Path, seed: int, strength: float) -> ImageToImage:
    return ImageToImage(
        model=studio.model.name,
        prompts=("a green star on a purple background",),
        steps=studio.steps,
        scheduler=studio.scheduler,
        guidance_scale=studio.model.guidance_scale,
        width=studio.model.width,
        height=studio.model.height,
        seed=seed,
        init_image=str(path),
        strength=strength,
    )


def measure_vae(folder: Path, count: int) -> float:
    """Give the PSNR in dB of the VAE's round trip of renders that were never trained on."""
    vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()
    rng = random.Random(-7)
    unseen = render.draw_scenes([sample_scene(rng, held_out=True) for _ in range(count)], rng)
    return autoencoder.psnr(vae, (unseen * 255).round().byte())


def evaluate(studio: Studio, count: int) -> None:
    """Print all measurements."""
    keys = ("colour_and_shape", "colour", "shape", "ground", "position", "count")
    default = studio.model.guidance_scale
    scales = sorted({*GUIDANCE_SCALES, default})
    print(f"{'set':30}{'guidance':>9}  " + "".join(f"{key:>18}" for key in keys))
    for name, scenes in scene_sets(count, seed=11).items():
        for scale in scales:
            shares = studio.follow(scenes, seed=1000, guidance_scale=scale)
            row = "".join(f"{shares[key]:18.2f}" for key in keys)
            print(f"{name:30}{scale:9g}  {row}", flush=True)
    had, lost = measure_negative(studio, count)
    print(negative_line(had, lost))
    distances = measure_strength(studio, min(count, 9))
    steps = ", ".join(f"{s:g}: {d:.1f}" for s, d in zip(STRENGTHS, distances, strict=True))
    print(f"strength: mean distance to the start picture of 255 levels: {steps}")
    print(f"VAE: {measure_vae(studio.model.path, count):.1f} dB on {count} unseen renders")
    one = studio.request(["a red circle on a blue background"], seed=1, guidance_scale=default)
    seconds = sorted(studio.make(one)[0].seconds for _ in range(5))[2]
    threads = torch.get_num_threads()
    print(
        f"one picture of {studio.steps} steps: {seconds:.2f} s on {threads} threads (median of 5)"
    )


def contact_sheet(studio: Studio, path: Path, *, guidance_scale: float) -> None:
    """Save 64 pictures of 64 scenes, in reading order, and print their captions."""
    rng = random.Random(64)
    scenes = [sample_scene(rng, held_out=number % 2 == 1) for number in range(64)]
    prompts = [describe(scene) for scene in scenes]
    made = studio.make(studio.request(prompts, seed=64, guidance_scale=guidance_scale))
    rows = [np.hstack([i.pixels for i in made[k : k + 8]]) for k in range(0, 64, 8)]
    Image.fromarray(np.vstack(rows)).save(path)
    for number, prompt in enumerate(prompts):
        print(f"row {number // 8 + 1} column {number % 8 + 1}: {prompt}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m core.starter.evaluate", description=__doc__)
    parser.add_argument("--model", default="starter", help="name or folder")
    parser.add_argument("--pictures", type=_count, default=96, help="for each set and guidance")
    parser.add_argument("--steps", type=_count, default=20)
    parser.add_argument("--scheduler", choices=list(SchedulerName), default=None)
    parser.add_argument("--sheet", type=Path, help="only save a sheet of 64 pictures there")
    parser.add_argument("--guidance", type=float, help="for the sheet; default: the model's own")
    parser.add_argument("--threads", type=_count, default=torch.get_num_threads())
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    try:
        _carry_out(given)
    except CoreError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def _count(word: str) -> int:
    """Read a number of the command line that is at least 1."""
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


def _carry_out(given: argparse.Namespace) -> None:
    model = card(given.model)
    studio = Studio(
        engine=TorchEngine(),
        model=model,
        recogniser=train_recogniser(),
        steps=given.steps,
        scheduler=SchedulerName(given.scheduler) if given.scheduler else model.scheduler,
    )
    if given.sheet is not None:
        scale = model.guidance_scale if given.guidance is None else given.guidance
        contact_sheet(studio, given.sheet, guidance_scale=scale)
    else:
        evaluate(studio, given.pictures)


if __name__ == "__main__":
    raise SystemExit(main())
