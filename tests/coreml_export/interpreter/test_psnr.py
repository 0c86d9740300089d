import math

import pytest
import torch

from coreml_export.interpreter.psnr import psnr


def test_the_peak_is_the_largest_magnitude_of_the_reference():
    reference = torch.tensor([-10.0, 5.0, 0.0, 1.0])
    assert psnr(reference, reference + 0.01) == pytest.approx(60, abs=1e-3)


def test_equal_tensors_are_infinitely_close():
    assert psnr(torch.ones(3), torch.ones(3)) == math.inf


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nothing_is_close_to_what_is_not_finite(bad):
    assert psnr(torch.ones(2), torch.tensor([1.0, bad])) == -math.inf


def test_a_reference_of_zeros_has_no_peak():
    assert psnr(torch.zeros(2), torch.ones(2)) == -math.inf


def test_shapes_must_be_the_same():
    with pytest.raises(ValueError, match="shapes differ"):
        psnr(torch.ones(2), torch.ones(1))
