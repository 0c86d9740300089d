"""A training in memory: the model, its optimiser, and one step after the other."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator, DistributedType, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from torch import Tensor

from core.errors import Unsupported
from core.models.components import Components
from core.request import Precision
from core.sampling.conditioning import Conditioning
from core.training.checkpoint import State
from core.training.config import Finetune, TrainConfig
from core.training.dataset import Batch, Dataset
from core.training.loss import Noised, NoiseSchedule, losses_of, noised
from core.training.optimisers import optimiser_of, rate_factor, set_rates
from core.training.order import derived
from core.training.processes import PATIENCE
from core.training.recipe import Recipe, put_in
from core.training.self_check import digests
from core.training.sharding import (
    WholeStudent,
    gathered,
    gathered_optimiser,
    is_sharded,
    shared_out,
    shared_out_optimiser,
    whole,
)
from core.training.student import Student, keep_fewer_activations

_AVERAGE_WARM_UP = 10


_SHARED = (
    DistributedType.NO,
    DistributedType.MULTI_CPU,
    DistributedType.MULTI_GPU,
    DistributedType.FSDP,
)

Inputs = tuple[Tensor, Tensor, Sequence[str], Conditioning | None, Tensor]
"""What ``Student.forward`` takes."""


class Diverged(Exception):
    """The loss or a gradient is not a number any more.

    Attributes:
        step: Steps done before.
    """

    def __init__(self, step: int) -> None:
        """Say how far it came."""
        super().__init__(step)
        self.step = step


@dataclass(frozen=True, slots=True)
class Learned:
    """What a step gave.

    Attributes:
        loss: Mean over the whole batch.
        prior_loss: The class's part of it, before its weight, or None.
        rate: Learning rate.
    """

    loss: float
    prior_loss: float | None
    rate: float


def make_accelerator(device: torch.device, precision: Precision) -> Accelerator:
    """Make what spreads the work over processes and number formats.

    Args:
        device: Where to compute; under a launcher its local GPU is taken.
        precision: Resolved.

    Raises:
        Unsupported: If the device cannot learn in that number format.
    """
    if precision is Precision.FP16 and device.type != "cuda":
        raise Unsupported(
            f"Learning in fp16 needs a CUDA device, whose losses can be scaled; on {device.type} "
            "choose bf16 or fp32."
        )
    mixed_precision = {Precision.BF16: "bf16", Precision.FP16: "fp16"}.get(precision, "no")
    if AcceleratorState._shared_state and not AcceleratorState().use_distributed:
        # It is one for the whole process, and a training before this one may have had another.
        AcceleratorState._reset_state(reset_partial_state=True)
    patience = InitProcessGroupKwargs(timeout=PATIENCE)
    accelerator = Accelerator(
        mixed_precision=mixed_precision, cpu=device.type == "cpu", kwargs_handlers=[patience]
    )
    if accelerator.distributed_type not in _SHARED:
        raise Unsupported(
            f"Learning is not shared by {accelerator.distributed_type.value} here; choose "
            "multi-GPU (DDP), or FSDP, in accelerate's configuration."
        )
    if is_sharded(accelerator):
        # Number formats are autocast's matter, as without it; its own would be those of sizes too.
        accelerator.state.fsdp_plugin.mixed_precision_policy = None
    return accelerator


class Session:
    """A model that learns.

    All that is left to chance in a step is drawn from the seed, the step and the place in the whole
    batch, never from what was drawn before: a training that goes on from a checkpoint, or on more
    processes, draws the same.
    """

    def __init__(
        self,
        config: TrainConfig,
        components: Components,
        recipe: Recipe,
        dataset: Dataset,
        accelerator: Accelerator,
        state: State | None,
        rate_factor: float,
    ) -> None:
        """Make a model ready to learn.

        Args:
            config: What is trained.
            components: The model, with fp32 weights if the recipe teaches its own.
            recipe: The method.
            dataset: The pictures, prepared.
            accelerator: What spreads the work.
            state: Where to go on, or None.
            rate_factor: What learning rates are multiplied with.
        """
        self._config = config
        self._components = components
        self._recipe = recipe
        self._dataset = dataset
        self._accelerator = accelerator
        self.autocast = accelerator.autocast
        self._rate_factor = rate_factor
        identity = components.identity
        self._schedule = NoiseSchedule.of(components.scheduler_config, identity.prediction_type)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            taught = recipe.attach(components)
        self.student = taught.student
        self.initial = digests(self.student.learned())
        if config.gradient_checkpointing:
            keep_fewer_activations(self.student)
        self.student.train()
        optimiser = optimiser_of(config.optimiser, taught.groups)
        self._whole = WholeStudent(self.student) if is_sharded(accelerator) else None
        self._wrapped: Any
        self._wrapped, self._optimiser = accelerator.prepare(self.student, optimiser)
        # Once: to walk through a UNet's modules takes as long as a small one's optimiser.
        self._learning = self.student.learned()
        decay = config.ema if isinstance(config, Finetune) else 0.0
        self._decay = decay
        self._average = {name: w.data.clone() for name, w in self._learning.items() if decay}
        self.step = 0
        if state is not None:
            self._restore(state)

    def _restore(self, state: State) -> None:
        self.step = state.step
        learned, average, optimiser = state.learned, state.average or {}, state.optimiser
        if self._whole is not None:
            learned = shared_out(learned, self._learning)
            average = shared_out(average, self._learning)
            optimiser = shared_out_optimiser(optimiser, self._optimiser)
        put_in(self.student, learned)
        for name, values in average.items():
            self._average[name].copy_(values)
        rates = [group["initial_lr"] for group in self._optimiser.param_groups]
        self._optimiser.load_state_dict(dict(optimiser))
        # It may go on at other rates than it began with.
        for group, rate in zip(self._optimiser.param_groups, rates, strict=True):
            group["initial_lr"] = rate
        if state.scaler is not None and self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(dict(state.scaler))

    def state(self) -> State:
        """Give all that it takes to go on from here.

        Where the processes hold the weights in parts, all have to ask, and the main one is told.
        """
        scaler = self._accelerator.scaler
        learned: Mapping[str, Tensor] = {name: w.data for name, w in self._learning.items()}
        average: Mapping[str, Tensor] = self._average
        optimiser = self._optimiser.state_dict()
        if self._whole is not None:
            keep = self._accelerator.is_main_process
            learned, average = gathered(learned, keep=keep), gathered(average, keep=keep)
            optimiser = gathered_optimiser(optimiser, keep=keep)
        return State(
            step=self.step,
            learned=learned,
            average=average or None,
            optimiser=optimiser,
            scaler=None if scaler is None else scaler.state_dict(),
            rate_factor=self._rate_factor,
            processes=self._accelerator.num_processes,
        )

    @contextlib.contextmanager
    def with_result(self, device: torch.device) -> Iterator[Student]:
        """Have a student that is what would be saved, for as long as this is open.

        That is the average of its weights where one is kept. Where the processes hold the weights
        in parts, all have to ask, and the main one has a student.

        Args:
            device: Where the weights are put together, if they are.
        """
        now = {name: w.data for name, w in self._learning.items()}
        if self._whole is not None:
            result = gathered(self._average or now, keep=self._accelerator.is_main_process)
            with self._whole.filled(result, device) as student:
                yield student
            return
        # Exchanged, not copied: what was asked for as the weights before stays what it is.
        self._hold(self._average)
        try:
            yield self.student
        finally:
            self._hold(now)

    def _hold(self, values: Mapping[str, Tensor]) -> None:
        """Let weights that learn be other tensors of the same shapes."""
        for name, value in values.items():
            self._learning[name].data = value

    def learn(self, agree: Callable[[], None] = lambda: None) -> Learned:
        """Take one optimiser step.

        Args:
            agree: Called before anything is exchanged with other processes, when this one has all
                that it needs for the step.

        Raises:
            Diverged: Before the weights have changed, if a number is none any more.
            CoreError: If the data set cannot give its batch.
        """
        config, accelerator = self._config, self._accelerator
        first = self.step * config.accumulation
        shown = [self._shown(first + k) for k in range(config.accumulation)]
        agree()
        factor = rate_factor(config.optimiser, self.step, config.steps) * self._rate_factor
        rate = set_rates(self._optimiser, factor)
        losses, priors = [], []
        with torch.random.fork_rng():
            # For dropout, which has no generator of its own.
            torch.manual_seed(derived(config.seed, "step", self.step, accelerator.process_index))
            for k, (batch, noise, inputs) in enumerate(shown, 1):
                is_last = k == config.accumulation
                exchange = contextlib.nullcontext() if is_last else self._without_exchange()
                with exchange:
                    loss, prior = self._loss(batch, noise, inputs)
                    accelerator.backward(loss / config.accumulation)
                losses.append(loss.detach())
                priors.append(prior)
        loss_now, prior_now = self._shared(losses, priors)
        if not math.isfinite(loss_now) or not self._limit():
            self._optimiser.zero_grad()
            raise Diverged(self.step)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._recipe.after_step(self.student)
        self.step += 1
        self._follow()
        return Learned(loss_now, prior_now, rate)

    def _limit(self) -> bool:
        """Shorten all gradients together to the largest norm that they may have.

        Returns:
            Whether they are numbers, or will be passed over by half precision's scaler by itself.
        """
        self._accelerator.unscale_gradients()
        gradients = [w.grad for w in self._learning.values() if w.grad is not None]
        length = torch.nn.utils.get_total_norm(gradients)
        if self._whole is not None:
            length = whole(length)
        most = self._config.optimiser.clip
        if most and float(length) > most:
            torch.nn.utils.clip_grads_with_norm_(self._learning.values(), most, length)
        return self._accelerator.scaler is not None or math.isfinite(float(length))

    def _without_exchange(self) -> contextlib.AbstractContextManager[Any]:
        context: contextlib.AbstractContextManager[Any] = self._accelerator.no_sync(self._wrapped)
        return context

    def _loss(self, batch: Batch, learned: Noised, inputs: Inputs) -> tuple[Tensor, Tensor | None]:
        """Give the loss of one batch, and the part of it that is the class's."""
        accelerator, config = self._accelerator, self._config
        with accelerator.autocast():
            prediction = self._wrapped(*inputs)
        losses = losses_of(
            prediction, learned, config.loss, self._schedule.prediction_type, batch.masks
        )
        is_prior = batch.is_prior.to(losses.device)
        return _joined(losses, is_prior, getattr(config, "prior_weight", 0.0))

    def _shown(self, micro_step: int) -> tuple[Batch, Noised, Inputs]:
        """Give a batch, noised, and as the student is shown it."""
        batch = self._dataset.batch(
            micro_step,
            rank=self._accelerator.process_index,
            processes=self._accelerator.num_processes,
        )
        learned = noised(
            self._schedule,
            batch.latents,
            [derived(seed, "noise") for seed in batch.seeds],
            offset_noise=self._config.loss.offset_noise,
        )
        device, dtype = self._components.device, self._components.dtype
        inputs = (
            learned.latents.to(device, dtype),
            learned.timesteps.to(device),
            self._captions(batch),
            self._texts(batch),
            batch.sizes.to(device),
        )
        return batch, learned, inputs

    def example(self) -> tuple[Inputs, Tensor]:
        """Give what the student is shown first, and what it should say, for measurements."""
        _, learned, inputs = self._shown(0)
        return inputs, learned.target.to(self._components.device)

    def _captions(self, batch: Batch) -> Sequence[str]:
        rows = zip(batch.captions, batch.seeds, batch.is_prior.tolist(), strict=True)
        return [
            text if is_prior else self._recipe.caption(text, derived(seed, "caption"))
            for text, seed, is_prior in rows
        ]

    def _texts(self, batch: Batch) -> Conditioning | None:
        if self.student.learns_text:
            return None
        device = self._components.device
        return self._dataset.texts(batch.captions).map(lambda values: values.to(device))

    def _shared(
        self, losses: Sequence[Tensor], priors: Sequence[Tensor | None]
    ) -> tuple[float, float | None]:
        """Give the mean losses of all processes."""
        rows = [losses, [one for one in priors if one is not None]]
        means = [float(self._mean(torch.stack(list(row)).mean())) if row else None for row in rows]
        assert means[0] is not None
        return means[0], means[1]

    def _mean(self, value: Tensor) -> Tensor:
        mean: Tensor = self._accelerator.reduce(value, reduction="mean")
        return mean

    def _follow(self) -> None:
        """Let the average follow the weights, quickly in the beginning."""
        if not self._average:
            return
        decay = min(self._decay, (1 + self.step) / (_AVERAGE_WARM_UP + self.step))
        rows = list(self._average.values())
        now = [self._learning[name].data for name in self._average]
        torch._foreach_lerp_(rows, now, 1 - decay)


def _joined(losses: Tensor, is_prior: Tensor, prior_weight: float) -> tuple[Tensor, Tensor | None]:
    """Weigh the class's losses against the thing's (Ruiz et al. 2022, section 3.2)."""
    if not bool(is_prior.any()):
        return losses.mean(), None
    prior = losses[is_prior].mean()
    return losses[~is_prior].mean() + prior_weight * prior, prior.detach()
