"""Trainings that two processes share: what they learn, and that they stop and fail together."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from core import cli
from core.errors import Unsupported
from core.training.checkpoint import read_checkpoint
from core.training.folder import Folder
from core.training.processes import told_of_launch

ROOT = Path(__file__).parents[3]
LORA = ["lora", "--rank", "2"]


@pytest.fixture
def words(tiny_model, pictures, tmp_path):
    """Give the words after ``stepwise`` for a training in a folder ``out``."""

    def make(out, *more):
        places = ["--model", str(tiny_model), "--data", str(pictures), "--out", str(tmp_path / out)]
        places += ["--profile", str(tmp_path / "profile"), "--device", "cpu"]
        return ["train", *more, *places, "--json"]

    return make


def alone(words):
    """Carry out a training in one process, this one."""
    assert cli.main(words) == 0


def shared(words, program=("-m", "core")):
    """Begin a training on two processes, as accelerate's launcher does where there are GPUs."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    no_gpu = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, *launch, *program, *words],
        env=os.environ | no_gpu,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process):
    """Wait for a training, and give its exit status, its events and what it said."""
    with process:
        out, error = process.communicate(timeout=300)
    return process.returncode, [json.loads(line) for line in out.splitlines()], error


def wait_for_step(process, step):
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "train_step" and event["index"] >= step:
            return


def losses(out):
    return [row["loss"] for row in Folder(out).read_log()]


def apart(some, others):
    """Give the distance of weights from others of the same names."""
    assert some.keys() == others.keys()
    return math.hypot(*(float(torch.dist(some[name], others[name])) for name in some))


@pytest.mark.slow  # Interrupted, they do too; see below.
def test_two_processes_learn_what_one_learns_from_twice_the_batch(words, tmp_path):
    steps = ["--steps", "20", "--save-every", "0"]
    alone(words("alone", *LORA, *steps, "--batch", "4"))
    status, events, error = ended(shared(words("shared", *LORA, *steps, "--batch", "2")))
    assert status == 0, error
    rows = [losses(tmp_path / out) for out in ("alone", "shared")]
    assert len(rows[0]) == len(rows[1]) == 20
    assert rows[1] == pytest.approx(rows[0], rel=1e-5)
    assert [event["event"] for event in events].count("trained") == 1


FINETUNE = ["finetune", "--ema", "0.5", "--sample-prompt", "a circle", "--sample-steps", "2"]
SHARDED = (str(Path(__file__).with_name("sharded_on_cpu.py")),)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(("-m", "core"), id="ddp", marks=pytest.mark.slow),
        pytest.param(SHARDED, id="fsdp"),
    ],
)
def test_two_processes_teach_a_whole_model(words, tmp_path, program):
    more = [*FINETUNE, "--train-text", "--accumulation", "2", "--steps", "4", "--batch"]
    alone(words("alone", *more, "2"))
    status, events, error = ended(shared(words("shared", *more, "1"), program))
    assert status == 0, error
    folders = [Folder(tmp_path / out) for out in ("alone", "shared")]
    rows = [losses(folder.root) for folder in folders]
    assert len(rows[1]) == 4
    assert rows[1] == pytest.approx(rows[0], rel=1e-5)
    one, other = (read_checkpoint(folder.checkpoint(4)) for folder in folders)
    moved = apart(one.learned, one.average)
    assert apart(one.learned, other.learned) < moved / 100
    assert apart(one.average, other.average) < moved / 100
    assert events[-1]["event"] == "trained"
    assert [event["step"] for event in events if event["event"] == "sample"] == [0, 4]


