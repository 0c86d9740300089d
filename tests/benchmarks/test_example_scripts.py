"""What the benchmarks hold trainings against teaches the same weights as they do, and no others."""

from __future__ import annotations

import pytest
import torch

from core.bench_training import begin, write_pictures
from core.sampling.towers import word_table
from core.training.config import Method
from tests.benchmarks.example_scripts import PLACEHOLDER, ExampleScript
from tests.benchmarks.training import config_of, parser_of


@pytest.mark.parametrize("method", list(Method))
def test_a_script_teaches_what_ours_does(tiny_model, tmp_path, method):
    words = [str(tiny_model), "--method", method, "--resolution", "64", "--device", "cpu"]
    config = config_of(parser_of(None).parse_args(words), tmp_path)
    write_pictures(tmp_path, 64, 1)
    begun = begin(config, torch.device("cpu"), tmp_path / "hashes", tmp_path)
    script = ExampleScript(begun, config)
    parts = [begun.components.unet, begun.components.text_towers[0].encoder]
    before = [{n: w.clone() for n, w in part.named_parameters()} for part in parts]
    script.step()
    script.epoch([tmp_path / "0.png"], 64)
    changed = {
        name
        for part, values in zip(parts, before, strict=True)
        for name, weights in part.named_parameters()
        if not torch.equal(weights, values[name])
    }
    learned = {name.removeprefix("unet.") for name in begun.session.student.learned()}
    if method is Method.TEXTUAL_INVERSION:
        table = word_table(parts[1]).weight
        rows = (table != before[1][changed.pop()]).any(dim=1).nonzero().flatten().tolist()
        assert not changed
        assert rows == [PLACEHOLDER]
    else:
        assert changed <= learned
        assert len(changed) > len(learned) / 3
    # What only encodes pictures is not gone back through.
    assert all(weights.grad is None for weights in begun.components.vae.parameters())
    # Ours goes on from where the script left off.
    assert begun.session.learn().loss > 0
