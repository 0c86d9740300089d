"""Whether the starter model really learns what it has never seen, by every method.

``python -m tests.benchmarks.learning FOLDER`` teaches it, from 6 pictures each, a shape, a texture
and one particular object, draws the new word on grounds and at places that were in no training
picture, and lets a recogniser that has seen renders alone say how often it is there. The same
prompts go to the base model first. DreamBooth is run with and without prior preservation, and what
is left of the diversity of plain stars is measured after each. Then a full fine-tuning brings all
pictures into another style, by true captions and by those of the shipped captioner. It prints one
JSON object a line and keeps the pictures as sheets in FOLDER. More than an hour on two cores;
``--only`` and ``--method`` choose parts.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import operator
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from core.engine import TorchEngine
from core.events import ImageReady, Pixels, PreviewSettings, Trained
from core.request import (
    DeviceName,
    EmbeddingUse,
    LoraUse,
    PreviewDecoder,
    SchedulerName,
    TextToImage,
)
from core.starter import render
from core.starter.world import COLOURS, Scene, Style, Thing, describe
from core.training.caption_request import CaptionRequest
from core.training.captioning import write_captions
from core.training.config import DreamBooth, Finetune, LoraTraining, TextualInversion, TrainConfig
from core.training.config_parts import (
    AdapterSettings,
    DataSettings,
    OptimiserSettings,
    RateSchedule,
    Targets,
)
from tests.benchmarks.learning_eyes import STYLES, Concept, Eyes, StyleEyes, style_scene

WORD = "sks"
PICTURES = 6
TRAIN_GROUNDS = ("white", "black", "grey", "yellow", "pink", "green")
TEST_GROUNDS = ("blue", "red", "orange", "purple")
PLACES = ("left", "right", "top", "bottom")
SHEET = 8
STYLE: Style = "neon"
STYLE_PICTURES = 64
STYLE_TESTED = 96
STYLE_SEEDS = 2
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


def write_pictures(concept: Concept, folder: Path) -> None:
    """Write training pictures with captions in which the new word stands for what is new."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(concept.name)
    for number in range(PICTURES):
        ground = TRAIN_GROUNDS[number]
        colour = rng.choice([c for c in COLOURS if c not in (ground, *TEST_GROUNDS)])
        scene = Scene((concept.like(colour),), ground, "centre" if number % 2 else "anywhere")
        write_picture(folder / f"{number}.png", render.draw_scenes([scene], rng)[0])
        said = f"{colour} {WORD}" if concept.varies else WORD
        (folder / f"{number}.txt").write_text(f"{said} on {ground} background")


def write_picture(path: Path, picture: Tensor) -> None:
    """Write ``(3, H, W) float32``, 0 to 1."""
    pixels = (picture.permute(1, 2, 0) * 255).round().byte().numpy()
    Image.fromarray(pixels).save(path)


def share(answers: Iterable[bool]) -> float:
    """Give the share of answers that are yes."""
    return float(np.mean(list(answers)))


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


def draw(engine: TorchEngine, prompts: Sequence[str], **how: Any) -> list[Pixels]:
    """Draw one picture of each prompt, 8 together, by the starter model's own settings."""
    settings: dict[str, Any] = {
        "model": "starter",
        "steps": 20,
        "guidance_scale": 3.0,
        "scheduler": SchedulerName.DDIM,
        "width": 128,
        "height": 128,
        "seed": 100,
        "batch_size": 8,
    }
    request = TextToImage(prompts=tuple(prompts), **settings | how)
    off = PreviewSettings(decoder=PreviewDecoder.OFF)
    with closing(engine.generate(request, preview=off)) as events:
        return [event.pixels for event in events if isinstance(event, ImageReady)]


def sheet(pictures: Sequence[Pixels], path: Path) -> None:
    """Write the first pictures as one."""
    rows = [np.concatenate(pictures[k : k + SHEET], 1) for k in range(0, 2 * SHEET, SHEET)]
    Image.fromarray(np.concatenate(rows)).save(path)


def methods(concept: Concept, data: Path, out: Path) -> dict[str, TrainConfig]:
    """Give the trainings of a concept."""
    pictures = DataSettings(folder=str(data))
    alone = DreamBooth(
        out=str(out / "alone"),
        data=pictures,
        instance_prompt=f"a {WORD} {concept.class_word}",
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
            adapter=AdapterSettings(rank=16, conv_rank=16, targets=Targets.ALL),
            save_every=0,
        ),
        "dreambooth": dataclasses.replace(
            alone,
            out=str(out / "dreambooth"),
            class_prompt=f"a {concept.class_word}",
            class_images=48,
        ),
        "dreambooth without prior": alone,
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


def used(method: str, made: Path) -> dict[str, Any]:
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
    return [prompt.replace(WORD, f"a {WORD} {concept.class_word}") for prompt in prompts]