@pytest.mark.slow
@pytest.mark.parametrize("program", [("-m", "core"), SHARDED], ids=["ddp", "fsdp"])
def test_a_whole_model_goes_on_as_if_nothing_had_been(words, tmp_path, program):
    more = [*FINETUNE, "--save-every", "0", "--batch", "1", "--steps"]
    assert ended(shared(words("whole", *more, "4"), program))[0] == 0
    process = shared(words("parts", *more, "2000"), program)
    wait_for_step(process, 2)
    os.killpg(process.pid, signal.SIGINT)
    _, _, error = ended(process)
    assert "bug" not in error
    folder = Folder(tmp_path / "parts")
    (step,) = folder.steps()
    assert folder.usable(step) is not None
    last = str(step + 2)
    again = ended(shared(words("parts", *more, last, "--resume"), program))
    assert again[0] == 0, again[2]
    rows = [losses(tmp_path / out) for out in ("whole", "parts")]
    assert rows[1][:4] == rows[0]
    assert len(rows[1]) == step + 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        ["textual-inversion", "--token", "<it>", "--init-word", "circle"],
        [
            *("dreambooth", "--instance-prompt", "a sks circle", "--rank", "2"),
            *("--class-prompt", "a circle", "--class-images", "2"),
        ],
    ],
    ids=["textual-inversion", "dreambooth"],
)
def test_two_processes_learn_as_one_by_every_method(words, tmp_path, method):
    more = [*method, "--steps", "4", "--lr", "0.01", "--batch"]
    alone(words("alone", *more, "4"))
    status, _, error = ended(shared(words("shared", *more, "2")))
    assert status == 0, error
    assert losses(tmp_path / "shared") == pytest.approx(losses(tmp_path / "alone"), rel=1e-5)


def test_interrupted_processes_stop_at_one_step_and_go_on(words, tmp_path):
    more = [*LORA, "--steps", "40", "--save-every", "0", "--batch"]
    alone(words("alone", *more, "4"))
    process = shared(words("shared", *more, "2"))
    wait_for_step(process, 3)
    # As a terminal does; the launcher passes it on to its processes, one after the other.
    os.killpg(process.pid, signal.SIGINT)
    _, _, error = ended(process)
    assert "bug" not in error
    assert error.count("Stopped; kept up to step") == 1
    (step,) = Folder(tmp_path / "shared").steps()
    assert 3 <= step < 40
    status, events, error = ended(shared(words("shared", *more, "2", "--resume")))
    assert status == 0, error
    done = [event["index"] for event in events if event["event"] == "train_step"]
    assert done == list(range(step + 1, 41))
    assert [event["event"] for event in events].count("trained") == 1
    assert losses(tmp_path / "shared") == pytest.approx(losses(tmp_path / "alone"), rel=1e-5)


def test_a_picture_that_one_process_misses_stops_the_others_too(words, pictures, tmp_path):
    for path in pictures.glob("*.png"):
        Image.open(path).resize((128, 64)).save(path)
    # Cropped by chance, they are read again at every showing.
    more = ["--crop", "random", "--no-buckets", "--steps", "2000", "--save-every", "0"]
    process = shared(words("shared", *LORA, *more, "--batch", "1"))
    wait_for_step(process, 2)
    next(pictures.glob("*.png")).unlink()
    status, _, error = ended(process)
    assert status == 1
    assert "bug" not in error
    assert "Another process of this training has ended" in error
    (step,) = Folder(tmp_path / "shared").steps()
    assert step == len(losses(tmp_path / "shared"))
    assert f"kept up to step {step}" in error


def test_a_launcher_that_started_one_process_of_several_is_told_of(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert not list(told_of_launch(1))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    (notice,) = told_of_launch(1)
    assert "torchrun" in notice.message


def test_processes_that_cannot_share_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(Unsupported, match="2 processes were started"):
        list(told_of_launch(1))


def test_another_number_of_processes_is_told_of(words, tmp_path, capsys):
    more = [*LORA, "--lr", "0.01", "--steps"]
    alone(words("out", *more, "3"))
    path = Folder(tmp_path / "out").checkpoint(3) / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"processes": 2}))
    capsys.readouterr()
    alone(words("out", *more, "4", "--resume"))
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = [event["message"] for event in events if event["event"] == "notice"]
    assert any("with 1 in place of 2 processes" in message for message in told)
