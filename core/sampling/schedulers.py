"""The sampling methods: diffusers' classes by our names, and the plan of a run.

A scheduler computes on the CPU in fp32 whatever the model's device is. Latents are small (64 KB at
512 x 512), the arithmetic is the same everywhere, and neither half precision nor the gaps of a GPU
backend (MPS has no float64) can touch it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from core.errors import InvalidRequest, ModelInvalid, Unsupported
from core.models.families import PredictionType, refused_schedulers
from core.request import SchedulerName
from core.sampling.lms import LinearMultistepScheduler


class Scheduler(Protocol):
    """The part of diffusers' schedulers that is used."""

    timesteps: Tensor
    alphas_cumprod: Tensor
    init_noise_sigma: float | Tensor
    order: int

    def set_timesteps(self, num_inference_steps: int) -> None:
        """Choose the timesteps of a run and forget the run before."""

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """Bring latents to the scale that the model was trained on."""

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noise clean latents as they are at a timestep."""

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, **options: Any
    ) -> tuple[Tensor, ...]:
        """Go from one timestep to the next; the new latents come first."""


@dataclass(frozen=True, slots=True)
class _Method:
    """A diffusers class and how it is used.

    Attributes:
        cls: The class.
        config: What it is configured with, beside the model's configuration.
        draws_noise: Whether it draws noise at each step.
        options: What its ``step`` takes; eta is 0 in diffusers' pipelines too.
    """

    cls: Any
    config: Mapping[str, Any]
    draws_noise: bool
    options: Mapping[str, Any]


def _method(
    cls: Any,
    *,
    draws_noise: bool = False,
    options: Mapping[str, Any] = MappingProxyType({}),
    **config: Any,
) -> _Method:
    return _Method(cls, MappingProxyType(config), draws_noise, options)


_METHODS = {
    SchedulerName.PNDM: _method(PNDMScheduler),
    SchedulerName.DDIM: _method(DDIMScheduler),
    SchedulerName.LMS: _method(LinearMultistepScheduler),
    SchedulerName.EULER: _method(EulerDiscreteScheduler),
    SchedulerName.EULER_ANCESTRAL: _method(EulerAncestralDiscreteScheduler, draws_noise=True),
    SchedulerName.HEUN: _method(HeunDiscreteScheduler),
    SchedulerName.DPMPP_2M: _method(
        DPMSolverMultistepScheduler, algorithm_type="dpmsolver++", use_karras_sigmas=False
    ),
    SchedulerName.DPMPP_2M_KARRAS: _method(
        DPMSolverMultistepScheduler, algorithm_type="dpmsolver++", use_karras_sigmas=True
    ),
    SchedulerName.DPMPP_SDE: _method(
        DPMSolverMultistepScheduler,
        draws_noise=True,
        algorithm_type="sde-dpmsolver++",
        use_karras_sigmas=False,
    ),
    SchedulerName.UNIPC: _method(UniPCMultistepScheduler),
    SchedulerName.DDPM: _method(DDPMScheduler, draws_noise=True),
    SchedulerName.LCM: _method(LCMScheduler, draws_noise=True),
    SchedulerName.TCD: _method(TCDScheduler, options={"eta": 0.0}),
}

_STABLE_DIFFUSION = {"clip_sample": False, "steps_offset": 1}
"""What diffusers' pipeline forces on older configurations: latents are not bound to -1..1, and
timesteps begin at 1."""

SPACINGS = ("leading", "linspace", "trailing")
"""The ways that there are to spread timesteps; diffusers asks only when they are set."""


@dataclass(frozen=True, slots=True)
class Call:
    """One evaluation of the denoiser.

    Attributes:
        timestep: A 0-dimensional tensor, as the scheduler wants it back.
        alpha_bar: Share of signal in the latents' variance, 0 to 1.
        step: The step that it belongs to, from 1; some methods call more than once a step.
        ends_step: Whether it is the last of its step.
        progress: Share of the run done before that step, 0 up to below 1.
    """

    timestep: Tensor
    alpha_bar: float
    step: int
    ends_step: bool
    progress: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The course of a run, ready for one batch.

    Attributes:
        scheduler: With its timesteps set; it holds the state of one run, so it serves one batch.
        calls: The denoiser's evaluations, in order.
        steps: How many steps they make up.
        prediction_type: What the denoiser predicts.
        draws_noise: Whether ``step`` takes generators.
        options: What else it takes.
    """

    scheduler: Scheduler
    calls: tuple[Call, ...]
    steps: int
    prediction_type: PredictionType
    draws_noise: bool
    options: Mapping[str, Any]


