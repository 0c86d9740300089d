"""What diffusers' example scripts do in a training step, for a comparison on the same model.

The order of operations is that of the scripts as they stand by default, for Stable Diffusion 1.x
and 2.x, in https://github.com/huggingface/diffusers/blob/main/examples:

- LoRA, ``text_to_image/train_text_to_image_lora.py``
- textual inversion, ``textual_inversion/textual_inversion.py``
- DreamBooth, ``dreambooth/train_dreambooth.py``, the whole UNet, with prior preservation
- full fine-tuning, ``text_to_image/train_text_to_image.py``

Progress bars, logs and checkpoints are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from PIL import Image
from torch import Tensor, nn

from core.bench_training import Begun
from core.sampling.towers import word_table
from core.training.config import Method, TrainConfig
from core.training.loop import training_precision
from core.training.session import make_accelerator

PLACEHOLDER = 2
"""Row of the words' table that learns as the new one; there it would be one row more."""


class ExampleScript:
    """One of the scripts, teaching the weights that a training of ours teaches.

    The two share the model and what learns of it, so that large models fit into memory once; the
    optimiser is the script's own.
    """

    def __init__(self, begun: Begun, config: TrainConfig) -> None:
        """Begin where a training of ours begins."""
        components = begun.components
        device, dtype = components.device, components.dtype
        assert not components.identity.needs_size, "the scripts for SDXL are others"
        self._config = config
        self._gathers = config.method in (Method.LORA, Method.FINETUNE)
        self._learns_word = config.method is Method.TEXTUAL_INVERSION
        self._unet: Any = components.unet
        self._vae: Any = components.vae.requires_grad_(requires_grad=False)
        self._encoder: Any = components.text_towers[0].encoder
        self._scheduler = DDPMScheduler.from_config(components.scheduler_config)
        self._preserves = bool(getattr(config, "class_prompt", ""))
        batch = begun.dataset.batch(0)
        self._latents = batch.latents.to(device, dtype)
        self._states = begun.dataset.texts(batch.captions).text
        self._ids = (
            components.text_towers[0]
            .tokenizer(
                list(batch.captions), padding="max_length", truncation=True, return_tensors="pt"
            )
            .input_ids.to(device)
        )
        self._learned = list(begun.session.student.learned().values())
        if self._learns_word:
            self._table: nn.Parameter = word_table(self._encoder).weight
            self._kept = self._table.data.clone()
            self._ids[:, 1] = PLACEHOLDER
            self._learned = [self._table]
        self._accelerator = make_accelerator(device, training_precision(config.precision, device))
        optimiser = torch.optim.AdamW(self._learned, 1e-6)
        rates = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda _: 1.0)
        self._optimiser, self._rates = self._accelerator.prepare(optimiser, rates)

    def step(self) -> None:
        """Learn from the first batch, whose latents and texts are encoded already."""
        self._learn(self._latents, None if self._learns_word else self._states)

    def epoch(self, pictures: Sequence[Path], side: int) -> None:
        """Learn from each picture once, with its latents and texts encoded on the way."""
        size = self._config.batch_size
        for begin in range(0, len(pictures), size):
            # Pictures of the thing stand for the class's, as in the training of ours.
            shown = pictures[begin : begin + size] * (2 if self._preserves else 1)
            pixels = torch.stack([_signed(path, side) for path in shown])
            pixels = pixels.to(self._latents.device, self._latents.dtype)
            latents = self._vae.encode(pixels).latent_dist.sample()
            self._learn(latents * self._vae.config.scaling_factor, None)

    def _learn(self, latents: Tensor, states: Tensor | None) -> None:
        accelerator, scheduler = self._accelerator, self._scheduler
        for weights in self._learned:
            weights.requires_grad = True
        with accelerator.accumulate(self._unet):
            noise = torch.randn_like(latents)
            last = scheduler.config.num_train_timesteps
            timesteps = torch.randint(0, last, (len(latents),), device=latents.device)
            noisy = scheduler.add_noise(latents, noise, timesteps)
            if states is None:
                states = self._encoder(self._ids[: len(latents)])[0].to(latents.dtype)
            target = noise
            if scheduler.config.prediction_type == "v_prediction":
                target = scheduler.get_velocity(latents, noise, timesteps)
            with accelerator.autocast():
                prediction = self._unet(noisy, timesteps, states).sample
            loss = self._loss(prediction.float(), target.float())
            if self._gathers:
                accelerator.gather(loss.repeat(self._config.batch_size)).mean().item()
            accelerator.backward(loss)
            if not self._learns_word:
                accelerator.clip_grad_norm_(self._learned, 1.0)
            self._optimiser.step()
            self._rates.step()
            self._optimiser.zero_grad()
            if self._learns_word:
                self._put_back()
        loss.detach().item()

    def _loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        if not self._preserves:
            return F.mse_loss(prediction, target)
        (thing, kind), (thing_target, kind_target) = prediction.chunk(2), target.chunk(2)
        return F.mse_loss(thing, thing_target) + F.mse_loss(kind, kind_target)

    def _put_back(self) -> None:
        """Give all words but the new one the vectors that they had."""
        others = torch.ones(len(self._table), dtype=torch.bool)
        others[PLACEHOLDER] = False
        with torch.no_grad():
            self._table[others] = self._kept[others]
        self._table.requires_grad = False


def _signed(path: Path, side: int) -> Tensor:
    """Read a picture: ``(3, H, W)``, -1 to 1."""
    with Image.open(path) as picture:
        pixels = picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 127.5 - 1
