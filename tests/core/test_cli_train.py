"""``stepwise train``: its options, its reports and its ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core import cli
from core.training.checkpoint import read_checkpoint
from core.training.folder import Folder
from tests.core.training.conftest import COLOURS

ROOT = Path(__file__).parents[2]
QUICK = ["--steps", "4", "--batch", "2", "--lr", "0.01", "--device", "cpu"]


@pytest.fixture
def folder(tmp_path):
    """Three plain pictures with captions."""
    from PIL import Image

    made = tmp_path / "pictures"
    made.mkdir()
    for number, (caption, colour) in enumerate(COLOURS.items()):
        Image.new("RGB", (64, 64), colour).save(made / f"{number}.png")
        (made / f"{number}.txt").write_text(caption)
    return made


@pytest.fixture
def train(tmp_path, tiny_model, folder, capsys):
    """Carry out ``train`` and give its exit status, its JSON events and what it said."""

    def run(*words, out="out", data=True):
        places = ["--profile", str(tmp_path / "profile"), "--out", str(tmp_path / out)]
        if data:
            places += ["--data", str(folder), "--model", str(tiny_model)]
        status = cli.main(["train", *words, *places, "--json"])
        captured = capsys.readouterr()
        return status, [json.loads(line) for line in captured.out.splitlines()], captured.err

    return run


METHODS = {
    "lora": ["--rank", "2"],
    "textual-inversion": ["--token", "<it>", "--init-word", "circle"],
    "dreambooth": ["--instance-prompt", "a sks circle", "--rank", "2"],
    "finetune": ["--ema", "0.5"],
}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_reports_its_course_and_what_it_made(train, tmp_path, method):
    words = [*METHODS[method], "--sample-prompt", "a circle", "--sample-steps", "2"]
    status, events, error = train(method, *words, *QUICK)
    assert (status, error) == (0, "")
    steps = [event for event in events if event["event"] == "train_step"]
    assert [step["index"] for step in steps] == [1, 2, 3, 4]
    assert all(step["loss"] > 0 and step["total"] == 4 for step in steps)
    assert [event["step"] for event in events if event["event"] == "sample"] == [0, 4]
    assert events[-1]["event"] == "trained"
    assert events[-1]["sound"]
    name = "final" if method == "finetune" else "final.safetensors"
    assert Path(events[-1]["path"]) == tmp_path / "out" / name
    assert Path(events[-1]["path"]).exists()


def test_what_was_made_is_used_by_generate(train, tmp_path, tiny_model, capsys):
    train("lora", "--rank", "2", *QUICK)
    words = ["generate", "a red circle", "--model", str(tiny_model), "--steps", "2", "--seed", "1"]
    words += ["--device", "cpu", "--json", "--profile", str(tmp_path / "profile")]
    pictures = []
    for more in ([], ["--lora", str(tmp_path / "out" / "final.safetensors")]):
        assert cli.main([*words, *more, "--out", str(tmp_path / f"made{len(more)}")]) == 0
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        pictures.append(next(Path(e["path"]) for e in events if e["event"] == "image"))
    assert pictures[0].read_bytes() != pictures[1].read_bytes()


def test_a_file_of_settings_says_what_options_do(train, tmp_path):
    words = ["--rank", "3", "--alpha", "1", "--min-snr-gamma", "5", "--flip", "--crop", "random"]
    words += ["--gradient-checkpointing"]
    assert train("lora", *words, *QUICK)[0] == 0
    first = Folder(tmp_path / "out").read_config()
    again = ["--config", str(tmp_path / "out" / "config.json"), "--seed", "9"]
    assert train("lora", *again, out="again", data=False)[0] == 0
    second = Folder(tmp_path / "again").read_config()
    assert second.adapter == first.adapter
    assert second.gradient_checkpointing
    assert (second.loss, second.data) == (first.loss, first.data)
    assert (first.seed, second.seed) == (0, 9)


def test_a_preset_says_what_it_chose_and_leaves_what_was_given(train, tmp_path):
    words = ["--rank", "2", "--preset", "8gb", "--steps", "1", "--lr", "0.01", "--device", "cpu"]
    status, events, _ = train("lora", *words)
    assert status == 0
    told = [event["message"] for event in events if event["event"] == "notice"]
    assert "To fit into 8gb: --batch 4." in told
    assert Folder(tmp_path / "out").read_config().batch_size == 4
    _, events, _ = train("lora", *words, "--batch", "2", out="again")
    assert "8gb is enough as it is." in [event.get("message") for event in events]
    assert Folder(tmp_path / "again").read_config().batch_size == 2


def test_a_training_that_ended_learns_on(train, tmp_path):
    train("lora", "--rank", "2", *QUICK)
    status, events, _ = train("lora", "--resume", "--steps", "6", data=False)
    assert status == 0
    assert [event["index"] for event in events if event["event"] == "train_step"] == [5, 6]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lora", "--rank", "0"], "--rank: 0 must be"),
        (["lora", "--steps", "0"], "--steps: 0 must be"),
        (["lora", "--batch", "-1"], "--batch: -1 must be"),
        (["lora", "--resolution", "100"], "--resolution: 100 must be"),
        (["lora", "--background", "white"], "--background: 'white' is no colour"),
        (["lora", "--lr", "nan"], "--lr: nan must be"),
        (["lora", "--resume"], "--resume: "),
        (["lora", "--config", "gone.json"], "--config: gone.json cannot be read"),
        (["lora", "--dtype", "fp16"], "fp16 needs a CUDA device"),
        (["textual-inversion", "--token", "it"], "--init-word: is missing"),
        (["textual-inversion", "--token", "a b", "--init-word", "c"], "--token: 'a b' must be"),
        (["dreambooth"], "--instance-prompt: is missing"),
        (["dreambooth", "--class-images", "5"], "--class-images: does nothing without"),
        (["lora", "--text-lr", "0.1"], "--text-lr: does nothing without text enc"),
        (["lora", "--lr", "0"], "--lr: 0 learns nothing"),
        (["lora", "--resume", "--config", "any.json"], "--config: does not go with --resume"),
        (["lora", "--sample-every", "5"], "--sample-every: does nothing without a sample prompt"),
        (["lora", "--sample-seed", "0"], "--sample-seed: does nothing without a sample prompt"),
        (["lora", "--keep-tags", "1"], "--keep-tags: does nothing without tags that are"),
        (["lora", "--huber-delta", "0.2"], "--huber-delta: does nothing without Huber"),
        (
            ["textual-inversion", "--token", "a", "--init-word", "b", "--caption-dropout", "0.1"],
            "--caption-dropout: does not go with",
        ),
    ],
)
def test_nonsense_is_named_by_its_option(train, words, said):
    status, events, error = train(*words, "--device", "cpu")
    assert status == 1
    assert said in error
    assert error.count("\n") == 1
    assert not [event for event in events if event["event"] == "train_step"]


def test_no_pictures_are_named(train, tmp_path):
    status, _, error = train("lora", "--data", str(tmp_path / "gone"), data=False)
    assert status == 1
    assert "gone" in error
    assert train("lora", data=False)[2].startswith("stepwise: --data: is missing")


def command(tiny_model, folder, out, *more):
    words = ["train", "lora", "--model", str(tiny_model), "--data", str(folder), "--rank", "2"]
    places = ["--out", str(out), "--profile", str(out.parent / "profile"), "--device", "cpu"]
    return [*words, *places, "--json", *more]


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def steps_of(process, until):
    """Read a training's events until it has done so many steps."""
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "train_step" and event["index"] >= until:
            return


@pytest.fixture
def one_thread():
    """Reckon in this process as in one with a single thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_training_that_was_ended_goes_on_bit_for_bit(
    tiny_model, folder, tmp_path, number, one_thread
):
    # Far more steps than are done while the signal is on its way.
    words = ["--steps", "60", "--batch", "2", "--save-every", "4"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert cli.main(command(tiny_model, folder, whole, *words)) == 0
    ended = command(tiny_model, folder, parts, *words)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        [sys.executable, "-m", "core", *ended], env=environment(), **pipes
    ) as process:
        steps_of(process, 6)
        process.send_signal(number)
        _, error = process.communicate()
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    if number == signal.SIGINT:
        assert "kept up to step" in error
        assert "--resume" in error
    assert cli.main([*ended, "--resume"]) == 0
    assert Folder(parts).read_log() == Folder(whole).read_log()
    one, other = (read_checkpoint(Folder(out).checkpoint(60)).learned for out in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)
