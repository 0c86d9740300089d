"""Painting a part of a picture anew, with UNets of any kind.

A plain UNet is led: after each call the surroundings are put back, noised as far as the run has
come. An inpainting UNet is shown: it reads the mask and the surroundings as five more channels
(Rombach et al. 2022, arXiv:2112.10752, section 4.5). Both as in diffusers'
``StableDiffusionInpaintPipeline``, each picture drawing from its own generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from core.events import Pixels
from core.images.mask import Mask
from core.sampling.conditioning import Conditioning
from core.sampling.guidance import Denoiser
from core.sampling.noise import draw
from core.sampling.schedulers import Plan, Scheduler
from core.sampling.start import EncodedPicture
from core.sampling.vae import Vae, to_signed


@dataclass(frozen=True, slots=True)
class Area:
    """The part of a picture that is painted anew, as latents.

    Attributes:
        cells: ``(1, 1, H/8, W/8)``, fp32, 1 where it is painted anew and 0 elsewhere.
        surroundings: The picture with that part grey; None for a plain UNet, which does not see it.
    """

    cells: Tensor
    surroundings: EncodedPicture | None


@dataclass(frozen=True, slots=True)
class Known:
    """The surroundings that a plain UNet is not trusted with.

    Attributes:
        clean: ``(B, 4, H/8, W/8)``, scaled, fp32, on the CPU: the start picture's latents.
        noise: Of the same shape, that which the run began with.
        cells: See ``Area``.
    """

    clean: Tensor
    noise: Tensor
    cells: Tensor

    @torch.inference_mode()
    def put_back(self, latents: Tensor, scheduler: Scheduler, timestep: Tensor | None) -> Tensor:
        """Put the surroundings back around what is being painted.

        Args:
            latents: ``(B, 4, H/8, W/8)``, scaled, as they came from a step.
            scheduler: That of the run.
            timestep: That at which the latents now are; None at the end.
        """
        known = self.clean
        if timestep is not None:
            known = scheduler.add_noise(known, self.noise, timestep.reshape(1))
        return (1 - self.cells) * known + self.cells * latents


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a run of inpainting starts with.

    Attributes:
        latents: ``(B, 4, H/8, W/8)``, scaled, fp32, on the CPU.
        known: What is put back, for a plain UNet.
        shown: ``(B, 5, H/8, W/8)``, mask and surroundings, for an inpainting UNet.
    """

    latents: Tensor
    known: Known | None
    shown: Tensor | None


class Shown:
    """An inpainting UNet as a denoiser of four channels."""

    def __init__(self, denoiser: Denoiser, shown: Tensor) -> None:
        """Show a denoiser ``(B, 5, H/8, W/8)`` at every call."""
        self._denoiser = denoiser
        self._shown = shown

    def __call__(self, latents: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """Predict; see ``Denoiser``. Guidance may have doubled the batch."""
        shown = self._shown.repeat(len(latents) // len(self._shown), 1, 1, 1)
        return self._denoiser(torch.cat([latents, shown], dim=1), timestep, conditioning)


@torch.inference_mode()
def area_of(vae: Vae, pixels: Pixels, mask: Mask, *, scale: int, inpainting: bool) -> Area:
    """Bring a mask to the latents' grid, and encode the surroundings for a UNet that reads them.

    Args:
        vae: The model's.
        pixels: ``(H, W, 3) uint8``, the picture.
        mask: ``(H, W) bool``.
        scale: Pixels of a latent's side.
        inpainting: Whether the UNet reads the surroundings.

    Raises:
        ModelInvalid: If the VAE's answer is not finite.
    """
    flags = torch.from_numpy(mask)[None, None].float()  # (1, 1, H, W)
    surroundings = vae.encode_signed(to_signed(pixels) * (1 - flags)) if inpainting else None
    return Area(cells_of(flags, scale), surroundings)


def cells_of(mask: Tensor, scale: int) -> Tensor:
    """Give the latents that a mask of pixels concerns.

    A latent is painted anew if the first pixel under it is, as in diffusers. Strokes thin enough to
    slip through that grid are caught by their other pixels.

    Args:
        mask: ``(1, 1, H, W)``, 0 or 1.
        scale: Pixels of a latent's side.

    Returns:
        ``(1, 1, H/scale, W/scale)``, 0 or 1.
    """
    first = mask[:, :, ::scale, ::scale]
    touched = F.max_pool2d(mask, scale)
    near = F.max_pool2d(first, 3, stride=1, padding=1)
    return torch.maximum(first, touched * (1 - near))


@torch.inference_mode()
def begin_inpainting(
    plan: Plan,
    generators: Sequence[torch.Generator],
    start: EncodedPicture,
    area: Area,
    *,
    strength: float,
) -> Beginning:
    """Start over a picture: from pure noise at full strength, else from the picture noised.

    Each generator gives the start picture's latents, the noise and the surroundings' latents, in
    this order, as far as the UNet's kind asks for them.
    """
    count = len(generators)
    shape = (start.mean.shape[1], start.mean.shape[2], start.mean.shape[3])
    from_noise = strength == 1
    # An inpainting UNet learns of the picture by other means; nothing is drawn for it in vain.
    clean = None if area.surroundings is not None and from_noise else start.sample(generators)
    noise = draw(generators, shape)  # (B, 4, H/8, W/8)
    if clean is None or from_noise:
        latents = noise * plan.scheduler.init_noise_sigma
    else:
        latents = plan.scheduler.add_noise(clean, noise, plan.calls[0].timestep.repeat(count))
    if area.surroundings is None:
        assert clean is not None
        # diffusers encodes the surroundings here as well and does not use them. Their noise is
        # drawn all the same: methods that draw at each step go on from there.
        draw(generators, shape)
        return Beginning(latents, Known(clean, noise, area.cells), None)
    cells = area.cells.expand(count, -1, -1, -1)
    shown = torch.cat([cells, area.surroundings.sample(generators)], dim=1)
    return Beginning(latents, None, shown)
