"""What the benchmark of learning asks for can be asked for."""

from __future__ import annotations

import pytest

from tests.benchmarks.learning import CONCEPTS, asked, methods


@pytest.mark.parametrize("concept", CONCEPTS, ids=lambda concept: concept.name)
def test_every_method_has_settings_and_prompts(concept, tmp_path):
    trainings = methods(concept, tmp_path / "pictures", tmp_path)
    assert len({config.out for config in trainings.values()}) == len(trainings) == 4
    for method in trainings:
        assert all("sks" in prompt for prompt in asked(concept, method, 4))
