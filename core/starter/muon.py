"""The optimiser of the starter model's UNet: Muon for matrices, AdamW for the rest.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) takes the momentum of a
matrix's gradient and moves along the nearest matrix with equal singular values, so that rare
directions learn as fast as common ones. Its steps are scaled to the size of AdamW's (Liu et al.
2025, arXiv:2502.16982, equation 4), so both share one learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import overload

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration, as published with Muon."""


class Muon(torch.optim.Optimizer):
    """Muon over matrices and convolution kernels.

    A kernel is seen as a matrix of ``(out, in * height * width)``.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float = 1e-3, weight_decay: float = 0.0
    ) -> None:
        """Optimise ``params``, each of two or more dimensions."""
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take a step; matrices of one shape are made orthogonal together.

        Args:
            closure: Computes the gradients anew and gives the loss.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = {}
            for param in group["params"]:
                if param.grad is not None:
                    alike.setdefault(param.flatten(1).shape, []).append(param)
            for shape, params in alike.items():
                directions = orthogonal(torch.stack([self._momentum(p) for p in params]))
                size = group["lr"] * 0.2 * max(shape) ** 0.5
                for param, direction in zip(params, directions, strict=True):
                    param.mul_(1 - group["lr"] * group["weight_decay"])
                    param.add_(direction.view(param.shape), alpha=-size)
        return loss

    def _momentum(self, param: nn.Parameter) -> Tensor:
        """Nesterov's momentum of a gradient as a matrix."""
        assert param.grad is not None
        state = self.state[param]
        if not state:
            state["momentum"] = torch.zeros_like(param.grad)
        state["momentum"].lerp_(param.grad, 1 - MOMENTUM)
        looking_ahead: Tensor = param.grad.lerp(state["momentum"], MOMENTUM)
        return looking_ahead.flatten(1)


def orthogonal(matrices: Tensor) -> Tensor:
    """Move singular values to about one, between 0.7 and 1.2, by five Newton-Schulz iterations.

    Args:
        matrices: ``(N, rows, columns)``, each of full rank.

    Returns:
        The same shape.
    """
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    made: Tensor = (x.mT if tall else x).to(matrices.dtype)
    return made
