"""What a training takes of memory at most, measured, against what is said before it begins.

``python -m tests.benchmarks.training_memory MODEL --dtype fp16 --checkpointing`` takes optimiser
steps and prints the peak and the estimate of ``core.training.presets.memory_needed``. On a GPU that
is what torch has allocated there; on the CPU, which does not learn in fp16 (take bf16), it is the
process's anonymous memory: weights that are mapped from their files and unchanged are the system's
to take back. ``tests.benchmarks.load`` writes a model as large as Stable Diffusion 1.5.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable

import torch

from core.bench_training import timed
from core.device import describe, resolve_device
from core.models.catalog import resolve
from core.models.identify import identify
from core.training.config_parts import Targets
from core.training.presets import memory_needed
from tests.benchmarks.load import memory
from tests.benchmarks.training import arranged, parser_of, seconds


class Peak(threading.Thread):
    """Looks at this process's anonymous memory all the time."""

    def __init__(self) -> None:
        """Begin to look."""
        super().__init__(daemon=True)
        self.bytes = 0
        self.start()

    def run(self) -> None:
        """Look; the thread's own entry."""
        while True:
            self.bytes = max(self.bytes, memory()["RssAnon"])
            time.sleep(0.02)


def watch(device: torch.device) -> Callable[[], int]:
    """Begin to watch a device's memory; what is given tells the peak so far, in bytes.

    Raises:
        SystemExit: If nothing tells of it.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return lambda: torch.cuda.max_memory_allocated(device)
    if device.type == "cpu" and sys.platform == "linux":
        peak = Peak()
        return lambda: peak.bytes
    sys.exit(f"The peak of memory on {describe(device)} is not told; choose another device.")


def main() -> None:
    """Measure and print one JSON object."""
    parser = parser_of(__doc__)
    parser.add_argument("--steps", type=int, default=1)
    # A LoRA as it is by default.
    parser.set_defaults(rank=16, targets=Targets.TRANSFORMER)
    options = parser.parse_args()
    device = resolve_device(options.device)
    peak = watch(device)
    with arranged(options, options.batch) as training:
        ready = peak()
        learn = training.begun.session.learn
        took = [timed(learn, device) for _ in range(options.steps)]
        most = peak()
    needed = memory_needed(training.config, identify(resolve(options.model)))
    report = {
        "machine": describe(device),
        "dtype": training.config.precision,
        "resolution": options.resolution,
        "peak_gb": round(most / 1e9, 2),
        "before_the_first_step_gb": round(ready / 1e9, 2),
        "said_gb": round(needed.total / 1e9, 2),
        "said_activations_gb": round(needed.activations / 1e9, 2),
        "seconds_per_step": seconds(took),
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
