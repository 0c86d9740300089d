"""The denoising loop, and what can be seen at each of its steps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.models.identify import PredictionType
from core.sampling.guidance import Guidance
from core.sampling.inpaint import Known
from core.sampling.schedulers import Call, Plan


@dataclass(frozen=True, slots=True)
class Denoised:
    """The state after one call of the denoiser.

    Attributes:
        call: Which it was.
        latents: ``(B, 4, H/8, W/8)``, scaled, fp32, on the CPU: those that the next call starts
            from.
        model_input: What the denoiser saw, at the model's scale.
        prediction: What it answered, guided.
        prediction_type: What the answer means.
    """

    call: Call
    latents: Tensor
    model_input: Tensor
    prediction: Tensor
    prediction_type: PredictionType

    @torch.inference_mode()
    def clean(self) -> Tensor:
        """Predict the clean latents x0, the picture that the denoiser has in mind.

        At the model's scale every scheduler's latents are
        z = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise, so one formula serves them all
        (Ho et al. 2020, arXiv:2006.11239, equation 15; Salimans & Ho 2022, arXiv:2202.00512,
        section 4).

        Returns:
            ``(B, 4, H/8, W/8)``, scaled.
        """
        signal = math.sqrt(self.call.alpha_bar)
        noise = math.sqrt(1 - self.call.alpha_bar)
        match self.prediction_type:
            case PredictionType.EPSILON:
                # The very last bit of signal may be rounded to nothing at the first timestep.
                return (self.model_input - noise * self.prediction) / max(signal, 1e-4)
            case PredictionType.V:
                return signal * self.model_input - noise * self.prediction
            case PredictionType.SAMPLE:
                return self.prediction


def denoise(
    latents: Tensor,
    plan: Plan,
    guidance: Guidance,
    generators: Sequence[torch.Generator],
    known: Known | None = None,
) -> Generator[Denoised, None, None]:
    """Walk from noise to clean latents, stopping after each call of the denoiser to be looked at.

    The last value's ``latents`` are the result. Closing the iterator ends the run.

    Args:
        latents: ``(B, 4, H/8, W/8)``, scaled, noised as ``plan`` begins, fp32, on the CPU.
        plan: The course of the run; it serves once.
        guidance: The denoiser with its prompts.
        generators: One a picture, for the methods that add noise at each step.
        known: What of the pictures is put back after each call, if anything.
    """
    options = dict(plan.options)
    if plan.draws_noise:
        options["generator"] = list(generators)
    following = (*plan.calls[1:], None)
    for call, after in zip(plan.calls, following, strict=True):
        moment = _advance(latents, call, plan, guidance, options)
        if known is not None:
            timestep = None if after is None else after.timestep
            whole = known.put_back(moment.latents, plan.scheduler, timestep)
            moment = dataclasses.replace(moment, latents=whole)
        latents = moment.latents
        yield moment


@torch.inference_mode()
def _advance(
    latents: Tensor, call: Call, plan: Plan, guidance: Guidance, options: dict[str, Any]
) -> Denoised:
    """Do one call. Inference mode must not span a yield: it would leak into the caller."""
    model_input = plan.scheduler.scale_model_input(latents, call.timestep)
    prediction = guidance(model_input, call.timestep, call.progress)
    after = plan.scheduler.step(prediction, call.timestep, latents, return_dict=False, **options)[0]
    return Denoised(call, after, model_input, prediction, plan.prediction_type)
