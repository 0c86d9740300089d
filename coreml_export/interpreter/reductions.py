"""Operations that take an axis together: sums, extremes and their places, orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from coreml_export.interpreter.arguments import Arguments

Kernel = Callable[[Arguments], Tensor | Sequence[Tensor]]


def _over_axes(function: Callable[[Tensor, list[int], bool], Tensor]) -> Kernel:
    """Make a kernel that reduces the axes it is told, or all if it is told none."""

    def kernel(given: Arguments) -> Tensor:
        x = given.tensor("x")
        return function(x, given.wholes("axes", range(x.ndim)), given.truth("keep_dims"))

    return kernel


def _place(function: Callable[[Tensor, int, bool], Tensor]) -> Kernel:
    return lambda given: function(
        given.tensor("x"), given.whole("axis", -1), given.truth("keep_dims")
    )


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:  # noqa: FBT001
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _cumsum(given: Arguments) -> Tensor:
    x, axis = given.tensor("x"), given.whole("axis", 0)
    if given.truth("reverse"):
        x = x.flip(axis)
    total = x.cumsum(axis)
    if given.truth("exclusive"):
        total = total - x
    return total.flip(axis) if given.truth("reverse") else total


def _argsort(given: Arguments) -> Tensor:
    return given.tensor("x").argsort(
        dim=given.whole("axis", -1), descending=not given.truth("ascending"), stable=True
    )


def _topk(given: Arguments) -> Sequence[Tensor]:
    """Give the largest or, if ascending, the smallest numbers, and their places unless told not."""
    values, places = given.tensor("x").topk(
        given.whole("k", 1), dim=given.whole("axis", -1), largest=not given.truth("ascending")
    )
    wants_places = not given.has("return_indices") or given.truth("return_indices")
    return (values, places) if wants_places else (values,)


KERNELS: Mapping[str, Kernel] = {
    "argsort": _argsort,
    "cumsum": _cumsum,
    "reduce_argmax": _place(lambda x, axis, keep: x.argmax(axis, keepdim=keep)),
    "reduce_argmin": _place(lambda x, axis, keep: x.argmin(axis, keepdim=keep)),
    "reduce_l1_norm": _over_axes(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "reduce_l2_norm": _over_axes(lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt()),
    "reduce_log_sum": _over_axes(lambda x, axes, keep: x.sum(axes, keepdim=keep).log()),
    "reduce_log_sum_exp": _over_axes(lambda x, axes, keep: x.logsumexp(axes, keepdim=keep)),
    "reduce_max": _over_axes(lambda x, axes, keep: torch.amax(x, axes, keepdim=keep)),
    "reduce_mean": _over_axes(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "reduce_min": _over_axes(lambda x, axes, keep: torch.amin(x, axes, keepdim=keep)),
    "reduce_prod": _over_axes(_product),
    "reduce_sum": _over_axes(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "reduce_sum_square": _over_axes(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
    "topk": _topk,
}
"""What computes each operation, by MIL's name
(https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html)."""
