"""Noise that depends on the seed alone: not on the device, the precision or the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def generators_of(seeds: Sequence[int]) -> list[torch.Generator]:
    """Make the source of randomness of each picture, on the CPU wherever the model computes.

    A picture draws everything from its own generator, in this order: the start picture's
    latents, the noise laid over them, the noise of each step. diffusers' pipelines draw in the same
    order if they are given this list.
    """
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def draw(generators: Sequence[torch.Generator], shape: tuple[int, int, int]) -> Tensor:
    """Draw standard normal noise, each picture's from its own generator.

    Args:
        generators: One a picture.
        shape: Of one picture's latents, ``(4, H/8, W/8)``.

    Returns:
        ``(B, 4, H/8, W/8)``, fp32, on the CPU.
    """
    return torch.cat(
        [torch.randn((1, *shape), generator=g, dtype=torch.float32) for g in generators]
    )
