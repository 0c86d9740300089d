"""The parts of a loaded model, and what the sampling code may ask of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from core.models.identify import Identity
from core.models.residence import Residence


class Tokens(Protocol):
    """What a tokenizer makes of texts."""

    input_ids: Any


class Tokenizer(Protocol):
    """The part of a CLIP tokenizer that is used."""

    model_max_length: int

    def __call__(self, text: str, **options: Any) -> Tokens:
        """Turn a text into token numbers."""


class LatentDistribution(Protocol):
    """A diagonal normal distribution over unscaled latents."""

    mean: Tensor
    std: Tensor


class Encoded(Protocol):
    """What a VAE makes of a picture."""

    latent_dist: LatentDistribution


class Autoencoder(Protocol):
    """The part of diffusers' ``AutoencoderKL`` that is used."""

    def encode(self, pixels: Tensor) -> Encoded:
        """Map ``(B, 3, H, W)`` in -1..1 to a distribution over ``(B, 4, H/8, W/8)``."""

    def decode(self, latents: Tensor, *, return_dict: bool) -> tuple[Tensor]:
        """Map unscaled ``(B, 4, H/8, W/8)`` to ``(B, 3, H, W)`` in about -1..1."""


@runtime_checkable
class TextReader(Protocol):
    """A text encoder that gives what the UNet reads, and no more."""

    def read(self, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map ``(B, T)`` to ``(B, T, D)``, and the pooled text ``(B, P)`` if the UNet reads it."""


@dataclass(frozen=True, slots=True)
class TextTower:
    """One of a model's text encoders.

    Attributes:
        name: ``text_encoder`` or ``text_encoder_2``.
        tokenizer: CLIP's byte-pair encoder, with the padding that this encoder knows.
        encoder: The module.
    """

    name: str
    tokenizer: Tokenizer
    encoder: nn.Module


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """A model in memory.

    Attributes:
        identity: What it is.
        sha256: Hash of its weights, 64 hex digits.
        vae_sha256: Hash of its VAE's weight file.
        tokenizer: CLIP's byte-pair encoder; None in a model without the first text tower.
        text_encoder: CLIP's text tower; its first output is ``(B, T, D)``. None in SDXL's refiner.
        text_uses_mask: Whether the text tower wants the padding masked.
        unet: The denoiser; its first output is ``(B, 4, H/8, W/8)``.
        vae: Between pictures and latents.
        scaling_factor: Of the VAE's latents to those that the UNet sees.
        tiny_vae: A TAESD-type decoder, or None.
        tiny_scaling_factor: The same as ``scaling_factor``, of ``tiny_vae``.
        scheduler_config: The model's own scheduler configuration.
        device: Where the weights lie.
        dtype: Their number format.
        residence: Which of them are on the device.
        tokenizer_2: Of the second text tower; None in a model without it.
        text_encoder_2: SDXL's second text tower (OpenCLIP bigG); its first output is the pooled
            and projected text ``(B, D)``. None in a model of another kind.
    """

    identity: Identity
    sha256: str
    vae_sha256: str
    tokenizer: Tokenizer | None
    text_encoder: nn.Module | None
    text_uses_mask: bool
    unet: nn.Module
    vae: Autoencoder
    scaling_factor: float
    tiny_vae: Autoencoder | None
    tiny_scaling_factor: float
    scheduler_config: Mapping[str, Any]
    device: torch.device
    dtype: torch.dtype
    residence: Residence
    tokenizer_2: Tokenizer | None = None
    text_encoder_2: nn.Module | None = None

    @property
    def text_towers(self) -> tuple[TextTower, ...]:
        """The text encoders, in the order in which the UNet reads them."""
        towers = (
            ("text_encoder", self.tokenizer, self.text_encoder),
            ("text_encoder_2", self.tokenizer_2, self.text_encoder_2),
        )
        return tuple(
            TextTower(name, tokenizer, encoder)
            for name, tokenizer, encoder in towers
            if tokenizer is not None and encoder is not None
        )


def change_dtype(module: object, dtype: torch.dtype) -> None:
    """Change the number format of a component's weights in place."""
    assert isinstance(module, nn.Module)
    # Weights made in inference mode could not be trained later.
    with torch.inference_mode(mode=False):
        # Not diffusers' own ``to``, which warns on stderr of parts to keep in fp32: here are none.
        nn.Module.to(module, dtype=dtype)