def make_plan(
    name: SchedulerName, config: Mapping[str, Any], *, steps: int, strength: float | None = None
) -> Plan:
    """Plan a run.

    Args:
        name: The sampling method.
        config: The model's own scheduler configuration.
        steps: Denoising steps for a run from pure noise.
        strength: Share of the steps that is run, from the end, over a start picture (SDEdit,
            arXiv:2108.01073); None without one.

    Raises:
        InvalidRequest: If the method cannot take so many steps.
        ModelInvalid: If the configuration makes no sense (of a schedule that ends in pure noise,
            see Lin et al. 2023, arXiv:2305.08891, section 3.1).
        Unsupported: If the method cannot work with the model's kind of prediction.
    """
    prediction_type = PredictionType(config.get("prediction_type", PredictionType.EPSILON))
    refused = refused_schedulers(
        prediction_type, zero_terminal_snr=bool(config.get("rescale_betas_zero_snr"))
    )
    if name in refused:
        raise Unsupported(
            f"The scheduler {name} does not serve this model. {refused[name]} Choose ddim."
        )
    if prediction_type is PredictionType.EPSILON and config.get("rescale_betas_zero_snr"):
        raise ModelInvalid(
            "The model's scheduler_config.json, or the tensor ztsnr in its file, lets its schedule "
            "end in pure noise, where a prediction of the noise, which is this model's, says "
            "nothing of the picture; get the configuration or the file that belongs to the model."
        )
    scheduler = _make_scheduler(name, config)
    _set_timesteps(scheduler, name, steps)
    run_steps = steps if strength is None else int(steps * strength)
    first = (steps - run_steps) * scheduler.order
    if strength is not None and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    return Plan(
        scheduler=scheduler,
        calls=_calls(scheduler, first, run_steps),
        steps=run_steps,
        prediction_type=prediction_type,
        draws_noise=_METHODS[name].draws_noise,
        options=_METHODS[name].options,
    )


def hand_over(plan: Plan, anew: Plan, start: float) -> tuple[Plan, Plan]:
    """Cut a run in two, where another model takes over.

    The timesteps after a share of the noise schedule are the second model's, as diffusers counts
    ``denoising_end`` and ``denoising_start``; a step that has begun is not cut. What a method
    remembers of the steps before was the first model's finding, so it begins anew, as there. PNDM
    and K-LMS take it for granted in the middle of a run that such steps were; they go on.

    Args:
        plan: The run.
        anew: The same once more.
        start: The share.

    Returns:
        Both parts, of which either may have no calls.
    """
    trained = len(plan.scheduler.alphas_cumprod)
    cut = round(trained - start * trained)
    begins: dict[int, float] = {}
    for call in plan.calls:
        begins.setdefault(call.step, float(call.timestep))
    first = sum(begins[call.step] >= cut for call in plan.calls)
    later = plan
    is_linear = isinstance(anew.scheduler, LinearMultistepScheduler)
    if hasattr(anew.scheduler, "set_begin_index") and not is_linear:
        before = len(anew.scheduler.timesteps) - len(anew.calls)
        anew.scheduler.set_begin_index(before + first)
        later = anew
    return replace(plan, calls=plan.calls[:first]), replace(later, calls=plan.calls[first:])


def _make_scheduler(name: SchedulerName, config: Mapping[str, Any]) -> Any:
    """Build diffusers' class from the model's configuration, our method's settings on top.

    A configuration that says nothing of PNDM's Runge-Kutta start gets none, as in all of Stable
    Diffusion's own; with a start picture it would read the wrong timesteps.
    """
    method = _METHODS[name]
    base = {"skip_prk_steps": True} | dict(config) | _STABLE_DIFFUSION
    known = inspect.signature(method.cls.__init__).parameters
    values = {key: value for key, value in base.items() if key in known}
    try:
        if base.get("timestep_spacing", SPACINGS[0]) not in SPACINGS:
            raise ValueError(f"timestep_spacing is {base['timestep_spacing']!r}")
        return method.cls.from_config(values | dict(method.config))
    except (TypeError, ValueError, IndexError, NotImplementedError, ImportError) as error:
        raise ModelInvalid(
            f"The model's scheduler_config.json does not serve {name} ({error}); put back the one "
            "that belongs to the model, or choose another scheduler."
        ) from error


def _set_timesteps(scheduler: Scheduler, name: SchedulerName, steps: int) -> None:
    try:
        scheduler.set_timesteps(steps)
    except ValueError as error:
        raise InvalidRequest(
            "steps", f"{name} cannot take {steps} steps with this model; use fewer."
        ) from error
    timesteps = scheduler.timesteps
    beyond = float(timesteps.max()) > len(scheduler.alphas_cumprod) - 1
    if beyond or (steps > 1 and len(timesteps.unique()) == 1):
        raise InvalidRequest(
            "steps", f"{steps} are more than {name} can tell apart with this model; use fewer."
        )


def _calls(scheduler: Any, first: int, steps: int) -> tuple[Call, ...]:
    timesteps = scheduler.timesteps[first:]
    count = len(timesteps)
    numbers = [_step_of(i, count, steps, scheduler.order) for i in range(count)]
    alpha_bars = _alpha_bars(scheduler)[first:]
    return tuple(
        Call(
            timestep=timesteps[i],
            alpha_bar=alpha_bars[i],
            step=numbers[i],
            ends_step=i == count - 1 or numbers[i + 1] > numbers[i],
            progress=(numbers[i] - 1) / steps,
        )
        for i in range(count)
    )


def _step_of(call: int, calls: int, steps: int, order: int) -> int:
    """Number the step that a call belongs to, from 1.

    Second-order methods (Heun) call twice a step, the last one excepted. PNDM's additional calls
    belong to its first step.
    """
    if order > 1:
        return call // order + 1
    return max(1, call + 1 - (calls - steps))


def _alpha_bars(scheduler: Any) -> list[float]:
    """The share of signal at each timestep, exact between the trained ones too.

    Where the scheduler counts in noise-to-signal ratios sigma, alpha_bar = 1 / (1 + sigma^2)
    (Karras et al. 2022, arXiv:2206.00364, appendix B.3: the input is scaled to that).
    """
    timesteps = scheduler.timesteps
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None and len(sigmas) == len(timesteps) + 1:
        values = 1 / (1 + sigmas[:-1] ** 2)
    else:
        values = scheduler.alphas_cumprod[timesteps.long()]
    return [float(value) for value in torch.as_tensor(values).tolist()]
