"""Operations that move numbers and compute none: shapes, slices, gathers, joins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from coreml_export.interpreter.arguments import Arguments

Kernel = Callable[[Arguments], Tensor | Sequence[Tensor]]


def _reshape(given: Arguments) -> Tensor:
    """Reshape; a 0 stands for the side that ``x`` has there, -1 for what is left over."""
    x, shape = given.tensor("x"), given.wholes("shape")
    return x.reshape([side or x.shape[axis] for axis, side in enumerate(shape)])


def _transpose(given: Arguments) -> Tensor:
    return given.tensor("x").permute(given.wholes("perm"))


def _expand_dims(given: Arguments) -> Tensor:
    x, axes = given.tensor("x"), given.wholes("axes")
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _squeeze(given: Arguments) -> Tensor:
    x = given.tensor("x")
    return x.squeeze(tuple(given.wholes("axes"))) if given.has("axes") else x.squeeze()


def _shape(given: Arguments) -> Tensor:
    return torch.tensor(given.tensor("x").shape, dtype=torch.int32)


def _concat(given: Arguments) -> Tensor:
    # Numbers that are joined to a shape may come without a side of their own.
    values = [torch.atleast_1d(value) for value in given.tensors("values")]
    axis = given.whole("axis")
    if given.truth("interleave"):
        axis %= values[0].ndim
        return torch.stack(values, axis + 1).flatten(axis, axis + 1)
    return torch.cat(values, axis)


def _stack(given: Arguments) -> Tensor:
    return torch.stack(given.tensors("values"), given.whole("axis"))


def _split(given: Arguments) -> Sequence[Tensor]:
    x, axis = given.tensor("x"), given.whole("axis")
    if given.has("split_sizes"):
        return torch.split(x, given.wholes("split_sizes"), axis)
    return torch.chunk(x, given.whole("num_splits"), axis)


def _slice_by_index(given: Arguments) -> Tensor:
    """Slice as NumPy does, negative steps included.

    A side with ``begin_mask`` or ``end_mask`` is not cut there; one with ``squeeze_mask`` is taken
    at ``begin`` alone and falls away.
    """
    x = given.tensor("x")
    begin, end = given.wholes("begin"), given.wholes("end")
    stride = given.wholes("stride", [1] * x.ndim)
    begin_open = given.truths("begin_mask", x.ndim)
    end_open = given.truths("end_mask", x.ndim)
    single = given.truths("squeeze_mask", x.ndim)
    # From the last axis on, so that one that falls away leaves the places of those to come.
    for axis in reversed(range(x.ndim)):
        if single[axis]:
            x = x.select(axis, 0 if begin_open[axis] else begin[axis])
            continue
        wanted = slice(
            None if begin_open[axis] else begin[axis],
            None if end_open[axis] else end[axis],
            stride[axis],
        )
        x = _take(x, axis, range(*wanted.indices(x.shape[axis])))
    return x


def _take(x: Tensor, axis: int, places: range) -> Tensor:
    if places.step == 1:
        return x.narrow(axis, places.start if places else 0, len(places))
    return x.index_select(axis, torch.tensor(places, dtype=torch.int64))


def _slice_by_size(given: Arguments) -> Tensor:
    """Slice from ``begin``; a size of -1 takes all that follows."""
    x = given.tensor("x")
    for axis, (begin, size) in enumerate(
        zip(given.wholes("begin"), given.wholes("size"), strict=True)
    ):
        start = begin % x.shape[axis] if begin < 0 else begin
        x = x.narrow(axis, start, x.shape[axis] - start if size == -1 else size)
    return x


def _gather(given: Arguments) -> Tensor:
    return _gathered(
        given.tensor("x"),
        given.tensor("indices").long(),
        given.whole("axis", 0),
        given.whole("batch_dims", 0),
    )


def _gathered(x: Tensor, indices: Tensor, axis: int, batch_dims: int) -> Tensor:
    axis %= x.ndim
    if batch_dims:
        items = zip(x, indices, strict=True)
        return torch.stack([_gathered(*item, axis - 1, batch_dims - 1) for item in items])
    # Negative indices count from the end, up to iOS 16.
    places = torch.where(indices < 0, indices + x.shape[axis], indices)
    taken = x.index_select(axis, places.flatten())
    return taken.reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


def _gather_along_axis(given: Arguments) -> Tensor:
    x, indices, axis = given.tensor("x"), given.tensor("indices").long(), given.whole("axis", 0)
    return x.take_along_dim(torch.where(indices < 0, indices + x.shape[axis], indices), axis)


def _gather_nd(given: Arguments) -> Tensor:
    return _gathered_nd(
        given.tensor("x"), given.tensor("indices").long(), given.whole("batch_dims", 0)
    )


def _gathered_nd(x: Tensor, indices: Tensor, batch_dims: int) -> Tensor:
    if batch_dims:
        items = zip(x, indices, strict=True)
        return torch.stack([_gathered_nd(*item, batch_dims - 1) for item in items])
    return x[indices.unbind(-1)]


def _tile(given: Arguments) -> Tensor:
    return given.tensor("x").repeat(given.wholes("reps"))


def _pad(given: Arguments) -> Tensor:
    x, amounts = given.tensor("x"), last_axis_first(given.wholes("pad"))
    mode = given.text("mode", "constant")
    if mode == "constant":
        return F.pad(x, amounts, value=given.number("constant_val", 0.0))
    # torch wants to be told of each axis behind the second.
    return F.pad(x, amounts + [0] * (2 * (x.ndim - 2) - len(amounts)), mode=mode)


def last_axis_first(pad: Sequence[int]) -> list[int]:
    """Turn MIL's amounts of padding round, which tell of the first axis first, as torch wants them.

    Args:
        pad: What goes before and after each of the last axes.

    Returns:
        The same pairs from the last axis on, without axes at the front that get nothing: except
        for constants, torch pads a few axes only.
    """
    pairs = [list(pad[index : index + 2]) for index in range(0, len(pad), 2)]
    while pairs and not any(pairs[0]):
        del pairs[0]
    return [amount for pair in reversed(pairs) for amount in pair]


def _fill(given: Arguments) -> Tensor:
    value = given.optional("value")
    return _filled(given.wholes("shape"), value)


def _fill_like(given: Arguments) -> Tensor:
    return _filled(given.tensor("ref_tensor").shape, given.optional("value"))


def _filled(shape: Sequence[int], value: Tensor | None) -> Tensor:
    return torch.zeros(*shape) if value is None else value.expand(*shape).clone()


def _one_hot(given: Arguments) -> Tensor:
    indices, size = given.tensor("indices").long(), given.whole("one_hot_vector_size")
    on, off = given.optional("on_value"), given.optional("off_value")
    hits = (indices.unsqueeze(-1) == torch.arange(size)).movedim(-1, given.whole("axis", -1))
    return torch.where(
        hits,
        torch.tensor(1, dtype=torch.int32) if on is None else on,
        torch.tensor(0, dtype=torch.int32) if off is None else off,
    )


def _range_1d(given: Arguments) -> Tensor:
    start, end, step = (given.tensor(name) for name in ("start", "end", "step"))
    return torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


def _band_part(given: Arguments) -> Tensor:
    """Keep the diagonals from ``lower`` below to ``upper`` above; a negative number keeps all."""
    x, lower, upper = given.tensor("x"), given.whole("lower", -1), given.whole("upper", -1)
    if lower >= 0:
        x = x.triu(-lower)
    return x.tril(upper) if upper >= 0 else x


def _reverse(given: Arguments) -> Tensor:
    x = given.tensor("x")
    return x.flip(given.wholes("axes", range(x.ndim)))


KERNELS: Mapping[str, Kernel] = {
    "band_part": _band_part,
    "concat": _concat,
    "expand_dims": _expand_dims,
    "fill": _fill,
    "fill_like": _fill_like,
    "gather": _gather,
    "gather_along_axis": _gather_along_axis,
    "gather_nd": _gather_nd,
    "one_hot": _one_hot,
    "pad": _pad,
    "range_1d": _range_1d,
    "reshape": _reshape,
    "reverse": _reverse,
    "shape": _shape,
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": _transpose,
}
"""What computes each operation, by MIL's name
(https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html)."""
