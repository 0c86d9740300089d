"""Whether the starter model really learns what it has never seen, by every method.

``python -m tests.benchmarks.learning FOLDER`` teaches it, from 6 pictures each, a shape, a texture
and one particular object, draws the new word on grounds and at places that were in no training
picture, and lets a recogniser that has seen renders alone say how often it is there. The same
prompts go to the base model first. DreamBooth is run with and without prior preservation, and what
is left of the diversity of plain stars is measured after each. It prints a table and keeps the
pictures as sheets in FOLDER. About an hour on two cores; ``--only`` and ``--method`` choose parts.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from core.engine import TorchEngine
from core.events import ImageReady, Pixels, PreviewSettings, Trained
from core.request import DeviceName, EmbeddingUse, LoraUse, PreviewDecoder, TextToImage
from core.starter import render
from core.starter.recogniser import Recogniser, train_recogniser
from core.starter.world import COLOURS, Scene, Thing
from core.training.config import DreamBooth, LoraTraining, TextualInversion, TrainConfig
from core.training.config_parts import AdapterSettings, DataSettings

WORD = "sks"
PICTURES = 6
TRAIN_GROUNDS = ("white", "black", "grey", "yellow", "pink", "green")
TEST_GROUNDS = ("blue", "red", "orange", "purple")
PLACES = ("left", "right", "top", "bottom")
SHEET = 8
CONTRAST = 0.17
"""RGB distance (0 to 1.73) from the ground at which a pixel belongs to a thing."""


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


CONCEPTS = (
    Concept("shape: a moon", Thing("moon", "red"), varies=True, class_word="circle"),
    Concept(
        "texture: checkered",
        Thing("square", "red", texture="checkered"),
        varies=True,
        class_word="square",
    ),
    # A pair of colour and shape that was in none of the starter model's pictures.
    Concept("object: a green star", Thing("star", "green"), varies=False, class_word="star"),
)


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
    """Cut out what differs from the ground: ``(3, H, W)`` to ``(3, 48, 48)``, contrast evened."""
    border = torch.cat([picture[:, :4].flatten(1), picture[:, -4:].flatten(1)], 1)
    ground = border.median(dim=1).values[:, None, None]
    rows, columns = ((picture - ground).norm(dim=0) > CONTRAST).nonzero(as_tuple=True)
    if len(rows) < 16:
        return torch.zeros(3, 48, 48)
    box = picture[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    cut = torch.nn.functional.interpolate(box[None], size=(48, 48), mode="bilinear")[0]
    return (cut - cut.mean()) / cut.std().clamp(min=1e-3)


def train_textures(steps: int = 300, seed: int = 6) -> torch.nn.Module:
    """Teach a small network the three textures, on renders of all shapes."""
    from core.starter.shapes import NAMES

    rng = random.Random(seed)
    torch.manual_seed(seed)
    layers: list[torch.nn.Module] = []
    for before, after in ((3, 24), (24, 48), (48, 64)):
        norm = torch.nn.BatchNorm2d(after)
        layers += [torch.nn.Conv2d(before, after, 3, 2, 1), norm, torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(64 * 36, 3))
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3)
    for _ in range(steps):
        labels = [rng.randrange(3) for _ in range(24)]
        scenes = []
        for label in labels:
            ground, colour = rng.sample(list(COLOURS), 2)
            size = rng.choice(("small", "", "big"))
            thing = Thing(rng.choice(NAMES), colour, size, texture=TEXTURES[label])
            scenes.append(Scene((thing,), ground))
        pictures = render.draw_scenes(scenes, rng)
        pictures = pictures + 0.02 * torch.randn_like(pictures)
        cut = torch.stack([closer(picture) for picture in pictures])
        loss = torch.nn.functional.cross_entropy(network(cut), torch.tensor(labels))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def write_pictures(concept: Concept, folder: Path) -> None:
    """Write training pictures with captions in which the new word stands for what is new."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(concept.name)
    for number in range(PICTURES):
        ground = TRAIN_GROUNDS[number]
        colour = rng.choice([c for c in COLOURS if c not in (ground, *TEST_GROUNDS)])
        scene = Scene((concept.like(colour),), ground, "centre" if number % 2 else "anywhere")
        picture = render.draw_scenes([scene], rng)[0]
        pixels = (picture.permute(1, 2, 0) * 255).round().byte().numpy()
        Image.fromarray(pixels).save(folder / f"{number}.png")
        said = f"{colour} {WORD}" if concept.varies else WORD
        (folder / f"{number}.txt").write_text(f"{said} on {ground} background")


def unseen_prompts(concept: Concept, count: int) -> list[str]:
    """Say the new word on grounds and at places that were in no training picture."""
    rng = random.Random(7)
    prompts = []
    for number in range(count):
        ground = TEST_GROUNDS[number % len(TEST_GROUNDS)]
        colour = rng.choice([c for c in COLOURS if c != ground])
        said = f"{colour} {WORD}" if concept.varies else WORD
        prompts.append(f"{said} on {ground} background, {PLACES[number % len(PLACES)]}")
    return prompts


