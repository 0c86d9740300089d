"""Classifier-free guidance around any denoiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from core.request import MemoryMode, Request
from core.sampling.conditioning import Conditioning, joined


class Denoiser(Protocol):
    """A trained network that tells signal from noise; what computes it is its own affair."""

    def __call__(self, latents: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """Predict.

        Args:
            latents: ``(B, 4, H/8, W/8)``, scaled, at the model's scale, fp32, on the CPU.
            timestep: 0-dimensional.
            conditioning: What is to be seen in the pictures, a batch of B.

        Returns:
            ``(B, 4, H/8, W/8)``, fp32, on the CPU: noise, velocity or clean latents.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidanceSettings:
    """How far and when to lead away from the negative prompt; see ``TextToImage``.

    Attributes:
        scales: Guidance scale of each picture, all of them above 1 or none.
        rescale: Share of rescaling.
        start: Fraction of the run at which it begins.
        end: Fraction of the run at which it ends.
        one_by_one: Whether the two predictions are computed one after the other, which takes half
            of the memory and may differ in the last bits.
    """

    scales: tuple[float, ...]
    rescale: float = 0.0
    start: float = 0.0
    end: float = 1.0
    one_by_one: bool = False

    @classmethod
    def of(
        cls, request: Request, pictures: Sequence[int], *, embedded: bool = False
    ) -> GuidanceSettings:
        """Take those of some pictures; none where guidance is ``embedded``, an input of the UNet.

        Args:
            request: What is made.
            pictures: Indices.
            embedded: See above.
        """
        if embedded:
            return cls(scales=(1.0,) * len(pictures))
        return cls(
            scales=tuple(map(request.guidance_of, pictures)),
            rescale=request.guidance_rescale,
            start=request.guidance_start,
            end=request.guidance_end,
            one_by_one=request.memory is MemoryMode.LOW,
        )

    @property
    def is_used(self) -> bool:
        """Whether any step is guided."""
        return max(self.scales) > 1 and self.start < self.end


class Guidance:
    """A denoiser with its prompts: predicts with guidance inside of an interval of the run.

    Outside of it, and at a scale of 1 or less, the unconditional half of the batch is not computed
    (Kynkäänniemi et al. 2024, arXiv:2404.07724).
    """

    def __init__(
        self,
        denoiser: Denoiser,
        settings: GuidanceSettings,
        *,
        positive: Conditioning,
        negative: Conditioning | None,
        before: Callable[[Tensor, float], None] | None = None,
    ) -> None:
        """Wrap a denoiser.

        Args:
            denoiser: What predicts.
            settings: The guidance.
            positive: The prompts, a batch of B.
            negative: What to lead away from, a batch of B; needed if guidance is used.
            before: Is told timestep and progress before each prediction, for denoisers that change
                in the course of a run.
        """
        self._before = before
        self._denoiser = denoiser
        self._settings = settings
        self._positive = positive
        self._negative: Conditioning | None = None
        self._both: Conditioning | None = None
        if settings.is_used:
            assert negative is not None, "guidance needs the negative prompt's embedding"
            assert min(settings.scales) > 1, "a picture without guidance would be guided"
            self._scales = torch.tensor(settings.scales).reshape(-1, 1, 1, 1)  # (B, 1, 1, 1)
            self._negative = negative
            if not settings.one_by_one:
                self._both = joined([negative, positive])  # a batch of 2B

    def __call__(self, latents: Tensor, timestep: Tensor, progress: float) -> Tensor:
        """Predict, guided if ``progress`` lies in the interval.

        Args:
            latents: ``(B, 4, H/8, W/8)``, scaled, at the model's scale.
            timestep: 0-dimensional.
            progress: Share of the run already done, 0 up to below 1.

        Returns:
            ``(B, 4, H/8, W/8)``: uncond + scale * (cond - uncond), Ho & Salimans 2022
            (arXiv:2207.12598, equation 6, with Stable Diffusion's scale = 1 + w).
        """
        if self._before is not None:
            self._before(timestep, progress)
        settings = self._settings
        if self._negative is None or not settings.start <= progress < settings.end:
            return self._denoiser(latents, timestep, self._positive)
        if self._both is None:
            unconditional = self._denoiser(latents, timestep, self._negative)
            conditional = self._denoiser(latents, timestep, self._positive)
        else:
            doubled = torch.cat([latents, latents])  # (2B, 4, H/8, W/8)
            unconditional, conditional = self._denoiser(doubled, timestep, self._both).chunk(2)
        guided = unconditional + self._scales * (conditional - unconditional)
        return rescale(guided, conditional, settings.rescale) if settings.rescale else guided


def rescale(guided: Tensor, conditional: Tensor, share: float) -> Tensor:
    """Pull the guided prediction's contrast back to that of the conditional one.

    Args:
        guided: ``(B, 4, H/8, W/8)``.
        conditional: ``(B, 4, H/8, W/8)``.
        share: 0 (leave it) to 1 (wholly).

    Returns:
        ``(B, 4, H/8, W/8)``: Lin et al. 2023, arXiv:2305.08891, equations 15 and 16.
    """
    axes = tuple(range(1, guided.ndim))
    rescaled = guided * (
        conditional.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)
    )
    return share * rescaled + (1 - share) * guided
