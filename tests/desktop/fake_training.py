"""A training that acts out a script: a disc that comes out of noise as it is learned."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from core.events import (
    Checkpointed,
    MemoryEstimate,
    Notice,
    Pixels,
    Prepared,
    Preview,
    Sample,
    Step,
    Trained,
    TrainingEvent,
    TrainStep,
)
from core.request import MemoryMode, PreviewDecoder
from core.training.config import (
    DreamBooth,
    Finetune,
    Method,
    TextualInversion,
    TrainConfig,
)
from core.training.folder import Folder
from core.training.seal import FAULT, is_sound, seal
from tests.desktop.shelf_files import embedding, lora

SIDE = 128
DRAWING_STEPS = 4
RATE = 1e-4

Draw = Callable[[int, int, int, float], Pixels]


class FakeTraining:
    """One run of a training, which writes what a real one does."""

    def __init__(self, config: TrainConfig, draw: Draw, pass_step: Callable[[], None]) -> None:
        self.config, self.draw, self.pass_step = config, draw, pass_step
        self.folder = Folder(Path(config.out))

    def run(self, *, resume: bool) -> Iterator[TrainingEvent]:
        began = time.perf_counter()
        self.folder.write_config(self.config)
        first = self.folder.steps()[-1] if resume else 0
        yield MemoryEstimate(needed=3 * 10**9, free=8 * 10**9, mode=MemoryMode.FULL)
        yield from (Prepared(what="latents", index=i, total=6) for i in range(1, 7))
        if isinstance(self.config, DreamBooth) and self.config.class_prompt:
            yield from self.drawing(0, 1.0)
            yield Prepared(what="class pictures", index=1, total=1)
        step = first
        try:
            if not resume:
                yield from self.samples(0)
            for step in range(first + 1, self.config.steps + 1):
                self.pass_step()
                yield self.learned(step, time.perf_counter() - began)
                every = self.config.samples.every
                if (every and step % every == 0) or step == self.config.steps:
                    yield from self.samples(step)
                is_last = step == self.config.steps
                if is_last or (self.config.save_every and step % self.config.save_every == 0):
                    yield self.checkpoint(step)
        except GeneratorExit:
            self.checkpoint(step)
            raise
        if self.config.data.flip:
            yield Notice(message="Every other showing is mirrored.")
        made = self.make(self.folder.root / "final")
        verdict = f"{made.name} loads again, and its pictures differ from the model's."
        if self.config.data.use_masks:
            verdict = f"{FAULT}A picture with it is as without it."
        seal(made, verdict)
        yield Trained(
            path=made,
            is_sound=is_sound(verdict),
            verdict=verdict,
            steps=self.config.steps,
            seconds=time.perf_counter() - began,
        )

    def learned(self, step: int, seconds: float) -> TrainStep:
        noise = np.random.default_rng(step).normal(0, 0.02)
        loss = 0.09 + 0.16 * math.exp(-step / (0.25 * self.config.steps)) + noise
        event = TrainStep(
            index=step,
            total=self.config.steps,
            loss=loss,
            learning_rate=RATE,
            seconds=seconds,
        )
        self.folder.log({"step": step, "loss": loss, "rate": RATE})
        return event

    def samples(self, step: int) -> Iterator[TrainingEvent]:
        share = 0.25 + 0.75 * step / self.config.steps
        for index in range(len(self.config.samples.prompts)):
            yield from self.drawing(index, share)
            pixels = self.draw(SIDE, SIDE, index, share)
            path = self.folder.sample(step, index)
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(path)
            yield Sample(step=step, prompt=index, path=path, pixels=pixels)

    def drawing(self, picture: int, share: float) -> Iterator[TrainingEvent]:
        for step in range(1, DRAWING_STEPS + 1):
            small = self.draw(SIDE // 8, SIDE // 8, picture, share * step / DRAWING_STEPS)
            preview = Preview(picture=0, pixels=small, decoder=PreviewDecoder.LINEAR)
            yield Step(
                index=step,
                total=DRAWING_STEPS,
                pictures=(0,),
                total_pictures=1,
                seconds=0.1 * step,
                previews=(preview,),
            )

    def checkpoint(self, step: int) -> Checkpointed:
        path = self.folder.checkpoint(step)
        path.mkdir(parents=True, exist_ok=True)
        return Checkpointed(step=step, path=path, usable=self.make(path / "usable"))

    def make(self, path: Path) -> Path:
        """Write what the method makes, as far as a library looks at it."""
        is_lora = self.config.method is Method.LORA or getattr(self.config, "adapter", None)
        if isinstance(self.config, TextualInversion):
            return embedding(path.with_suffix(".safetensors"), vectors=self.config.vectors)
        if isinstance(self.config, Finetune) or not is_lora:
            path.mkdir(exist_ok=True)
            return path
        return lora(path.with_suffix(".safetensors"))
