"""Training pictures by number: picture ``n`` of a seed is the same in every run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.starter import render
from core.starter.world import Scene, sample_scene

CHUNK = 2048
ABSTRACT_SHARE = 4
"""One picture in so many is abstract, where abstract pictures are asked for."""


def chance(*key: object) -> random.Random:
    """Give the source of chance that belongs to a key, such as a seed, a purpose and a number."""
    return random.Random(":".join(map(str, key)))


def scene_at(seed: int, number: int, *, easy: bool = False) -> Scene:
    """The training scene of this number; never one that is held out."""
    return sample_scene(chance(seed, "scene", number), easy=easy)


def render_chunk(seed: int, chunk: int, *, abstract: bool = False, easy: bool = False) -> Tensor:
    """Draw the pictures ``chunk * CHUNK`` up to the next chunk: ``(CHUNK, 3, H, W) uint8``."""
    numbers = range(chunk * CHUNK, (chunk + 1) * CHUNK)
    parts = []
    for start in range(0, CHUNK, 64):
        rng = chance(seed, "pixels", chunk, start)
        scenes = [scene_at(seed, number, easy=easy) for number in numbers[start : start + 64]]
        drawn = render.draw_scenes(scenes, rng)
        if abstract:
            count = len(scenes[::ABSTRACT_SHARE])
            drawn[::ABSTRACT_SHARE] = render.draw_abstract(count, rng)
        parts.append((drawn * 255).round().to(torch.uint8))
    return torch.cat(parts)


@dataclass(frozen=True, slots=True)
class PicturePool:
    """Pictures kept on disk, a file a chunk, drawn when first asked for.

    Attributes:
        folder: Where the chunks lie.
        seed: Which pictures.
        chunks: How many chunks there are.
        abstract: Whether a share of them are abstract, for the autoencoder.
    """

    folder: Path
    seed: int
    chunks: int
    abstract: bool

    def chunk(self, index: int) -> Tensor:
        """Give one chunk: ``(CHUNK, 3, H, W) uint8``, mapped from disk, read-only."""
        path = (
            self.folder / f"{'abstract' if self.abstract else 'scenes'}-{self.seed}-{index:04}.npy"
        )
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            drawn = render_chunk(self.seed, index, abstract=self.abstract)
            unfinished = path.with_suffix(".part.npy")
            np.save(unfinished, drawn.numpy())
            unfinished.replace(path)
        return torch.from_numpy(np.load(path, mmap_mode="c"))

    def batches(self, size: int, step: int = 0) -> Iterator[tuple[Tensor, list[int]]]:
        """Give batches without end, from the one of number ``step`` on.

        Yields:
            ``(size, 3, H, W) uint8`` and the pictures' numbers; both depend on the step alone.
        """
        while True:
            rng = chance(self.seed, "batch", step)
            numbers = [rng.randrange(self.chunks * CHUNK) for _ in range(size)]
            pictures = [self.chunk(number // CHUNK)[number % CHUNK] for number in numbers]
            yield torch.stack(pictures), numbers
            step += 1
