"""Both sides of a comparison are timed, wherever they run."""

from __future__ import annotations

import pytest

from tests.benchmarks.training import parser_of
from tests.benchmarks.training_pairs import apart, together


@pytest.mark.parametrize("way", [together, apart])
def test_each_side_is_timed_in_every_pair(tiny_model, way):
    words = [str(tiny_model), "--method", "finetune", "--resolution", "64", "--device", "cpu"]
    options = parser_of(None).parse_args(words)
    options.pairs, options.steps = 1, 2
    ours, theirs = way(options)
    assert len(ours) == len(theirs) == 1
    assert all(processor > 0 for _, processor in (*ours, *theirs))