def concept_rows(
    engine: TorchEngine, folder: Path, only: str, method: str, count: int
) -> Iterator[dict[str, Any]]:
    """Teach each concept by each method, and say how often it is there."""
    chosen = [(k, concept) for k, concept in enumerate(CONCEPTS) if only in concept.name]
    eyes = Eyes() if chosen else None
    for number, concept in chosen:
        assert eyes is not None
        out = folder / str(number)
        write_pictures(concept, out / "pictures")
        for name, config in methods(concept, out / "pictures", out).items():
            if method not in ("", name):
                continue
            prompts = asked(concept, name, count)
            before = draw(engine, prompts)
            end = learn(engine, config)
            how = used(name, end.path)
            after = draw(engine, prompts, **how)
            sheet(after, out / f"{name}.png")
            row = {
                "concept": concept.name,
                "method": name,
                "base": share(eyes.shows(concept, picture) for picture in before),
                "taught": share(eyes.shows(concept, picture) for picture in after),
                "seconds": round(end.seconds),
                "sound": end.is_sound,
            }
            if isinstance(config, DreamBooth):
                plain = [f"a {concept.class_word}"] * count
                kept = draw(engine, plain, seed=500), draw(engine, plain, seed=500, **how)
                sheet(kept[1], out / f"{name}-class.png")
                spread = [eyes.diversity(pictures, concept.class_word) for pictures in kept]
                row |= {
                    "class_before": dataclasses.asdict(spread[0]),
                    "class_after": dataclasses.asdict(spread[1]),
                    "class_left": spread[1].left_of(spread[0]),
                }
            yield row


def style_rows(engine: TorchEngine, folder: Path, method: str) -> Iterator[dict[str, Any]]:
    """Bring all pictures into a style that the model has never seen, by two sets of captions.

    Both sets hold the style's own word. Pictures are asked for with that word and without it.
    """
    rng = random.Random(11)
    counts = STYLE_PICTURES, STYLE_TESTED
    taught, tested = ([style_scene(rng, STYLE) for _ in range(count)] for count in counts)
    pictures = render.draw_scenes(taught, rng)
    asked_for = tested * STYLE_SEEDS
    eyes = StyleEyes()
    for style in STYLES:
        by_style, by_all = (share(answers) for answers in zip(*eyes.tells(style), strict=True))
        yield {"recogniser told": style, "style": by_style, "all": by_all}

    def drawn(place: Path, **how: Any) -> dict[str, float]:
        place.mkdir(parents=True, exist_ok=True)
        shares = {}
        right = [(STYLE, scene.things[0].colour, scene.things[0].shape) for scene in asked_for]
        for word in (STYLE, "flat"):
            said = [describe(dataclasses.replace(scene, style=word)) for scene in asked_for]
            made = draw(engine, said, **how)
            sheet(made, place / f"{word}.png")
            found = eyes.read(made)
            name = "named" if word == STYLE else "plain"
            shares[f"{name}: style"] = share(one[0] == STYLE for one in found)
            shares[f"{name}: all"] = share(map(operator.eq, found, right))
        return shares

    before = drawn(folder / "before")
    for captions in ("true captions", "written captions"):
        if method not in ("", captions):
            continue
        out = folder / captions.replace(" ", "-")
        data = out / "pictures"
        write_style(data, taught, pictures, by_captioner=captions == "written captions")
        config = Finetune(
            out=str(out / "finetune"),
            data=DataSettings(folder=str(data)),
            steps=1200,
            batch_size=4,
            optimiser=OptimiserSettings(learning_rate=4e-4, schedule=RateSchedule.COSINE),
            save_every=0,
        )
        end = learn(engine, config)
        yield {
            "concept": f"style: {STYLE}",
            "method": captions,
            "base": before,
            "taught": drawn(out, model=str(end.path)),
            "seconds": round(end.seconds),
            "sound": end.is_sound,
        }


def write_style(
    data: Path, scenes: Sequence[Scene], pictures: Tensor, *, by_captioner: bool
) -> None:
    """Write pictures of a style, with captions that are true or that the captioner finds."""
    data.mkdir(parents=True, exist_ok=True)
    for number, (scene, picture) in enumerate(zip(scenes, pictures, strict=True)):
        write_picture(data / f"{number:02d}.png", picture)
        (data / f"{number:02d}.txt").write_text(describe(scene))
    if by_captioner:
        for _ in write_captions(CaptionRequest(folder=data, overwrite=True)):
            pass


def main() -> None:
    """Measure and print one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--only", default="", help="part of a concept's name")
    parser.add_argument("--method", default="", help="one method")
    options = parser.parse_args()
    engine = TorchEngine(DeviceName.CPU, cache=options.folder / "cache")
    for row in concept_rows(engine, options.folder, options.only, options.method, options.count):
        tell(row)
    if options.only in f"style: {STYLE}":
        for row in style_rows(engine, options.folder, options.method):
            tell(row)


def tell(row: dict[str, Any]) -> None:
    """Print one row."""
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
