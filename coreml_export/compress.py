"""Weights of a converted part in fewer bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.coreml import import_coremltools
from coreml_export.convert import quietly
from coreml_export.request import Compression, Packing

SMALLEST = 2048
"""Numbers of a weight below which packing it gains nothing."""

_BITS = {Packing.PALETTE6: 6, Packing.PALETTE4: 4}


def compress(model: Any, compression: Compression, bits: Mapping[str, int]) -> Any:
    """Pack a model's weights.

    Args:
        model: From ``convert``.
        compression: How.
        bits: Of ``MIXED``: of each weight, by its name in the part's module.

    Returns:
        Another model.
    """
    ct = import_coremltools("coremltools.optimize.coreml")
    with quietly():
        if compression.packing in (Packing.INT8, Packing.W8A8):
            config = ct.OpLinearQuantizerConfig(
                mode="linear_symmetric", granularity="per_channel", weight_threshold=SMALLEST
            )
            return ct.linear_quantize_weights(model, ct.OptimizationConfig(config))
        if compression.packing is Packing.MIXED:
            return ct.palettize_weights(model, _mixed(ct, model, bits))
        return ct.palettize_weights(
            model, ct.OptimizationConfig(_palette(ct, _BITS[compression.packing]))
        )


def _mixed(ct: Any, model: Any, bits: Mapping[str, int]) -> Any:
    """Find the weights in the program, which has underscores for dots and says what it rounded."""
    there = {
        name.removesuffix("_to_fp16"): name
        for name in ct.get_weights_metadata(model, weight_threshold=SMALLEST)
    }
    own = {name.replace(".", "_"): count for name, count in bits.items()}
    assert own.keys() <= there.keys(), own.keys() - there.keys()
    return ct.OptimizationConfig(
        op_name_configs={there[name]: _palette(ct, count) for name, count in own.items()}
    )


def _palette(ct: Any, bits: int) -> Any:
    return ct.OpPalettizerConfig(mode="kmeans", nbits=bits, weight_threshold=SMALLEST)
