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


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of a run that one model does.

    Attributes:
        plan: Its course; it serves once.
        guidance: The denoiser with its prompts.
    """

    plan: Plan
    guidance: Guidance


def denoise(
    latents: Tensor,
    legs: Sequence[Leg],
    generators: Sequence[torch.Generator],
    known: Known | None = None,
) -> Generator[Denoised, None, None]:
    """Walk from noise to clean latents, stopping after each call of the denoiser to be looked at.

    The last value's ``latents`` are the result. Closing the iterator ends the run.

    Args:
        latents: ``(B, 4, H/8, W/8)``, scaled, noised as the first leg begins, fp32, on the CPU.
        legs: The course of the run: one leg for each model that shares it.
        generators: One a picture, for the methods that add noise at each step.
        known: What of the pictures is put back after each call, if anything.
    """
    steps = [(leg, call) for leg in legs for call in leg.plan.calls]
    following = (*(call.timestep for _, call in steps[1:]), None)
    for (leg, call), timestep in zip(steps, following, strict=True):
        moment = _advance(latents, call, leg, generators)
        if known is not None:
            whole = known.put_back(moment.latents, leg.plan.scheduler, timestep)
            moment = dataclasses.replace(moment, latents=whole)
        latents = moment.latents
        yield moment


@torch.inference_mode()
def _advance(
    latents: Tensor, call: Call, leg: Leg, generators: Sequence[torch.Generator]
) -> Denoised:
    """Do one call. Inference mode must not span a yield: it would leak into the caller."""
    plan = leg.plan
    options: dict[str, Any] = {"generator": list(generators)} if plan.draws_noise else {}
    options |= plan.options
    model_input = plan.scheduler.scale_model_input(latents, call.timestep)
    prediction = leg.guidance(model_input, call.timestep, call.progress)
    after = plan.scheduler.step(prediction, call.timestep, latents, return_dict=False, **options)[0]
    return Denoised(call, after, model_input, prediction, plan.prediction_type)
