"""How close one tensor is to another, in decibels."""

from __future__ import annotations

import math

from torch import Tensor


def psnr(reference: Tensor, other: Tensor) -> float:
    """Measure the peak signal-to-noise ratio.

    It is ``20 log10(max |reference| / rms(reference - other))``. The peak is the largest magnitude
    of the reference, not a fixed range, as in Apple's own converter, whose two small constants
    against a division by zero are left out
    (https://github.com/apple/ml-stable-diffusion/blob/main/python_coreml_stable_diffusion/torch2coreml.py,
    ``compute_psnr``).

    Args:
        reference: What is right; any shape.
        other: What is measured, of the same shape.

    Returns:
        Decibels; infinite for equal tensors, minus infinity if ``other`` is not finite
        everywhere or the reference is nothing but zeros.

    Raises:
        ValueError: If the shapes differ.
    """
    if reference.shape != other.shape:
        raise ValueError(f"the shapes differ: {tuple(reference.shape)}, {tuple(other.shape)}")
    if not other.isfinite().all():
        return -math.inf
    error = float((reference.double() - other.double()).square().mean().sqrt())
    if error == 0:
        return math.inf
    peak = float(reference.abs().max())
    return 20 * math.log10(peak / error) if peak else -math.inf
