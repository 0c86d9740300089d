"""Previews of the clean picture that a run has in mind, within a budget of time."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.errors import ModelInvalid, Unsupported
from core.events import Preview, PreviewSettings
from core.models.components import Autoencoder, Components
from core.models.identify import TINY_VAE_FOLDERS
from core.request import PreviewDecoder
from core.sampling.denoise import Denoised
from core.sampling.linear_preview import Decode, can_be_had, find_or_fit
from core.sampling.vae import Vae, to_cpu, to_pixels

PreviewCosts = dict[tuple[PreviewDecoder, int, int, int], float]
"""Seconds that a preview took, by decoder, width, height and batch size."""

FIRST_GUESS = {
    PreviewDecoder.LINEAR: 0.001,
    PreviewDecoder.TINY: 0.12,
    PreviewDecoder.FULL: 1.7,
}
"""Cost of a preview as a share of a step before one was measured: Stable Diffusion 1.5 on a CPU,
linear 0.0005, TAESD 0.11, full VAE 1.66."""


def make_decoder(decoder: PreviewDecoder, components: Components, cache: Path) -> Decode | None:
    """Make a decoder ready; ``OFF`` gives None, and so does a linear one that cannot be had.

    Args:
        decoder: Which.
        components: The loaded model.
        cache: Folder of linear fits.

    Raises:
        Unsupported: If the model has no tiny decoder.
    """
    match decoder:
        case PreviewDecoder.OFF:
            return None
        case PreviewDecoder.LINEAR:
            if not can_be_had(components, cache):
                return None
            return find_or_fit(components, cache).decode
        case PreviewDecoder.TINY:
            if components.tiny_vae is None:
                raise Unsupported(
                    f"{components.identity.path} has no tiny decoder; put a TAESD model into its "
                    f"{TINY_VAE_FOLDERS[0]} folder, or choose linear previews."
                )
            return _TinyDecoder(components, components.tiny_vae)
        case PreviewDecoder.FULL:
            return Vae(components).decode
        case _:
            assert_never(decoder)


@dataclass(slots=True)
class Previewer:
    """Decides which steps are shown, and shows them.

    All previews together may take ``budget`` of the time of all steps so far; one that would go
    over it is skipped, judged by what the last one cost. Nothing of this touches the latents.

    Attributes:
        settings: What is wanted.
        decode: The decoder, or None for no previews.
        cost: Seconds that the last preview took, or None before the first.
    """

    settings: PreviewSettings
    decode: Decode | None
    cost: float | None = None
    _stepping: float = field(default=0.0, init=False)
    _showing: float = field(default=0.0, init=False)
    _steps: int = field(default=0, init=False)

    def after_step(
        self, moment: Denoised, pictures: tuple[int, ...], seconds: float
    ) -> tuple[Preview, ...]:
        """Show a step, or skip it.

        Args:
            moment: The step's end.
            pictures: Indices of the batch's pictures.
            seconds: What the step took.

        Returns:
            One preview for each picture, or none; none either where there is nothing to show.
        """
        self._steps += 1
        self._stepping += seconds
        if self.decode is None or not self._is_affordable():
            return ()
        begin = time.perf_counter()
        shown = None
        # If that is for the weights, the run itself will say so; looking on must not end it.
        with suppress(ModelInvalid):
            shown = self.decode(moment.clean())
        self.cost = time.perf_counter() - begin
        self._showing += self.cost
        if shown is None:
            return ()
        decoder = self.settings.decoder
        return tuple(
            Preview(picture=picture, pixels=pixels, decoder=decoder)
            for picture, pixels in zip(pictures, shown, strict=True)
        )

    def _is_affordable(self) -> bool:
        share = FIRST_GUESS.get(self.settings.decoder, 0.0)
        cost = share * self._stepping / self._steps if self.cost is None else self.cost
        return self._showing + cost <= self.settings.budget * self._stepping


@dataclass(frozen=True, slots=True)
class _TinyDecoder:
    """A TAESD-type decoder, without the VAE's guard: what is not finite is shown as grey."""

    components: Components
    autoencoder: Autoencoder

    @torch.inference_mode()
    def __call__(self, latents: Tensor) -> npt.NDArray[np.uint8]:
        unscaled = latents / self.components.tiny_scaling_factor
        moved = unscaled.to(self.components.device, self.components.dtype)
        decoded = self.autoencoder.decode(moved, return_dict=False)[0]
        return to_pixels(torch.nan_to_num(to_cpu(decoded)))
