"""The starter model's VAE: 128 x 128 pixels to 16 x 16 x 4 latents.

Rombach et al. 2022 (arXiv:2112.10752), without the adversarial part: the world's edges are crisp
under a plain loss.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from core.starter.pictures import PicturePool, chance
from core.starter.render import SIDE
from core.starter.stage import Losses, StageSettings, train_stage

SCALING_FACTOR = 0.18215
"""Stable Diffusion 1's own; readers of converted models count on this number."""


DECODER_NOISE = 0.15
"""Most noise on the scaled latents that the decoder is refined with; their spread is 1."""


def build_vae() -> AutoencoderKL:
    """Make the autoencoder, untrained.

    Two groups of channels a normalisation: with small groups flat colours are normalised away.
    """
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        sample_size=SIDE,
        scaling_factor=SCALING_FACTOR,
    )


def to_pixels(pictures: Tensor) -> Tensor:
    """Turn ``(B, 3, H, W) uint8`` into what the VAE takes: float, -1 to 1, channels last."""
    return (pictures.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def train_vae(pool: PicturePool, folder: Path, *, steps: int, seed: int) -> AutoencoderKL:
    """Train on crops first, then on whole pictures, and centre the latents."""
    torch.manual_seed(seed)
    model = build_vae().to(memory_format=torch.channels_last)
    crops_until = int(steps * 0.65)

    def losses_of(step: int) -> Losses:
        crop = step < crops_until
        pictures, _ = next(pool.batches(24 if crop else 8, step))
        if crop:
            pictures = _crop(pictures, SIDE // 2, step)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        return _losses(model, to_pixels(pictures), generator)

    settings = StageSettings(name="vae", steps=steps, learning_rate=2e-3, average=0.998)
    trained = train_stage(settings, model, losses_of, folder)
    assert isinstance(trained, AutoencoderKL)
    return trained


def refine_decoder(
    vae: AutoencoderKL, pool: PicturePool, folder: Path, *, steps: int, seed: int
) -> AutoencoderKL:
    """Go on with the decoder alone, so that the latents a UNet has learned stay as they are.

    The latents get noise, a little or more of it: a UNet's are never quite those of a picture, and
    the decoder learns to draw straight edges from them all the same.
    """
    vae.requires_grad_(requires_grad=False)
    vae.decoder.requires_grad_(requires_grad=True)
    vae.to(memory_format=torch.channels_last)

    def losses_of(step: int) -> Losses:
        pictures, _ = next(pool.batches(8, step))
        pixels = to_pixels(pictures)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        return _losses(vae, pixels, generator, noise=DECODER_NOISE)

    settings = StageSettings(name="decoder", steps=steps, learning_rate=1e-3, average=0.998)
    trained = train_stage(settings, vae, losses_of, folder)
    assert isinstance(trained, AutoencoderKL)
    return trained


def _losses(
    model: AutoencoderKL, pixels: Tensor, generator: torch.Generator, noise: float = 0.0
) -> Losses:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moments = model.quant_conv(model.encoder(pixels)).float()
        mean, log_variance = moments.chunk(2, dim=1)  # (B, 4, H/8, W/8) each
        log_variance = log_variance.clamp(-14, 6)
        spread = (0.5 * log_variance).exp()
        if noise:
            amount = noise * torch.rand(len(mean), 1, 1, 1, generator=generator)
            spread = amount / SCALING_FACTOR
        latents = mean + spread * torch.randn(mean.shape, generator=generator)
        drawn = model.decode(latents).sample.float()
    difference = drawn - pixels
    l1, l2 = difference.abs().mean(), difference.square().mean()
    colours = F.avg_pool2d(difference, 4).abs().mean()
    loss = l1 + 2 * l2 + 0.5 * colours
    psnr = 10 * torch.log10(4 / l2.detach())
    if noise:  # The encoder is done.
        return {"loss": loss, "psnr": psnr}
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    small = (mean[:, :3] - thumbnail(pixels)).square().mean()
    return {
        "loss": loss + 2e-4 * divergence + small,
        "psnr": psnr,
        "kl": divergence.detach(),
        "small": small.detach(),
    }


def thumbnail(pixels: Tensor) -> Tensor:
    """Give the small picture that the first three latent channels hold before they are centred.

    Left to itself, the encoder folds ten colours and their edges into four channels in any way
    that it can undo, and the UNet then has to learn every pair of colours anew. With brightness
    and two colour differences of each 8 x 8 block in the first three channels, an edge between
    any two colours is a blend of them, and the fourth channel is free to tell where it runs.

    Args:
        pixels: ``(B, 3, H, W)``, -1 to 1.

    Returns:
        ``(B, 3, H/8, W/8)``: brightness, red or green, blue or yellow.
    """
    axes = pixels.new_tensor([[1.0, 1.0, 1.0], [1.5, -1.5, 0.0], [0.75, 0.75, -1.5]])
    return torch.einsum("kc,bchw->bkhw", axes, F.avg_pool2d(pixels, 8))


def _crop(pictures: Tensor, side: int, step: int) -> Tensor:
    rng = chance("crop", step)
    rows = []
    for picture in pictures:
        top, left = rng.randrange(SIDE - side), rng.randrange(SIDE - side)
        rows.append(picture[:, top : top + side, left : left + side])
    return torch.stack(rows)


@torch.inference_mode()
def encode(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Give the means of ``(B, 3, H, W) uint8`` pictures: ``(B, 4, H/8, W/8) float32``, unscaled."""
    mean: Tensor = vae.encode(to_pixels(pictures)).latent_dist.mean
    return mean.float().contiguous()


@torch.no_grad()
def centre_latents(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Make scaled latents zero in mean and one in spread, channel by channel.

    Stable Diffusion's format has a single scaling factor. The shift and the four spreads therefore
    go into the two 1x1 convolutions around the latents, where they are exact.

    Args:
        vae: Changed in place.
        pictures: ``(B, 3, H, W) uint8``, a few hundred of the training pictures.
    """
    latents = torch.cat([encode(vae, part) for part in pictures.split(32)])
    mean = latents.mean((0, 2, 3))
    factor = 1 / (SCALING_FACTOR * latents.std((0, 2, 3)))  # (4,)
    into, out = vae.quant_conv, vae.post_quant_conv
    into.weight[:4] *= factor[:, None, None, None]
    into.bias[:4] = (into.bias[:4] - mean) * factor
    into.bias[4:] += 2 * factor.log()
    out.bias += (out.weight[:, :, 0, 0] * mean).sum(1)
    out.weight /= factor[None, :, None, None]


@torch.inference_mode()
def psnr(vae: AutoencoderKL, pictures: Tensor) -> float:
    """Give the mean PSNR in dB of the round trip of ``(B, 3, H, W) uint8`` pictures, 8 bit."""
    values = []
    for part in pictures.split(32):
        latents = vae.encode(to_pixels(part)).latent_dist.mean
        drawn = ((vae.decode(latents).sample.clamp(-1, 1) + 1) * 127.5).round()
        error = (drawn - part.float()).square().mean((1, 2, 3)).clamp(min=1e-3)
        values += [10 * math.log10(255**2 / value) for value in error.tolist()]
    return sum(values) / len(values)
