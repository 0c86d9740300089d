"""What does nothing is not called done."""

from __future__ import annotations

import pytest
import torch

from core.training.seal import is_sound, seal, verdict_of
from core.training.self_check import Check, check_tensors, digests


def test_tensors_that_did_not_learn_are_named():
    initial = {"up": torch.zeros(2), "down": torch.ones(2), "bad": torch.ones(2)}
    learned = {"up": torch.zeros(2), "down": torch.ones(2), "bad": torch.tensor([1, torch.nan])}
    check = Check()
    check_tensors(check, digests(initial), learned, 6)
    assert not check.is_sound
    assert len(check.faults) == 3
    assert not is_sound(check.verdict)
    assert "1 of 3 tensors are not finite (bad)" in check.verdict
    assert "1 of 3 tensors are all zero (up)" in check.verdict
    assert "1 of 3 tensors are as before the training (down)" in check.verdict


@pytest.mark.parametrize("steps", [1, 2])
def test_a_down_projection_begins_to_learn_with_the_second_step(steps):
    initial = {"x.lora_A.y": torch.ones(2), "x.lora_B.y": torch.zeros(2)}
    check = Check()
    check_tensors(check, digests(initial), initial | {"x.lora_B.y": torch.ones(2)}, steps)
    assert check.is_sound is (steps == 1)


def test_tensors_that_learned_are_sound():
    check = Check()
    check_tensors(check, digests({"up": torch.zeros(2)}), {"up": torch.tensor([0.1, 0.0])}, 6)
    assert check.is_sound
    assert "all 1 tensors finite and learned" in check.verdict
    assert is_sound(check.verdict)


def test_a_verdict_is_kept_in_the_file_and_changes_nothing_else(tmp_path):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = tmp_path / "made.safetensors"
    tensors = {"a": torch.arange(3.0), "b": torch.ones(2, 2, dtype=torch.float16)}
    save_file(tensors, path, {"note": "kept"})
    assert verdict_of(path) == ""
    seal(path, 'It is "sound" \u2013 really.')
    found = load_file(path)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["note"] == "kept"
    assert verdict_of(path) == 'It is "sound" \u2013 really.'
    seal(path, "Again.")
    assert verdict_of(path) == "Again."


def test_a_folder_keeps_its_verdict_in_a_file(tmp_path):
    assert verdict_of(tmp_path) == ""
    seal(tmp_path, "Sound.")
    assert verdict_of(tmp_path) == "Sound."
