import tracemalloc

import numpy as np
import pytest

from core.coreml import import_coremltools
from coreml_export.convert import _overflow_told_at_once
from tests.coreml_export.conftest import needs_coremltools

pytestmark = needs_coremltools


def convolution(weights):
    """An operation of a program with these weights."""
    builder = import_coremltools("coremltools.converters.mil").Builder

    @builder.program(input_specs=[builder.TensorSpec(shape=(1, weights.shape[1], 8, 8))])
    def program(x):
        return builder.conv(x=x, weight=weights)

    return program.functions["main"].find_ops(op_type="conv")[0]


def check():
    return import_coremltools().transform.FP16ComputePrecision


@pytest.mark.parametrize("largest", [0.0, 65504.0, 65600.0, -7e4, 3e38, float("-inf")])
def test_weights_beyond_half_precision_are_found_as_coremltools_finds_them(largest):
    weights = np.ones((4, 4, 3, 3), dtype=np.float32)
    weights[1, 2, 0, 1] = largest
    operation = convolution(weights)
    told = check().fp16_overflow(operation)
    assert told == (65504 < abs(largest) < 1e38)
    with _overflow_told_at_once(check()):
        assert check().fp16_overflow(operation) == told


def test_looking_for_weights_beyond_half_precision_takes_no_memory():
    weights = np.ones((512, 256, 3, 3), dtype=np.float32)
    operation = convolution(weights)
    with _overflow_told_at_once(check()):
        tracemalloc.start()
        try:
            assert not check().fp16_overflow(operation)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < weights.nbytes / 10


def test_the_check_of_coremltools_is_in_its_place_again():
    own = check().fp16_overflow
    with pytest.raises(RuntimeError, match="broken off"), _overflow_told_at_once(check()):
        raise RuntimeError("broken off")
    assert check().fp16_overflow is own
