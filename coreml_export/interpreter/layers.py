"""Operations of neural networks: convolutions, products, normalisations, attention, resizing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import Unsupported
from coreml_export.interpreter.arguments import Arguments
from coreml_export.interpreter.shapes import last_axis_first

Kernel = Callable[[Arguments], Tensor]

_CONVOLUTIONS: Mapping[int, Callable[..., Tensor]] = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}


def _conv(given: Arguments) -> Tensor:
    """Convolve; MIL tells what to pad before and after each axis, torch one number for both."""
    x = given.tensor("x")
    axes = x.ndim - 2
    pad = _padding(given, axes)
    before = pad[::2]
    if before != pad[1::2]:
        x = F.pad(x, last_axis_first(pad))
        before = [0] * axes
    return _CONVOLUTIONS[x.ndim](
        x,
        given.tensor("weight"),
        given.optional("bias"),
        stride=given.wholes("strides", [1] * axes),
        padding=before,
        dilation=given.wholes("dilations", [1] * axes),
        groups=given.whole("groups", 1),
    )


def _padding(given: Arguments, axes: int) -> list[int]:
    match given.text("pad_type", "valid"):
        case "valid":
            return [0] * 2 * axes
        case "custom":
            return given.wholes("pad", [0] * 2 * axes)
        case pad_type:
            raise Unsupported(
                f"A Core ML program pads a convolution as {pad_type!r}, which no export of ours "
                "does; only 'valid' and 'custom' are known."
            )


def _linear(given: Arguments) -> Tensor:
    return F.linear(given.tensor("x"), given.tensor("weight"), given.optional("bias"))


def _matmul(given: Arguments) -> Tensor:
    x, y = given.tensor("x"), given.tensor("y")
    return torch.matmul(
        x.mT if given.truth("transpose_x") else x, y.mT if given.truth("transpose_y") else y
    )


def _einsum(given: Arguments) -> Tensor:
    return torch.einsum(given.text("equation"), given.tensors("values"))


def _softmax(given: Arguments) -> Tensor:
    return given.tensor("x").softmax(given.whole("axis", -1))


def _layer_norm(given: Arguments) -> Tensor:
    """Normalise over any axes; ``gamma`` and ``beta`` have the sides of ``x`` there."""
    x = given.tensor("x")
    axes = [axis % x.ndim for axis in given.wholes("axes", range(x.ndim))]
    sides = [side if axis in axes else 1 for axis, side in enumerate(x.shape)]
    return _normalised(given, x, axes, sides)


def _instance_norm(given: Arguments) -> Tensor:
    """Normalise each channel by itself; ``gamma`` and ``beta`` have a number for each."""
    x = given.tensor("x")
    sides = [1, x.shape[1]] + [1] * (x.ndim - 2)
    return _normalised(given, x, list(range(2, x.ndim)), sides)


def _batch_norm(given: Arguments) -> Tensor:
    """Scale and move each channel by numbers that are known, as fused group norms do."""
    x = given.tensor("x")
    sides = [1, x.shape[1]] + [1] * (x.ndim - 2)
    variance = given.tensor("variance").reshape(sides)
    x = (x - given.tensor("mean").reshape(sides)) * torch.rsqrt(variance + _epsilon(given))
    return _scaled(given, x, sides)


def _normalised(given: Arguments, x: Tensor, axes: list[int], sides: list[int]) -> Tensor:
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return _scaled(given, (x - mean) * torch.rsqrt(variance + _epsilon(given)), sides)


def _epsilon(given: Arguments) -> float:
    return given.number("epsilon", 1e-5)


def _scaled(given: Arguments, x: Tensor, sides: list[int]) -> Tensor:
    gamma, beta = given.optional("gamma"), given.optional("beta")
    if gamma is not None:
        x = x * gamma.reshape(sides)
    return x if beta is None else x + beta.reshape(sides)


def _attention(given: Arguments) -> Tensor:
    return F.scaled_dot_product_attention(
        given.tensor("query"),
        given.tensor("key"),
        given.tensor("value"),
        attn_mask=given.optional("attn_mask"),
    )


def _upsample_nearest_neighbor(given: Arguments) -> Tensor:
    scale = _scale_factors(given)
    return _resized(
        given.tensor("x"), lambda x: F.interpolate(x, scale_factor=scale, mode="nearest")
    )


def _upsample_bilinear(given: Arguments) -> Tensor:
    """Resize; the step between samples comes from the sides that result, not from the factor."""
    x = given.tensor("x")
    height, width = _scale_factors(given)
    size = (int(x.shape[-2] * height), int(x.shape[-1] * width))
    return _resized_bilinear(given, x, size)


def _resize_nearest_neighbor(given: Arguments) -> Tensor:
    size = _target_size(given)
    return _resized(given.tensor("x"), lambda x: F.interpolate(x, size=size, mode="nearest"))


def _scale_factors(given: Arguments) -> tuple[float, float]:
    return given.number("scale_factor_height", 1), given.number("scale_factor_width", 1)


def _target_size(given: Arguments) -> tuple[int, int]:
    return given.whole("target_size_height"), given.whole("target_size_width")


def _resized_bilinear(given: Arguments, x: Tensor, size: tuple[int, int]) -> Tensor:
    corners = not given.has("align_corners") or given.truth("align_corners")
    return _resized(
        x, lambda planes: F.interpolate(planes, size=size, mode="bilinear", align_corners=corners)
    )


def _resized(x: Tensor, resize: Callable[[Tensor], Tensor]) -> Tensor:
    """Resize the last two axes of a tensor of any rank."""
    planes = resize(x.reshape(1, -1, *x.shape[-2:]))
    return planes.reshape(*x.shape[:-2], *planes.shape[-2:])


KERNELS: Mapping[str, Kernel] = {
    "batch_norm": _batch_norm,
    "conv": _conv,
    "einsum": _einsum,
    "instance_norm": _instance_norm,
    "layer_norm": _layer_norm,
    "linear": _linear,
    "matmul": _matmul,
    "resize_nearest_neighbor": _resize_nearest_neighbor,
    "scaled_dot_product_attention": _attention,
    "softmax": _softmax,
    "upsample_bilinear": _upsample_bilinear,
    "upsample_nearest_neighbor": _upsample_nearest_neighbor,
}
"""What computes each operation, by MIL's name
(https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html)."""
