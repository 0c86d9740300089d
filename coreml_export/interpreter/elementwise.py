"""Operations on each number by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import Unsupported
from coreml_export.interpreter.arguments import Arguments
from coreml_export.interpreter.element_types import ElementType

Kernel = Callable[[Arguments], Tensor]


def _unary(function: Callable[[Tensor], Tensor]) -> Kernel:
    return lambda given: function(given.tensor("x"))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Kernel:
    return lambda given: function(given.tensor("x"), given.tensor("y"))


def _shifted(function: Callable[[Tensor], Tensor], epsilon: float) -> Kernel:
    """Make a kernel that adds ``epsilon`` before it computes, as MIL's ``rsqrt`` and ``log`` do."""
    return lambda given: function(given.tensor("x") + given.number("epsilon", epsilon))


def _scaled(function: Callable[[Tensor, float], Tensor]) -> Kernel:
    return lambda given: function(given.tensor("x"), given.number("alpha", 1.0))


def _cast(given: Arguments) -> Tensor:
    """Change the type; to whole numbers it cuts off towards zero, and all but zero is true."""
    return given.tensor("x").to(ElementType(given.text("dtype")).computed_as)


def _clip(given: Arguments) -> Tensor:
    return given.tensor("x").clamp(given.number("alpha"), given.number("beta"))


def _select(given: Arguments) -> Tensor:
    return torch.where(given.tensor("cond"), given.tensor("a"), given.tensor("b"))


def _gelu(given: Arguments) -> Tensor:
    x = given.tensor("x")
    match given.text("mode", "EXACT"):
        case "EXACT":
            return F.gelu(x)
        case "TANH_APPROXIMATION":
            return F.gelu(x, approximate="tanh")
        case "SIGMOID_APPROXIMATION":
            return x * torch.sigmoid(1.702 * x)
        case mode:
            raise Unsupported(f"A Core ML program asks for gelu in a mode not known: {mode}.")


def _softplus(x: Tensor) -> Tensor:
    """``log(1 + exp(x))`` in full; torch's own turns into ``x`` above a threshold."""
    return torch.logaddexp(x, torch.zeros_like(x))


KERNELS: Mapping[str, Kernel] = {
    "abs": _unary(torch.abs),
    "acos": _unary(torch.acos),
    "add": _binary(torch.add),
    "asin": _unary(torch.asin),
    "atan": _unary(torch.atan),
    "atanh": _unary(torch.atanh),
    "cast": _cast,
    "ceil": _unary(torch.ceil),
    "clip": _clip,
    "cos": _unary(torch.cos),
    "cosh": _unary(torch.cosh),
    "elu": _scaled(lambda x, alpha: torch.where(x > 0, x, alpha * torch.expm1(x))),
    "equal": _binary(torch.eq),
    "erf": _unary(torch.erf),
    "exp": _unary(torch.exp),
    "exp2": _unary(torch.exp2),
    "floor": _unary(torch.floor),
    "floor_div": _binary(torch.floor_divide),
    "gelu": _gelu,
    "greater": _binary(torch.gt),
    "greater_equal": _binary(torch.ge),
    "identity": _unary(lambda x: x),
    "inverse": _shifted(torch.reciprocal, 1e-4),
    "leaky_relu": _scaled(lambda x, alpha: torch.where(x > 0, x, alpha * x)),
    "less": _binary(torch.lt),
    "less_equal": _binary(torch.le),
    # MIL's default is the smallest number there is, which torch would flush to zero.
    "log": _shifted(torch.log, math.ulp(0.0)),
    "logical_and": _binary(torch.logical_and),
    "logical_not": _unary(torch.logical_not),
    "logical_or": _binary(torch.logical_or),
    "logical_xor": _binary(torch.logical_xor),
    "maximum": _binary(torch.maximum),
    "minimum": _binary(torch.minimum),
    # Of the divisor's sign, as NumPy's.
    "mod": _binary(torch.remainder),
    "mul": _binary(torch.mul),
    "not_equal": _binary(torch.ne),
    "pow": _binary(torch.pow),
    "real_div": _binary(torch.true_divide),
    "relu": _unary(torch.relu),
    "relu6": _unary(F.relu6),
    # Halves go to the even neighbour, as NumPy's.
    "round": _unary(torch.round),
    "rsqrt": _shifted(torch.rsqrt, 1e-12),
    "select": _select,
    "sigmoid": _unary(torch.sigmoid),
    "sign": _unary(torch.sign),
    "silu": _unary(F.silu),
    "sin": _unary(torch.sin),
    "sinh": _unary(torch.sinh),
    "softplus": _unary(_softplus),
    "softsign": _unary(F.softsign),
    "sqrt": _unary(torch.sqrt),
    "square": _unary(torch.square),
    "sub": _binary(torch.sub),
    "tan": _unary(torch.tan),
    "tanh": _unary(torch.tanh),
    "threshold": _scaled(lambda x, alpha: x.clamp(min=alpha)),
}
"""What computes each operation, by MIL's name
(https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html)."""
