"""A part becomes an ML program: traced by torch, converted by coremltools, in half precision."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from core.coreml import import_coremltools
from core.coreml_folder import PartName
from core.coreml_folder import Tensor as Described
from core.errors import ExportFailed
from coreml_export.parts import Part

_DTYPES = {"float16": np.float16, "float32": np.float32, "int32": np.int32}

_VAE_HALVES = (PartName.VAE_DECODER, PartName.VAE_ENCODER)

_LARGEST_HALF = float(np.finfo(np.float16).max)
_AS_GOOD_AS_INFINITE = 1e38
"""Masks hold such numbers; as infinity in half precision they do the same."""

_SINES = ("sin", "cos")
_FAR = 4
"""Operations between a number that becomes an embedding and its sine, at most."""


def trace(part: Part, inputs: Sequence[Tensor]) -> torch.jit.ScriptModule:
    """Record what a part does.

    Args:
        part: The part.
        inputs: As it takes them, fp32.
    """
    # Weights and inputs made in inference mode cannot be traced.
    with quietly(), torch.inference_mode(mode=False), torch.no_grad():
        traced = torch.jit.trace(
            part.module, tuple(value.clone() for value in inputs), check_trace=False
        )
    return cast(torch.jit.ScriptModule, traced)


def convert(
    traced: torch.jit.ScriptModule, part: Part, *, target: str, metadata: Mapping[str, str]
) -> Any:
    """Turn a recorded part into a Core ML model, not loaded.

    Everything is computed in half precision but the sines and cosines of what becomes an embedding,
    as a timestep times a frequency has more digits than fp16 holds, and the variances in the VAE:
    its activations reach some hundreds, whose squares fp16 does not hold, so that pictures and
    latents would be black or spoiled.

    Args:
        traced: From ``trace``.
        part: What it was.
        target: The oldest system that is to run it, such as ``macOS13``.
        metadata: What the package says of itself: ``author``, ``license``, ``version``,
            ``description``; all other names are kept as the user's.

    Raises:
        ExportFailed: If coremltools cannot convert it.
    """
    ct = import_coremltools()
    precision = ct.precision.FLOAT32
    if not part.fp32:
        selector = _may_be_half_in_vae if part.name in _VAE_HALVES else _may_be_half
        precision = ct.transform.FP16ComputePrecision(op_selector=selector)
    with quietly(), _overflow_told_at_once(ct.transform.FP16ComputePrecision):
        try:
            model = ct.convert(
                traced,
                source="pytorch",
                convert_to="mlprogram",
                inputs=[
                    ct.TensorType(one.name, shape=one.shape, dtype=_DTYPES[one.dtype])
                    for one in part.inputs
                ],
                outputs=[ct.TensorType(one.name, dtype=_DTYPES[one.dtype]) for one in part.outputs],
                minimum_deployment_target=getattr(ct.target, target),
                compute_precision=precision,
                skip_model_load=True,
            )
        except (RuntimeError, ValueError, NotImplementedError, TypeError) as error:
            raise ExportFailed(
                f"coremltools {ct.__version__} cannot convert {part.name} ({error}); export the "
                "others with --parts, or use another version of it."
            ) from error
    _describe(model, part, metadata)
    return model


@contextmanager
def _overflow_told_at_once(precision: Any) -> Iterator[None]:
    """Have coremltools look for weights beyond fp16 without a list of where the others are.

    That list has up to five numbers of eight bytes a weight, 1.2 GB for the largest convolution of
    Stable Diffusion: it was the peak of a conversion's memory.
    """
    own = precision.fp16_overflow
    precision.fp16_overflow = staticmethod(_is_beyond_half)
    try:
        yield
    finally:
        precision.fp16_overflow = staticmethod(own)


def _is_beyond_half(operation: Any) -> bool:
    """Whether an operation takes a weight that fp16 does not hold; what stands for infinity may."""
    every = [
        value
        for given in operation.inputs.values()
        for value in (given if isinstance(given, (list, tuple)) else [given])
    ]
    return any(
        _has_beyond_half(value.val)
        for value in every
        if value.op is not None
        and value.op.op_type == "const"
        and value.is_tensor_or_scalar_of(dtype="fp32")
    )


def _has_beyond_half(weights: Any) -> bool:
    if max(np.max(weights, initial=0), -np.min(weights, initial=0)) <= _LARGEST_HALF:
        return False
    sizes = np.abs(weights)
    return bool(((sizes > _LARGEST_HALF) & (sizes < _AS_GOOD_AS_INFINITE)).any())


def _may_be_half(operation: Any) -> bool:
    """Whether fp16 will do for an operation of the program."""
    return not _becomes_sine(operation, _FAR)


def _may_be_half_in_vae(operation: Any) -> bool:
    return _may_be_half(operation) and not _is_variance(operation)


def _is_variance(operation: Any) -> bool:
    """Whether an operation squares, takes the mean of squares, or the root of that."""
    for kind in ("sqrt", "add", "reduce_mean"):
        if operation is not None and operation.op_type == kind:
            operation = operation.inputs["x"].op
    return operation is not None and operation.op_type == "square"


def _becomes_sine(operation: Any, far: int) -> bool:
    if operation.op_type in _SINES:
        return True
    return far > 0 and any(
        _becomes_sine(child, far - 1) for output in operation.outputs for child in output.child_ops
    )


def _describe(model: Any, part: Part, metadata: Mapping[str, str]) -> None:
    """Write what a person or a program may read of a package."""
    own = dict(metadata)
    model.author = own.pop("author", "")
    model.license = own.pop("license", "")
    model.version = own.pop("version", "")
    model.short_description = own.pop("description", "")
    for name, value in own.items():
        model.user_defined_metadata[name] = value
    for tensors, descriptions in (
        (part.inputs, model.input_description),
        (part.outputs, model.output_description),
    ):
        for tensor in tensors:
            descriptions[tensor.name] = described(tensor)


def described(tensor: Described) -> str:
    """Say in a sentence what an input or output holds."""
    name = tensor.name.rstrip("0123456789")
    return _DESCRIPTIONS.get(name, name).replace("_", " ")


_DESCRIPTIONS = {
    "sample": "Noisy latents, scaled, at the model's scale",
    "timestep": "How noisy they are, one number for each",
    "encoder_hidden_states": "Text states, channels first",
    "time_ids": "Size of the picture, its crop, and its size now, in pixels",
    "text_embeds": "Each text as one vector",
    "timestep_cond": "Guidance as a distilled UNet reads it",
    "additional_residual_": "What ControlNets add at a place of the UNet's way down",
    "controlnet_cond": "The map to follow, red, green, blue in 0 to 1",
    "noise_pred": "The prediction",
    "z": "Latents, unscaled",
    "image": "The picture, red, green, blue in -1 to 1",
    "x": "The picture, red, green, blue in -1 to 1",
    "latent": "Means of the unscaled latents, then logarithms of their variances",
    "input_ids": "Token numbers",
    "last_hidden_state": "Text states",
    "hidden_embeds": "Text states before the last layer",
    "pooled_outputs": "The text as one vector",
}


@contextmanager
def quietly() -> Iterator[None]:
    """Keep from the terminal what coremltools and torch's tracer warn of, which is known."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
