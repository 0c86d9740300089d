"""Operations that unpack compressed weights, and those that quantise while a program runs.

The older forms, up to iOS 17, tell the shape as a parameter and hold packed bytes; the newer have
number types of less than a byte, and a scale or a table for each block of the weight. Both have
the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from coreml_export.interpreter.arguments import Arguments
from coreml_export.interpreter.element_types import ElementType
from coreml_export.interpreter.weight_file import unpack

Kernel = Callable[[Arguments], Tensor]


def _affine_dequantize(given: Arguments) -> Tensor:
    """``scale * (quantized_data - zero_point)``, each one number or one for each place of an axis.

    https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#coremltools.converters.mil.mil.ops.defs.iOS16.constexpr_ops.constexpr_affine_dequantize
    """
    return _dequantized(given, "quantized_data")


def _dequantize(given: Arguments) -> Tensor:
    return _dequantized(given, "input")


def _dequantized(given: Arguments, data: str) -> Tensor:
    numbers = given.tensor(data).float()
    scale, zero_point = _along_axis(given, "scale", numbers), given.optional("zero_point")
    if zero_point is not None:
        numbers = numbers - _along_axis(given, "zero_point", numbers)
    return numbers * scale


def _quantize(given: Arguments) -> Tensor:
    """``clip(round(input / scale) + zero_point)`` to whole numbers of one byte."""
    x = given.tensor("input")
    whole = torch.round(x / _along_axis(given, "scale", x))
    if given.has("zero_point"):
        whole = whole + _along_axis(given, "zero_point", x)
    dtype = ElementType(given.text("output_dtype")).computed_as
    limits = torch.iinfo(dtype)
    return whole.clamp(limits.min, limits.max).to(dtype)


def _along_axis(given: Arguments, name: str, data: Tensor) -> Tensor:
    """Give a parameter that has one number, or one for each place of ``axis``, to broadcast."""
    parameter = given.tensor(name).float()
    if parameter.ndim == 0:
        return parameter
    sides = [1] * data.ndim
    sides[given.whole("axis")] = -1
    return parameter.reshape(sides)


def _blockwise_shift_scale(given: Arguments) -> Tensor:
    """``scale * (data - offset)`` with a scale, and maybe an offset, for each block of ``data``.

    https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#coremltools.converters.mil.mil.ops.defs.iOS18.compression.constexpr_blockwise_shift_scale
    """
    data, scale, offset = given.tensor("data"), given.tensor("scale"), given.optional("offset")
    # Each axis as (blocks, places in a block), so that what a block has broadcasts over it.
    blocks = [
        side for sides in zip(scale.shape, _block_sizes(data, scale), strict=True) for side in sides
    ]
    spread = [side for count in scale.shape for side in (count, 1)]
    numbers = data.float().reshape(blocks)
    if offset is not None:
        numbers = numbers - offset.float().reshape(spread)
    return (numbers * scale.reshape(spread)).reshape(data.shape)


def _lut_to_dense(given: Arguments) -> Tensor:
    """Look weights up in a table (a palette).

    https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html#coremltools.converters.mil.mil.ops.defs.iOS18.compression.constexpr_lut_to_dense
    """
    lut = given.tensor("lut")
    if not given.has("shape"):
        return _looked_up(given.tensor("indices"), lut, given.whole("vector_axis", -1))
    shape = given.wholes("shape")
    bits = lut.numel().bit_length() - 1
    indices = _unpacked(given.tensor("indices"), bits, shape)
    return lut[indices.int()]


def _looked_up(indices: Tensor, lut: Tensor, vector_axis: int) -> Tensor:
    """Look up in the newer form of table.

    Args:
        indices: A number of a palette for each weight, or for each vector of weights.
        lut: ``(groups of each axis of indices..., palette, vector)``: a palette for each block.
        vector_axis: The axis along which the numbers of a vector follow each other.
    """
    palette, vector = lut.shape[-2:]
    groups = lut.shape[:-2]
    # The place of each weight's palette among all of them, wide only along axes with several.
    row = torch.zeros((), dtype=torch.int32)
    for axis, (count, size) in enumerate(zip(groups, _block_sizes(indices, lut), strict=True)):
        places = indices.shape[axis] if count > 1 else 1
        group = torch.arange(places, dtype=torch.int32) // size
        row = (row * count).unsqueeze(-1) + group
    vectors = lut.reshape(-1, vector)[row * palette + indices]  # (*indices, vector)
    axis = vector_axis % indices.ndim
    return vectors.movedim(-1, axis + 1).flatten(axis, axis + 1)


def _block_sizes(data: Tensor, parameter: Tensor) -> list[int]:
    return [
        side // count for side, count in zip(data.shape, parameter.shape[: data.ndim], strict=True)
    ]


def _sparse_to_dense(given: Arguments) -> Tensor:
    """Put numbers where a mask has ones, and zeros elsewhere."""
    numbers, mask = given.tensor("nonzero_data"), given.tensor("mask")
    if given.has("shape"):
        mask = _unpacked(mask, 1, given.wholes("shape"))
    dense = torch.zeros(mask.shape, dtype=numbers.dtype)
    dense[mask.bool()] = numbers
    return dense


def _unpacked(packed: Tensor, bits: int, shape: Sequence[int]) -> Tensor:
    count = torch.Size(shape).numel()
    return torch.from_numpy(unpack(packed.numpy(), bits, count)).reshape(*shape)


def _constexpr_cast(given: Arguments) -> Tensor:
    return given.tensor("source_val").to(ElementType(given.text("output_dtype")).computed_as)


KERNELS: Mapping[str, Kernel] = {
    "constexpr_affine_dequantize": _affine_dequantize,
    "constexpr_blockwise_shift_scale": _blockwise_shift_scale,
    "constexpr_cast": _constexpr_cast,
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_sparse_to_dense": _sparse_to_dense,
    "dequantize": _dequantize,
    "quantize": _quantize,
}
"""What computes each operation, by MIL's name
(https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html)."""
