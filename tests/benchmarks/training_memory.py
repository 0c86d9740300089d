"""What a LoRA training takes of memory, measured on the CPU, against what is said before.

``python -m tests.benchmarks.training_memory MODEL --dtype bf16 --checkpointing`` takes optimiser
steps at the model's own size in a fresh process and prints the peak of anonymous memory (weights
that are mapped from their files and unchanged are the system's to take back) and the estimate of
``core.training.presets.memory_needed``. ``tests.benchmarks.load`` writes a model as large as Stable
Diffusion 1.5.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

from core.bench_training import begin_session, write_pictures
from core.models.identify import identify
from core.request import Precision
from core.training.config import LoraTraining
from core.training.config_parts import AdapterSettings, DataSettings
from core.training.presets import memory_needed


def anonymous() -> int:
    """Read this process's anonymous memory, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise OSError("this system does not tell")


class Peak(threading.Thread):
    """Looks at the memory all the time."""

    def __init__(self) -> None:
        """Begin to look."""
        super().__init__(daemon=True)
        self.bytes = 0
        self.done = False
        self.start()

    def run(self) -> None:
        """Look; the thread's own entry."""
        while not self.done:
            self.bytes = max(self.bytes, anonymous())
            time.sleep(0.02)


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--dtype", type=Precision, default=Precision.FP32)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1)
    options = parser.parse_args()
    identity = identify(Path(options.model))
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), min(identity.width, identity.height), 1)
        config = LoraTraining(
            model=options.model,
            out=f"{folder}/out",
            data=DataSettings(folder=folder),
            batch_size=options.batch,
            precision=options.dtype,
            gradient_checkpointing=options.checkpointing,
            adapter=AdapterSettings(rank=options.rank),
        )
        peak = Peak()
        session = begin_session(config, torch.device("cpu"), Path(folder) / "cache", Path(folder))
        ready = peak.bytes
        begin = time.perf_counter()
        for _ in range(options.steps):
            session.learn()
        seconds = time.perf_counter() - begin
        peak.done = True
    needed = memory_needed(config, identity)
    report = {
        "peak_gb": round(peak.bytes / 1e9, 2),
        "before_the_first_step_gb": round(ready / 1e9, 2),
        "said_gb": round(needed.total / 1e9, 2),
        "said_activations_gb": round(needed.activations / 1e9, 2),
        "seconds_per_step": round(seconds / options.steps, 1),
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
