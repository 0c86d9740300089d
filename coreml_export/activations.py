"""What layers are given in 8 bits: measured on what the model computes, and written down.

coremltools has Core ML itself run a model to measure that, which takes a Mac. Here the interpreter
runs it, and coremltools' own passes write the operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from core.coreml import import_coremltools
from coreml_export.convert import quietly
from coreml_export.interpreter.program import Program

Ranges = Mapping[str, tuple[float, float]]
"""The smallest and the largest number of each value of a program, by its name."""

_LAYERS = ("conv", "linear")
_IOS_17 = 8
"""Number of the specification that has operations for it."""


def ranges_of(package: Path, samples: Iterable[Mapping[str, Tensor]]) -> Ranges:
    """Measure between what the numbers of a program are.

    Args:
        package: The program, with the weights that it was converted with.
        samples: Inputs of it, by name.
    """
    program = Program.read(package)
    ranges: dict[str, tuple[float, float]] = {}
    for inputs in samples:
        for name, (low, high) in program.execute(inputs).ranges.items():
            least, most = ranges.get(name, (low, high))
            ranges[name] = (min(least, low), max(most, high))
    return ranges


def quantize_activations(model: Any, ranges: Ranges) -> Any:
    """Round what convolutions and linear layers are given to whole numbers from -127 to 127.

    Each value has one scale, by the largest magnitude it had, so that zero stays zero. Residual
    sums, norms and attention stay in half precision: what is added up there has many magnitudes.

    Args:
        model: From ``convert``, for macOS 14 or later.
        ranges: Of its values; see ``ranges_of``.

    Returns:
        Another model.
    """
    tools = import_coremltools("coremltools.optimize.coreml")
    passes = import_coremltools("coremltools.converters.mil.mil.passes.pass_registry")
    utils = import_coremltools("coremltools.models.utils")
    option = import_coremltools("coremltools.converters.mil.mil.passes.graph_pass").PassOption
    config = tools.OptimizationConfig(
        op_type_configs={
            kind: tools.OpLinearQuantizerConfig(mode="linear_symmetric") for kind in _LAYERS
        }
    )
    limits = {name: {"rmin": low, "rmax": high} for name, (low, high) in ranges.items()}
    rounding = passes.PASS_REGISTRY["compression::insert_prefix_quantize_dequantize_pair"]
    rounding.set_options([option("config", config), option("activation_stats", limits)])
    # What several layers are given is rounded once.
    merging = passes.PASS_REGISTRY["common::remove_redundant_ops"]
    with quietly():
        # The public function for this has no way to be given ranges.
        return utils._apply_graph_pass(
            model, [rounding, merging], spec_version=_IOS_17, skip_model_load=True
        )
