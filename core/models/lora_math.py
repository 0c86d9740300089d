r"""What an adapter adds to a module: low-rank factors and their relatives, as arithmetic.

W is the module's weight, ``(out, in)`` or ``(out, in, k, k)``. A change at strength s turns it into
W + s (delta(W)), where delta is made of the file's tensors:

- LoRA (Hu et al. 2021, arXiv:2106.09685): (alpha / r) B A; for convolutions B is 1x1, and with a
  middle factor A is too (LyCORIS, Yeh et al. 2023, arXiv:2309.14859, section 3.3);
- LoHa: (alpha / r) (B1 A1) * (B2 A2), elementwise (arXiv:2309.14859, section 3.2);
- LoKr: (alpha / r) C kron D, where each may be a product itself (the same, appendix B);
- a plain difference.

DoRA (Liu et al. 2024, arXiv:2402.09353, equation 5) rescales W + delta so that its columns, or
rows, have the lengths that the file gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Update(Protocol):
    """A way to make a delta."""

    def sides(self) -> tuple[int, int]:
        """Give the delta's outputs, and how many numbers it has for each."""

    def delta(self) -> Tensor:
        """Give it in fp32, ``(out, ...)``, to be reshaped like the weight."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Update:
        """Move its tensors."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """LoRA: ``up (out, r[, 1, 1])``, ``down (r, in[, k, k])``, ``mid (r, r, k, k)`` or None."""

    down: Tensor
    up: Tensor
    mid: Tensor | None
    scale: float

    def sides(self) -> tuple[int, int]:
        """See ``Update``."""
        middle = 1 if self.mid is None else math.prod(self.mid.shape[2:])
        return self.up.shape[0], self.down[0].numel() * middle

    def delta(self) -> Tensor:
        """See ``Update``."""
        up, down = self.up.flatten(1).float(), self.down.flatten(1).float()
        if self.mid is None:
            return self.scale * (up @ down)
        return self.scale * _rebuilt(self.mid.float(), up, down)

    def to(self, device: torch.device, dtype: torch.dtype) -> LowRank:
        """See ``Update``."""
        mid = None if self.mid is None else self.mid.to(device, dtype)
        return LowRank(self.down.to(device, dtype), self.up.to(device, dtype), mid, self.scale)

    def output(self, module: nn.Module, values: Tensor) -> Tensor:
        """Give what delta adds to the output, without making it: B (A x).

        Args:
            module: A linear layer or a convolution without groups.
            values: ``(..., in)`` or ``(B, in, h, w)``, what the module is given.
        """
        factors = (self.down, self.up) if self.mid is None else (self.down, self.mid, self.up)
        down, *rest = (factor.to(values.dtype) for factor in factors)
        if isinstance(module, nn.Linear):
            return F.linear(F.linear(values, down.flatten(1)), rest[-1].flatten(1)) * self.scale
        assert isinstance(module, nn.Conv2d)
        # The factor that has the module's kernel also takes its stride and padding.
        wide = rest[0] if self.mid is not None else _as_kernel(down)
        if self.mid is not None:
            values = F.conv2d(values, _as_kernel(down))
        values = F.conv2d(values, wide, None, module.stride, module.padding, module.dilation)
        return F.conv2d(values, _as_kernel(rest[-1])) * self.scale


@dataclass(frozen=True, slots=True)
class Product:
    """A matrix, or one made of factors: ``a (out, r)`` and ``b (r, in)``.

    With a core ``t (r, r, k, k)`` the two are ``(r, out)`` and ``(r, in)``.
    """

    a: Tensor
    b: Tensor | None = None
    t: Tensor | None = None

    def sides(self) -> tuple[int, int]:
        """Give the rows, and how many numbers each has."""
        if self.b is None:
            return self.a.shape[0], self.a[0].numel()
        if self.t is None:
            return self.a.shape[0], self.b.shape[1]
        return self.a.shape[1], self.b.shape[1] * math.prod(self.t.shape[2:])

    def value(self) -> Tensor:
        """Give it in fp32, ``(out, in)`` or ``(out, in, k, k)``."""
        if self.b is None:
            return self.a.float()
        if self.t is None:
            return self.a.float() @ self.b.float()
        return _rebuilt(self.t.float(), self.a.float().T, self.b.float())

    def to(self, device: torch.device, dtype: torch.dtype) -> Product:
        """Move the tensors."""
        return Product(
            *(None if v is None else v.to(device, dtype) for v in (self.a, self.b, self.t))  # type: ignore[arg-type]
        )


@dataclass(frozen=True, slots=True)
class Hadamard:
    """LoHa: two products, multiplied number by number."""

    first: Product
    second: Product
    scale: float

    def sides(self) -> tuple[int, int]:
        """See ``Update``."""
        return self.first.sides()

    def delta(self) -> Tensor:
        """See ``Update``."""
        return self.scale * self.first.value() * self.second.value()

    def to(self, device: torch.device, dtype: torch.dtype) -> Hadamard:
        """See ``Update``."""
        return Hadamard(self.first.to(device, dtype), self.second.to(device, dtype), self.scale)


@dataclass(frozen=True, slots=True)
class Kronecker:
    """LoKr: the Kronecker product of two matrices, the second of which may be a convolution's."""

    first: Product
    second: Product
    scale: float

    def sides(self) -> tuple[int, int]:
        """See ``Update``."""
        (rows, width), (more_rows, more_width) = self.first.sides(), self.second.sides()
        return rows * more_rows, width * more_width

    def delta(self) -> Tensor:
        """See ``Update``."""
        first, second = self.first.value(), self.second.value()
        first = first.reshape(first.shape[:2] + (1,) * (second.ndim - 2))
        return self.scale * torch.kron(first, second.contiguous())

    def to(self, device: torch.device, dtype: torch.dtype) -> Kronecker:
        """See ``Update``."""
        return Kronecker(self.first.to(device, dtype), self.second.to(device, dtype), self.scale)


