"""What a part meets while a model is at work: the inputs by which its layers are measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from core.coreml_folder import PartName
from core.request import SchedulerName
from core.sampling.schedulers import make_plan
from coreml_export.parts import Part

STEPS = 6
"""Of the run that the inputs are taken from."""

SAMPLED = (0, 2, 4)
"""Those of its steps that they are taken from: much noise, some, and little."""

_LATENTS = 4
_GUIDANCE = 5.0

_UNETS = (PartName.UNET, PartName.CONTROLLED_UNET)


@torch.no_grad()
def samples_of(part: Part, scheduler_config: Mapping[str, Any]) -> list[tuple[Tensor, ...]]:
    """Give inputs of a part.

    Of a UNet they come from a short run of the model from noise, with its own text; of any other
    part they are its examples.

    Args:
        part: The part.
        scheduler_config: The model's own scheduler's configuration.
    """
    examples = part.examples()
    if part.name not in _UNETS:
        return [examples]
    latents, _, *others = examples
    plan = make_plan(SchedulerName.DDIM, scheduler_config, steps=STEPS)
    sampled = []
    # What an inpainting UNet is told of the picture lies beside the latents.
    latents, told = latents[:, :_LATENTS], latents[:, _LATENTS:]
    latents = latents[-1:].expand_as(latents) * plan.scheduler.init_noise_sigma
    for step, call in enumerate(plan.calls):
        seen = plan.scheduler.scale_model_input(latents, call.timestep)
        timestep = call.timestep.float().expand(len(seen))
        inputs = (torch.cat([seen, told], dim=1), timestep, *others)
        if step in SAMPLED:
            sampled.append(inputs)
        if step == SAMPLED[-1]:
            break
        prediction = _guided(part.module(*inputs))
        latents = plan.scheduler.step(prediction, call.timestep, latents, return_dict=False)[0]
    return sampled


def _guided(prediction: Tensor) -> Tensor:
    """Lead a batch of two, without a prompt and with one, away from the first."""
    if len(prediction) == 1:
        return prediction
    without, with_prompt = prediction.chunk(2)
    return (without + _GUIDANCE * (with_prompt - without)).expand_as(prediction)