def draw(engine: TorchEngine, prompts: Sequence[str], **how: object) -> list[Pixels]:
    """Draw one picture of each prompt, 8 together, by the starter model's own settings."""
    settings: dict[str, object] = {"model": "starter", "steps": 20, "guidance_scale": 3.0}
    settings |= {"scheduler": "ddim", "width": 128, "height": 128, "seed": 100, "batch_size": 8}
    request = TextToImage(prompts=tuple(prompts), **{**_typed(settings), **how})  # type: ignore[arg-type]
    off = PreviewSettings(decoder=PreviewDecoder.OFF)
    with closing(engine.generate(request, preview=off)) as events:
        return [event.pixels for event in events if isinstance(event, ImageReady)]


def _typed(settings: dict[str, object]) -> dict[str, object]:
    from core.request import SchedulerName

    return settings | {"scheduler": SchedulerName(str(settings["scheduler"]))}


def sheet(pictures: Sequence[Pixels], path: Path) -> None:
    """Write the first pictures as one."""
    rows = [np.concatenate(pictures[k : k + SHEET], 1) for k in range(0, 2 * SHEET, SHEET)]
    Image.fromarray(np.concatenate(rows)).save(path)


def methods(concept: Concept, data: Path, out: Path) -> dict[str, TrainConfig]:
    """Give the trainings of a concept."""
    pictures = DataSettings(folder=str(data))
    dreambooth = DreamBooth(
        out=str(out / "dreambooth"),
        data=pictures,
        instance_prompt=f"{WORD} {concept.class_word}",
        class_prompt=concept.class_word,
        class_images=48,
        steps=300,
        batch_size=4,
        save_every=0,
    )
    return {
        "lora": LoraTraining(
            out=str(out / "lora"),
            data=pictures,
            steps=300,
            batch_size=6,
            adapter=AdapterSettings(rank=16),
            save_every=0,
        ),
        "dreambooth": dreambooth,
        "dreambooth without prior": dataclasses.replace(
            dreambooth, class_prompt="", out=str(out / "alone")
        ),
        "textual-inversion": TextualInversion(
            out=str(out / "textual-inversion"),
            data=pictures,
            token=WORD,
            init_word=concept.class_word,
            vectors=4,
            steps=300,
            batch_size=6,
            save_every=0,
        ),
    }


def learn(engine: TorchEngine, config: TrainConfig) -> Trained:
    """Carry out a training."""
    with closing(engine.train(config)) as events:
        for event in events:
            if isinstance(event, Trained):
                return event
    raise AssertionError("it did not end")


def used(method: str, made: Path) -> dict[str, object]:
    """Say how a request uses what a method made."""
    match method:
        case "lora":
            return {"loras": (LoraUse(path=str(made)),)}
        case "textual-inversion":
            return {"embeddings": (EmbeddingUse(path=str(made), token=WORD),)}
        case _:
            return {"model": str(made)}


def asked(concept: Concept, method: str, count: int) -> list[str]:
    """Give the test prompts as a method's word is said."""
    prompts = unseen_prompts(concept, count)
    if not method.startswith("dreambooth"):
        return prompts
    return [prompt.replace(WORD, f"{WORD} {concept.class_word}") for prompt in prompts]


def main() -> None:
    """Measure and print one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--only", default="", help="part of a concept's name")
    parser.add_argument("--method", default="", help="one method")
    options = parser.parse_args()
    eyes = Eyes()
    engine = TorchEngine(DeviceName.CPU, cache=options.folder / "cache")
    for number, concept in enumerate(CONCEPTS):
        if options.only not in concept.name:
            continue
        out = options.folder / str(number)
        write_pictures(concept, out / "pictures")
        for method, config in methods(concept, out / "pictures", out).items():
            if options.method not in ("", method):
                continue
            prompts = asked(concept, method, options.count)
            before = draw(engine, prompts)
            end = learn(engine, config)
            how = used(method, end.path)
            after = draw(engine, prompts, **how)
            sheet(after, out / f"{method}.png")
            row = {
                "concept": concept.name,
                "method": method,
                "base": sum(eyes.shows(concept, p) for p in before) / len(before),
                "taught": sum(eyes.shows(concept, p) for p in after) / len(after),
                "seconds": round(end.seconds),
                "sound": end.is_sound,
            }
            if isinstance(config, DreamBooth):
                plain = [concept.class_word] * options.count
                one_each = {"batch_size": 8, "seed": 500}
                kept = draw(engine, plain, **one_each), draw(engine, plain, **one_each, **how)
                sheet(kept[1], out / f"{method}-class.png")
                spread = [eyes.diversity(pictures, concept.class_word) for pictures in kept]
                row |= {
                    "class_before": dataclasses.asdict(spread[0]),
                    "class_after": dataclasses.asdict(spread[1]),
                    "class_left": spread[1].left_of(spread[0]),
                }
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
