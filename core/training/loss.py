"""What a denoiser learns from: noised latents, and how far its prediction is from the truth.

Ho et al. 2020, arXiv:2006.11239, equation 14; for models that predict the velocity, Salimans & Ho
2022, arXiv:2202.00512, section 2.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from core.models.families import PredictionType
from core.training.config_parts import LossKind, LossSettings


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """How much of a latent is signal at each timestep.

    Attributes:
        alphas_bar: ``(T,)``, fp32, on the CPU: the signal's share of the variance, falling.
        prediction_type: What the model predicts.
    """

    alphas_bar: Tensor
    prediction_type: PredictionType

    @classmethod
    def of(cls, config: Mapping[str, Any], prediction_type: PredictionType) -> NoiseSchedule:
        """Read a model's own; one that ends in pure noise (arXiv:2305.08891) does so here too.

        Args:
            config: The model's scheduler configuration.
            prediction_type: As its identity tells.
        """
        names = (
            "num_train_timesteps",
            "beta_start",
            "beta_end",
            "beta_schedule",
            "trained_betas",
            "rescale_betas_zero_snr",
        )
        scheduler: Any = DDPMScheduler(**{name: config[name] for name in names if name in config})
        return cls(scheduler.alphas_cumprod.float(), prediction_type)


@dataclass(frozen=True, slots=True)
class Noised:
    """A batch as the denoiser sees it, and what it should say.

    Attributes:
        latents: ``(B, C, H/8, W/8)``, fp32.
        timesteps: ``(B,)``, int64.
        target: ``(B, C, H/8, W/8)``, fp32.
        signal_to_noise: ``(B,)``, fp32, 0 and above.
    """

    latents: Tensor
    timesteps: Tensor
    target: Tensor
    signal_to_noise: Tensor


def noised(
    schedule: NoiseSchedule, latents: Tensor, seeds: Sequence[int], *, offset_noise: float = 0.0
) -> Noised:
    """Lay noise over latents, each by its own seed: whatever batch or process it is in.

    Args:
        schedule: The model's.
        latents: ``(B, C, H/8, W/8)``, scaled, fp32, on the CPU.
        seeds: One for each, from which its timestep and its noise are drawn.
        offset_noise: As of ``LossSettings``.
    """
    noises, times = [], []
    for one, seed in zip(latents, seeds, strict=True):
        generator = torch.Generator("cpu").manual_seed(seed)
        times.append(torch.randint(len(schedule.alphas_bar), (), generator=generator))
        noise = torch.randn(one.shape, generator=generator)
        if offset_noise:
            noise = noise + offset_noise * torch.randn((len(one), 1, 1), generator=generator)
        noises.append(noise)
    noise, timesteps = torch.stack(noises), torch.stack(times)
    alpha_bar = schedule.alphas_bar[timesteps][:, None, None, None]
    signal, spread = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    match schedule.prediction_type:
        case PredictionType.EPSILON:
            target = noise
        case PredictionType.V:
            target = signal * noise - spread * latents
        case PredictionType.SAMPLE:
            target = latents
        case unknown:
            assert_never(unknown)
    ratio = (alpha_bar / (1 - alpha_bar)).flatten()
    return Noised(signal * latents + spread * noise, timesteps, target, ratio)


def losses_of(
    prediction: Tensor,
    batch: Noised,
    settings: LossSettings,
    prediction_type: PredictionType,
    masks: Tensor | None = None,
) -> Tensor:
    """Measure how far predictions are from the truth.

    Args:
        prediction: ``(B, C, H/8, W/8)``, on any device, in any number format.
        batch: What it was made from.
        settings: The distance and its weights.
        prediction_type: What the model predicts.
        masks: ``(B, 1, H/8, W/8)``, 0 to 1, where the latents count; each is brought to a mean of
            1, so that small masks weigh as much as large ones. None for everywhere.

    Returns:
        ``(B,)``, fp32, on the prediction's device.
    """
    device = prediction.device
    apart = prediction.float() - batch.target.to(device)
    match settings.kind:
        case LossKind.MSE:
            distance = apart.square()
        case LossKind.HUBER:
            # Smooth everywhere, as in Khrapov et al. 2024, arXiv:2403.16728, equation 5.
            delta = settings.huber_delta
            distance = 2 * delta * ((apart.square() + delta**2).sqrt() - delta)
        case unknown:
            assert_never(unknown)
    if masks is not None:
        mean = masks.mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-3)
        distance = distance * (masks / mean).to(device)
    weights = snr_weights(batch.signal_to_noise, settings.min_snr_gamma, prediction_type)
    return distance.mean(dim=(1, 2, 3)) * weights.to(device)


def snr_weights(ratio: Tensor, gamma: float, prediction_type: PredictionType) -> Tensor:
    """Weigh timesteps down that are easy (Hang et al. 2023, arXiv:2303.09556, section 3.4).

    The paper's weight ``min(SNR, gamma)`` is of a prediction of the clean latents; of one of the
    noise it is divided by SNR, of one of the velocity by SNR + 1. A ratio of 0, where a schedule
    ends in pure noise, leaves the velocity's weight 0 and the noise's at its limit of 1.

    Args:
        ratio: ``(B,)``, signal to noise.
        gamma: Above 0, or 0 for weights of 1.
        prediction_type: What the model predicts.

    Returns:
        ``(B,)``.
    """
    if not gamma:
        return torch.ones_like(ratio)
    least = ratio.clamp(max=gamma)
    match prediction_type:
        case PredictionType.EPSILON:
            return torch.where(ratio > 0, least / ratio.clamp(min=1e-20), 1.0)
        case PredictionType.V:
            return least / (ratio + 1)
        case PredictionType.SAMPLE:
            return least
        case unknown:
            assert_never(unknown)