@dataclass(frozen=True, slots=True)
class Difference:
    """The delta itself."""

    values: Tensor

    def sides(self) -> tuple[int, int]:
        """See ``Update``."""
        return self.values.shape[0], self.values[0].numel()

    def delta(self) -> Tensor:
        """See ``Update``."""
        return self.values.float()

    def to(self, device: torch.device, dtype: torch.dtype) -> Difference:
        """See ``Update``."""
        return Difference(self.values.to(device, dtype))


@dataclass(frozen=True, slots=True)
class Change:
    """What one file does to one module, at strength 1.

    Attributes:
        update: Of its weight, or None.
        gain: DoRA's factor for W + delta, fp32, of a shape that spreads over the weight; or None.
        bias: Added to its bias, ``(out,)``, or None.
    """

    update: Update | None
    gain: Tensor | None = None
    bias: Tensor | None = None

    @property
    def low_rank(self) -> LowRank | None:
        """The factors, if they are all there is to the change."""
        alone = isinstance(self.update, LowRank) and self.gain is None and self.bias is None
        return self.update if alone and isinstance(self.update, LowRank) else None

    def added_weight(self, weight: Tensor) -> Tensor | None:
        """Give what is added to a base weight, fp32, in its shape."""
        if self.update is None:
            return None
        delta = self.update.delta().reshape(weight.shape)
        if self.gain is None:
            return delta
        base = weight.float()
        return (base + delta) * self.gain - base


def gain_of(weight: Tensor, update: Update, lengths: Tensor, *, by_output: bool) -> Tensor:
    """Give DoRA's factor: the lengths wanted by the lengths that W + delta has.

    Args:
        weight: ``(out, in)`` or ``(out, in, k, k)``.
        update: What is added to it.
        lengths: One for each output or input, in any shape.
        by_output: Which of the two.

    Returns:
        ``(out, 1, ...)`` or ``(1, in, 1, ...)``, fp32.
    """
    changed = weight.float() + update.delta().reshape(weight.shape)
    axis = 0 if by_output else 1
    others = tuple(i for i in range(weight.ndim) if i != axis)
    norm = changed.square().sum(dim=others, keepdim=True).sqrt()
    return lengths.float().to(weight.device).reshape(norm.shape) / norm


def _rebuilt(core: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """Multiply a core ``(r, r, k, k)`` by ``up (out, r)`` and ``down (r, in)``."""
    return torch.einsum("ijkl,oi,jn->onkl", core, up, down)


def _as_kernel(factor: Tensor) -> Tensor:
    return factor if factor.ndim == 4 else factor[..., None, None]
