"""The latents that a run starts from: noise, or a start picture under noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.sampling.noise import draw
from core.sampling.schedulers import Plan


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """A picture as the VAE sees it: a normal distribution over latents.

    Attributes:
        mean: ``(1, 4, H/8, W/8)``, unscaled, fp32, on the CPU.
        std: ``(1, 4, H/8, W/8)``.
        scaling_factor: Of the VAE's latents to the UNet's.
    """

    mean: Tensor
    std: Tensor
    scaling_factor: float

    def sample(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Draw latents, each picture's from its own generator.

        Returns:
            ``(B, 4, H/8, W/8)``, scaled, fp32, on the CPU.
        """
        _, channels, height, width = self.mean.shape
        drawn = [
            self.mean + self.std * draw([generator], (channels, height, width))
            for generator in generators
        ]
        return self.scaling_factor * torch.cat(drawn)


@torch.inference_mode()
def from_noise(
    plan: Plan, generators: Sequence[torch.Generator], shape: tuple[int, int, int]
) -> Tensor:
    """Start from nothing but noise.

    Args:
        plan: Says how strong its noise is.
        generators: One a picture.
        shape: Of one picture's latents, ``(4, H/8, W/8)``.

    Returns:
        ``(B, 4, H/8, W/8)``, scaled, fp32, on the CPU.
    """
    return draw(generators, shape) * plan.scheduler.init_noise_sigma


@torch.inference_mode()
def from_picture(
    plan: Plan, generators: Sequence[torch.Generator], picture: EncodedPicture
) -> Tensor:
    """Start from a picture, noised as far as the plan begins (SDEdit, arXiv:2108.01073).

    Returns:
        ``(B, 4, H/8, W/8)``, scaled, fp32, on the CPU.
    """
    latents = picture.sample(generators)
    _, channels, height, width = latents.shape
    noise = draw(generators, (channels, height, width))
    timesteps = plan.calls[0].timestep.repeat(len(generators))
    return plan.scheduler.add_noise(latents, noise, timesteps)


@torch.inference_mode()
def from_latents(
    plan: Plan, generators: Sequence[torch.Generator], latents: Tensor, size: tuple[int, int]
) -> Tensor:
    """Start from latents scaled to another size, noised as far as the plan begins.

    Args:
        plan: The course of the run.
        generators: One a picture.
        latents: ``(B, 4, h, w)``, scaled, clean.
        size: Height and width in latents.

    Returns:
        ``(B, 4, *size)``, scaled, fp32, on the CPU.
    """
    larger = F.interpolate(latents, size, mode="bicubic", align_corners=False)
    noise = draw(generators, (larger.shape[1], *size))
    return plan.scheduler.add_noise(larger, noise, plan.calls[0].timestep.repeat(len(generators)))
