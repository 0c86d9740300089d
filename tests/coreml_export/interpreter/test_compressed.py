"""Compressed weights, run from a package and held against what coremltools unpacks them to."""

import math

import pytest
import torch
from torch import nn

from core.coreml import import_coremltools
from coreml_export.interpreter.program import Arithmetic, Program
from coreml_export.interpreter.psnr import psnr


class Layers(nn.Module):
    """A convolution and two linear layers, none of a size that a mistake would hide behind."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 32, 3, padding=1)
        self.wide = nn.Linear(32, 48)
        self.narrow = nn.Linear(48, 16)

    def forward(self, x):
        return self.narrow(torch.tanh(self.wide(self.conv(x).mean((2, 3)))))


@pytest.fixture(scope="module")
def inputs():
    return {"x": torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))}


@pytest.fixture(scope="module")
def layers():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Layers().eval()


@pytest.fixture(scope="module")
def models(convert, layers, inputs):
    return {target: convert(layers, inputs, target=target) for target in ("iOS16", "iOS18")}


KINDS = {
    # Up to iOS 17.
    ("iOS16", "int8"): (
        ("linear_quantize_weights", "OpLinearQuantizerConfig", {"mode": "linear_symmetric"}),
        ("constexpr_affine_dequantize", 9, 40),
    ),
    ("iOS16", "uint8, shifted"): (
        (
            "linear_quantize_weights",
            "OpLinearQuantizerConfig",
            {"mode": "linear", "dtype": "uint8"},
        ),
        ("constexpr_affine_dequantize", 9, 40),
    ),
    ("iOS16", "a palette of 64"): (
        ("palettize_weights", "OpPalettizerConfig", {"mode": "uniform", "nbits": 6}),
        ("constexpr_lut_to_dense", 7.5, 25),
    ),
    ("iOS16", "a palette of 16 by k-means"): (
        ("palettize_weights", "OpPalettizerConfig", {"mode": "kmeans", "nbits": 4}),
        ("constexpr_lut_to_dense", 4.5, 15),
    ),
    ("iOS16", "zeros left out"): (
        (
            "prune_weights",
            "OpThresholdPrunerConfig",
            {"threshold": 0.03, "minimum_sparsity_percentile": 0.1},
        ),
        ("constexpr_sparse_to_dense", 15, 15),
    ),
    # From iOS 18.
    ("iOS18", "uint4 for each block, shifted"): (
        (
            "linear_quantize_weights",
            "OpLinearQuantizerConfig",
            {"mode": "linear", "dtype": "uint4", "granularity": "per_block", "block_size": 4},
        ),
        ("constexpr_blockwise_shift_scale", 9, 15),
    ),
    ("iOS18", "int4 for each block"): (
        (
            "linear_quantize_weights",
            "OpLinearQuantizerConfig",
            {
                "mode": "linear_symmetric",
                "dtype": "int4",
                "granularity": "per_block",
                "block_size": 4,
            },
        ),
        ("constexpr_blockwise_shift_scale", 8, 15),
    ),
    ("iOS18", "a palette of 64 for each group"): (
        (
            "palettize_weights",
            "OpPalettizerConfig",
            {
                "mode": "uniform",
                "nbits": 6,
                "granularity": "per_grouped_channel",
                "group_size": 8,
            },
        ),
        ("constexpr_lut_to_dense", 10, 25),
    ),
    ("iOS18", "a palette of pairs"): (
        (
            "palettize_weights",
            "OpPalettizerConfig",
            {"mode": "kmeans", "nbits": 4, "cluster_dim": 2},
        ),
        ("constexpr_lut_to_dense", 3, 5),
    ),
    ("iOS18", "zeros left out"): (
        (
            "prune_weights",
            "OpThresholdPrunerConfig",
            {"threshold": 0.03, "minimum_sparsity_percentile": 0.1},
        ),
        ("constexpr_sparse_to_dense", 15, 15),
    ),
}
"""How coremltools compresses each kind; which operation unpacks it, at most how many bits it
stores for a weight, and at least how close in decibels the result stays to that of the weights as
they were."""


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[1]} ({kind[0]})")
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def compressed(ct, models, quiet, kind):
    opt = import_coremltools("coremltools.optimize.coreml")
    function, config, options = KINDS[kind][0]
    each = getattr(opt, config)(weight_threshold=64, **options)
    with quiet():
        return getattr(opt, function)(models[kind[0]], opt.OptimizationConfig(global_config=each))


@pytest.fixture(scope="module")
def program(save, compressed):
    return Program.read(save(compressed))


def test_weights_are_what_coremltools_unpacks_them_to(ct, save, quiet, compressed, program, inputs):
    opt = import_coremltools("coremltools.optimize.coreml")
    with quiet():
        unpacked = Program.read(save(opt.decompress_weights(compressed)))
    assert not any(name.startswith("constexpr_") for name in unpacked.op_types)
    (expected,) = unpacked.run(inputs, arithmetic=Arithmetic.FP16).values()
    (result,) = program.run(inputs, arithmetic=Arithmetic.FP16).values()
    assert psnr(expected, result) > 70


def test_what_is_computed_stays_close_to_torch(program, layers, inputs, kind):
    (result,) = program.run(inputs).values()
    assert psnr(layers(inputs["x"]).detach(), result) > KINDS[kind][1][2]


def test_constants_tell_what_they_take(program, kind):
    operation, bits, _ = KINDS[kind][1]
    weights = [item for item in program.constants() if item.operation == operation]
    assert [item.shape for item in weights] == [(32, 8, 3, 3), (48, 32), (16, 48)]
    for item in weights:
        assert 8 * item.stored_bytes / math.prod(item.shape) <= bits
