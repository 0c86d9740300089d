"""A package read back from the disk, run without Core ML, and held against torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from coreml_export.interpreter.program import Arithmetic, Program
from coreml_export.interpreter.psnr import psnr

ENOUGH = 40.0
"""Decibels above which nobody sees a difference."""

MOST = 200.0
"""Decibels that stand for no difference at all, which no file can hold otherwise."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How close a package is to torch.

    Attributes:
        psnr: Decibels of the worst of its outputs against torch in fp32: ``fp32`` computed in fp32
            with the weights as they were written, ``fp16`` with every value rounded as the package
            says; and of packed weights ``unpacked``, against the same with those that were not.
            Of a Core AI model the one of ``fp32`` and ``fp16`` that it computes in.
        not_finite: The operation that gives what is no number in half precision, or empty.
    """

    psnr: Mapping[str, float]
    not_finite: str = ""

    @property
    def doubts(self) -> str:
        """Say that half precision does not do, behind the part's name; empty if it does."""
        if self.not_finite:
            return f"gives what is no number in half precision, first in {self.not_finite}"
        half = self.psnr.get("fp16", MOST)
        if half < min(ENOUGH, self.psnr.get("fp32", MOST) - 1):
            return f"comes within {half:.0f} dB only in half precision"
        return ""


def compare(
    package: Path,
    unpacked: Path | None,
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
) -> Comparison:
    """Run a package and compare.

    Args:
        package: What was written.
        unpacked: The same with weights that are not packed, if they are.
        inputs: What to run it on.
        outputs: What torch makes of them.

    Raises:
        ModelInvalid: If the package is damaged.
        Unsupported: If it holds an operation that cannot be interpreted.
    """
    program = Program.read(package)
    exact = program.execute(inputs)
    half = program.execute(inputs, arithmetic=Arithmetic.FP16)
    figures = {"fp32": worst(outputs, exact.outputs), "fp16": worst(outputs, half.outputs)}
    if unpacked is not None:
        plain = Program.read(unpacked).execute(inputs)
        figures["unpacked"] = worst(plain.outputs, exact.outputs)
    is_finite = all(value.isfinite().all() for value in half.outputs.values())
    return Comparison(figures, "" if is_finite else half.first_non_finite or "an output")


def worst(outputs: Mapping[str, Tensor], computed: Mapping[str, Tensor]) -> float:
    """Give the decibels of the output that is furthest off, 0 at least."""
    figures = (psnr(value, computed[name]) for name, value in outputs.items())
    return round(min(MOST, max(0.0, min(figures))), 1)
