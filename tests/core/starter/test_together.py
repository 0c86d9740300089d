"""Several processes, each with its share of a batch, learn what one process learns."""

import os
import socket
import subprocess
import sys

import torch

SCRIPT = """
import sys
from pathlib import Path

import torch
from torch import nn

from core.starter import together
from core.starter.stage import StageSettings, train_stage

together.join()
torch.manual_seed(0)
model = nn.Linear(3, 1)


def losses_of(step):
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))[together.share()]
    return {"loss": (model(x)[:, 0] - x.sum(1)).square().mean()}


settings = StageSettings(
    name="part", steps=20, learning_rate=1e-2, save_every=20, log_every=10, together=True
)
train_stage(settings, model, losses_of, Path(sys.argv[1]))
together.wait()
print("rows", len(range(8)[together.share()]), "writes", together.is_first())
"""


def run(folder, processes):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for rank in range(processes):
        told = {"RANK": rank, "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1"}
        told |= {"MASTER_PORT": port, "OMP_NUM_THREADS": 1}
        environment = os.environ | {name: str(value) for name, value in told.items()}
        command = [sys.executable, "-c", SCRIPT, str(folder)]
        started.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        )
    outputs = [process.communicate(timeout=120)[0] for process in started]
    assert all(process.returncode == 0 for process in started)
    weights = torch.load(folder / "part.pt", weights_only=True)["model"]
    return outputs, weights


def test_two_processes_learn_what_one_learns(tmp_path):
    (alone,), one = run(tmp_path / "one", 1)
    (first, second), two = run(tmp_path / "two", 2)
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-6, rtol=1e-5)
    assert "rows 8 writes True" in alone
    assert "rows 4 writes True" in first
    assert "part 20/20" in first
    assert second.strip() == "rows 4 writes False"
