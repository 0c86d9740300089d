"""The starter model's UNet, trained in the latents of its VAE on the words of its CLIP."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from core.starter import autoencoder
from core.starter.clip import WIDTH, tokens_of
from core.starter.pictures import CHUNK, chance, render_chunk, scene_at
from core.starter.stage import Losses, StageSettings, train_stage
from core.starter.together import share
from core.starter.world import Scene, caption

BATCH = 64
CAPTION_DROPOUT = 0.1
LATENT_SEED = 7
EASY_CHUNKS = 6
"""The first chunks show single plain shapes alone; two things, digits and stripes come later."""
STEPS_A_CHUNK = 100
"""A new chunk of pictures joins the pool every so many steps, until all are there."""


def build_unet() -> UNet2DConditionModel:
    """Make the UNet, untrained: 8.9 million parameters.

    Attention, to itself and to the words, works at every size. Leaving it out at 16 x 16 latents,
    as SDXL does at its largest size, makes a step a third cheaper, but outlines live there: without
    it 80,000 pictures of training gave the right colours in the shape of blobs.
    """
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(64, 128, 160),
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def noise_schedule() -> DDIMScheduler:
    """Stable Diffusion's noise schedule, with the velocity as the target.

    v-prediction is Salimans & Ho 2022 (arXiv:2202.00512, appendix D): v = alpha noise - sigma x0.
    """
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )


def latent_scene(number: int) -> Scene:
    """The scene whose picture has this number in the pool of latents."""
    return scene_at(LATENT_SEED, number, easy=number < EASY_CHUNKS * CHUNK)


class LatentPool:
    """Training pictures as scaled latents, encoded once and kept on disk, chunk by chunk."""

    def __init__(self, vae: AutoencoderKL, folder: Path, chunks: int, *, at_once: int = 1) -> None:
        """Keep ``chunks`` files of ``CHUNK`` latents in ``folder``, so many from the first step."""
        self._vae = vae
        self._folder = folder
        self._chunks = chunks
        self._at_once = at_once
        self._loaded: list[Tensor] = []

    def batch(self, size: int, step: int) -> tuple[Tensor, list[int]]:
        """Give the batch of a step: ``(size, 4, H/8, W/8) float32`` scaled, and picture numbers."""
        there = min(self._at_once + step // STEPS_A_CHUNK, self._chunks)
        rng = chance("latents", step)
        while len(self._loaded) < there:
            self._loaded.append(self._chunk(len(self._loaded)))
        numbers = [rng.randrange(there * CHUNK) for _ in range(size)]
        rows = [self._loaded[number // CHUNK][number % CHUNK] for number in numbers]
        return torch.stack(rows).float(), numbers

    def _chunk(self, index: int) -> Tensor:
        path = self._folder / f"latents-{index:04}.safetensors"
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            pictures = render_chunk(LATENT_SEED, index, easy=index < EASY_CHUNKS)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                parts = [autoencoder.encode(self._vae, part) for part in pictures.split(32)]
            latents = torch.cat(parts) * autoencoder.SCALING_FACTOR
            # Two processes may come here at once; both write the same.
            unfinished = path.with_suffix(f".{os.getpid()}.part")
            save_file({"latents": latents.half()}, unfinished)
            unfinished.replace(path)
        return load_file(path)["latents"]


def train_unet(
    tokenizer: CLIPTokenizer,
    text_encoder: CLIPTextModel,
    pool: LatentPool,
    folder: Path,
    *,
    steps: int,
    seed: int,
) -> UNet2DConditionModel:
    """Train the UNet to predict the velocity, text encoder and VAE frozen."""
    torch.manual_seed(seed)
    model = build_unet().to(memory_format=torch.channels_last)
    # Plain matrix products: in bfloat16 the fused attention's backward pass is slow on a CPU.
    model.set_attn_processor(AttnProcessor())
    text_encoder.eval().requires_grad_(requires_grad=False)

    def losses_of(step: int) -> Losses:
        latents, numbers = pool.batch(BATCH, step)
        rng = chance(seed, "captions", step)
        texts = [
            "" if rng.random() < CAPTION_DROPOUT else caption(latent_scene(number), rng)
            for number in numbers
        ]
        ours = share()
        with torch.no_grad():
            words = text_encoder(tokens_of(tokenizer, texts[ours])).last_hidden_state  # (B, T, D)
        error, timesteps = velocity_errors(
            model, latents, words, seed=seed * 1_000_003 + step, rows=ours
        )
        late = error[timesteps > 800].mean().detach()
        return {"loss": error.mean(), "loss_t>800": late}

    settings = StageSettings(
        name="unet",
        steps=steps,
        learning_rate=1.5e-3,
        cool_down=0.25,
        average=0.998,
        muon=True,
        together=True,
    )
    trained = train_stage(settings, model, losses_of, folder)
    assert isinstance(trained, UNet2DConditionModel)
    return trained


def velocity_errors(
    unet: UNet2DConditionModel,
    latents: Tensor,
    words: Tensor,
    *,
    seed: int,
    rows: slice = slice(None),
) -> tuple[Tensor, Tensor]:
    """Add noise to clean latents and tell how well the UNet predicts their velocity.

    Args:
        unet: What learns.
        latents: ``(B, 4, H/8, W/8) float32``, scaled.
        words: Of these rows, ``(R, T, D)``.
        seed: Of the noise and the timesteps.
        rows: Which of the batch to compute.

    Returns:
        The mean square error of each and its timestep, both ``(R,)``.
    """
    batch = len(latents)
    generator = torch.Generator().manual_seed(seed)
    # One timestep from each of B parts of the schedule: less noise in the loss. The parts are
    # narrower where there is much noise, for there it is settled what the picture shows.
    spread = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
    timesteps = (1000 * spread**0.7).long().clamp(max=999)
    noise = torch.randn(latents.shape, generator=generator)
    timesteps = timesteps[rows]
    noisy, velocity = _mix(latents[rows], noise[rows], timesteps)
    noisy = noisy.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        predicted = unet(noisy, timesteps, words).sample
    return (predicted.float() - velocity).square().mean((1, 2, 3)), timesteps


def _mix(clean: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Give x_t and v of (x0, noise, timesteps)."""
    kept = noise_schedule().alphas_cumprod[timesteps][:, None, None, None]  # (B, 1, 1, 1)
    alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
    return alpha * clean + sigma * noise, alpha * noise - sigma * clean
