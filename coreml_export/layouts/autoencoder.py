"""A VAE's two halves as parts. Latents are unscaled: who runs them scales."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn


class Decoder(nn.Module):
    """The half of an ``AutoencoderKL`` that makes pictures."""

    def __init__(self, vae: Any) -> None:
        """Share its weights."""
        super().__init__()
        self.post_quant_conv = vae.post_quant_conv or nn.Identity()
        self.decoder = vae.decoder

    def forward(self, z: Tensor) -> Tensor:
        """Map unscaled latents ``(B, 4, H/8, W/8)`` to ``(B, 3, H, W)`` in about -1..1."""
        return cast(Tensor, self.decoder(self.post_quant_conv(z)))


class Encoder(nn.Module):
    """The half of an ``AutoencoderKL`` that makes latents."""

    def __init__(self, vae: Any) -> None:
        """Share its weights."""
        super().__init__()
        self.encoder = vae.encoder
        self.quant_conv = vae.quant_conv or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, 3, H, W)`` in -1..1 to the moments of unscaled latents ``(B, 8, H/8, W/8)``.

        The first half of the channels are the means, the second the logarithms of the variances.
        """
        return cast(Tensor, self.quant_conv(self.encoder(x)))
