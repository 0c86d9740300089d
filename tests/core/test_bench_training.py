"""``stepwise bench train`` measures a step of a training against the least that it can be."""

from __future__ import annotations

import json

from core import cli


def test_a_step_is_held_against_its_least(tiny_model, tmp_path, capsys):
    words = ["bench", "train", "--model", str(tiny_model), "--device", "cpu", "--steps", "2"]
    assert cli.main([*words, "--profile", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rounds"] == 2
    assert report["step_ms"] > 0
    assert report["bare_ms"] > 0
    # A tiny model costs next to nothing itself, so only the sense of it is held.
    assert -1 < report["overhead"] < 100
    assert cli.main([*words, "--profile", str(tmp_path)]) == 0
    assert "overhead" in capsys.readouterr().out
