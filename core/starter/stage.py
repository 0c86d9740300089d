"""The loop that all parts of the starter model share: warm-up, hold, cool-down, checkpoints.

The learning rate is held until the last fifth and then falls in a straight line to zero (Hu et al.
2024, arXiv:2404.06395), so a run can be ended well from any checkpoint by giving fewer steps.
A step's batch depends on its number alone: a resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from core.errors import TrainingDiverged
from core.starter.muon import Muon
from core.starter.together import average_gradients, is_first

WARM_UP = 100
ENDS = ("conv_in", "conv_out")
"""The UNet's first and last layer. They have few channels on one side, which Muon is not for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """How long and how fast one part learns.

    Attributes:
        name: Of its checkpoint file.
        steps: In all.
        learning_rate: While it is held.
        cool_down: Share of the steps at the end over which it falls to zero.
        average: Decay per step of the running mean of the weights, or 0 for none.
        muon: Whether matrices and kernels learn with Muon instead of AdamW.
        ends: How the names of those begin that learn with AdamW all the same.
        together: Whether all processes of the run learn it, each on its share of a batch.
        save_every: Steps between checkpoints.
        log_every: Steps between lines.
    """

    name: str
    steps: int
    learning_rate: float
    cool_down: float = 0.2
    average: float = 0.0
    muon: bool = False
    ends: tuple[str, ...] = ENDS
    together: bool = False
    save_every: int = 250
    log_every: int = 50

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        left = (self.steps - step) / max(self.steps * self.cool_down, 1)
        return self.learning_rate * min(1.0, (step + 1) / WARM_UP, left)


Losses = dict[str, Tensor]
"""Named parts of a loss; ``loss`` is what is minimised."""


def train_stage(
    settings: StageSettings,
    model: nn.Module,
    losses_of: Callable[[int], Losses],
    folder: Path,
) -> nn.Module:
    """Train a part, from its checkpoint if there is one.

    Args:
        settings: How.
        model: What learns: all of its parameters that require a gradient.
        losses_of: The losses of the step of this number.
        folder: Where the checkpoint ``NAME.pt`` lies.

    Returns:
        The running mean of the model if one is kept, else the model itself.

    Raises:
        TrainingDiverged: If the loss is not a number; the last checkpoint stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / f"{settings.name}.pt"
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizers = _optimizers(model, muon=settings.muon, ends=settings.ends)
    mean = deepcopy(model).requires_grad_(requires_grad=False) if settings.average else model
    first = 0
    if checkpoint.exists():
        first = _restore(checkpoint, model, mean, optimizers)
        print(f"{settings.name}: goes on from step {first}", flush=True)
    sums: dict[str, float] = {}
    began = time.monotonic()
    for step in range(first, settings.steps):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = settings.rate_at(step)
        losses = losses_of(step)
        loss = losses["loss"]
        model.zero_grad()
        loss.backward()
        if settings.together:
            average_gradients(learning)
        norm = nn.utils.clip_grad_norm_(learning, 1.0)
        if not torch.isfinite(norm):
            raise TrainingDiverged(
                f"{settings.name}: the gradient of step {step} is not finite; "
                f"{checkpoint} holds the last good weights. Lower the learning rate."
            )
        for optimizer in optimizers:
            optimizer.step()
        if settings.average:
            _update_mean(mean, model, min(settings.average, (step + 1) / (step + 10)))
        for key, value in losses.items():
            sums[key] = sums.get(key, 0.0) + value.item()
        done = step + 1
        if done % settings.log_every == 0 and is_first():
            pace = (done - first) / (time.monotonic() - began)
            means = "  ".join(
                f"{key} {value / settings.log_every:.4f}" for key, value in sums.items()
            )
            left = (settings.steps - done) / pace / 60
            where = f"{settings.name} {done}/{settings.steps}"
            print(f"{where}  {means}  {pace:.2f} step/s  {left:.0f} min", flush=True)
            sums = {}
        if (done % settings.save_every == 0 or done == settings.steps) and is_first():
            _keep(checkpoint, done, model, mean, optimizers)
    return mean


def begin_with(name: str, model: nn.Module, folder: Path, *, muon: bool = False) -> None:
    """Write the checkpoint of a part whose first step starts from ``model``'s weights."""
    folder.mkdir(parents=True, exist_ok=True)
    _keep(folder / f"{name}.pt", 0, model, deepcopy(model), _optimizers(model, muon=muon))


def _optimizers(
    model: nn.Module, *, muon: bool, ends: tuple[str, ...] = ENDS
) -> list[torch.optim.Optimizer]:
    """Make the optimizers; their learning rate is set at every step."""
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    matrices = [
        p for name, p in learning.items() if muon and p.ndim > 1 and not name.startswith(ends)
    ]
    kept = {id(p) for p in matrices}
    rest = [p for p in learning.values() if id(p) not in kept]
    adamw = torch.optim.AdamW(rest, betas=(0.9, 0.99), weight_decay=1e-3)
    return [Muon(matrices, weight_decay=1e-3), adamw] if matrices else [adamw]


@torch.no_grad()
def _update_mean(mean: nn.Module, model: nn.Module, decay: float) -> None:
    old: list[Tensor] = list(mean.parameters())
    new: list[Tensor] = list(model.parameters())
    torch._foreach_lerp_(old, new, 1 - decay)


def _keep(
    path: Path,
    step: int,
    model: nn.Module,
    mean: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
) -> None:
    unfinished = path.with_suffix(".part")
    state = {
        "step": step,
        "model": model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }
    if mean is not model:
        state["mean"] = mean.state_dict()
    torch.save(state, unfinished)
    unfinished.replace(path)


def _restore(
    path: Path, model: nn.Module, mean: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> int:
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(kept)
    if mean is not model:
        mean.load_state_dict(state["mean"])
    return int(state["step"])
