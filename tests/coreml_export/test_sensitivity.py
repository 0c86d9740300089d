import pytest
import torch

from coreml_export.request import Compression
from coreml_export.sensitivity import Group, Measured, deal, palettized

GROUPS = (
    Group("sensitive", ("a", "b"), 1000, 1e-2),
    Group("plain", ("c",), 1000, 1e-4),
    Group("large", ("d",), 8000, 1e-4),
)
MEASURED = Measured(GROUPS, peak=1.0)


def mean_bits(bits):
    counts = {"a": 500, "b": 500, "c": 1000, "d": 8000}
    return sum(bits[name] * count for name, count in counts.items()) / 10000


@pytest.mark.parametrize("target", [4.0, 4.5, 5.0, 6.5, 8.0])
def test_bits_stay_within_the_target_and_come_close_to_it(target):
    bits = deal(MEASURED, Compression.parse(f"mixed:{target}"))
    assert target - 1.7 < mean_bits(bits) <= target
    assert bits["a"] == bits["b"] >= bits["c"] >= bits["d"]


def test_what_bears_least_gets_the_first_bits():
    bits = deal(MEASURED, Compression.parse("mixed:4.4"))
    assert bits == {"a": 8, "b": 8, "c": 4, "d": 4}


@pytest.mark.parametrize("decibels", [25, 35, 40])
def test_as_few_bits_are_dealt_as_the_decibels_need(decibels):
    bits = deal(MEASURED, Compression.parse(f"mixed:{decibels}db"))
    names = {"sensitive": "a", "plain": "c", "large": "d"}
    error = sum(group.error_at(bits[names[group.name]]) for group in GROUPS)
    assert error <= 10 ** (-decibels / 10)
    assert mean_bits(bits) < 8


def test_closeness_beyond_reach_takes_all_bits():
    assert set(deal(MEASURED, Compression.parse("mixed:90db")).values()) == {8}


def test_palette_has_so_many_values_and_is_better_than_an_even_one():
    weights = torch.randn(64, 65, generator=torch.Generator().manual_seed(0))
    for bits in (2, 4, 6):
        rounded = palettized(weights, bits)
        assert len(rounded.unique()) <= 2**bits
        even = torch.linspace(float(weights.min()), float(weights.max()), 2**bits)
        nearest = even[(weights[..., None] - even).abs().argmin(-1)]
        assert (rounded - weights).square().mean() < (nearest - weights).square().mean()


def test_few_different_values_are_kept_as_they_are():
    weights = torch.tensor([[1.0, 2.0, 2.0], [3.0, 1.0, 2.0]])
    assert torch.allclose(palettized(weights, 4), weights)
