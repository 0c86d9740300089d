"""A training step beside that of diffusers' example script for the same method, taken in turn.

``python -m tests.benchmarks.training_pairs MODEL [--method lora] [--resolution 512]`` takes both on
the same weights, latents and texts, encoded before, and prints the ratio of ours to the script's
over all pairs: below 1 is faster than the script. ``tests.benchmarks.load`` writes a model as large
as Stable Diffusion 1.5.

With ``--apart`` the two take turns in processes of their own, which end before the other begins:
what one keeps of a whole model that learns is then not in memory beside what the other keeps of it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from enum import StrEnum
from multiprocessing import get_context

from core.bench_training import Took, in_turn, timed
from core.device import describe, resolve_device
from core.training.loop import training_precision
from tests.benchmarks.example_scripts import ExampleScript
from tests.benchmarks.training import Arranged, arranged, parser_of, ratios, seconds


class Side(StrEnum):
    """What is held against each other."""

    OURS = "ours"
    SCRIPT = "script"


def step_of(training: Arranged, side: Side) -> Callable[[], object]:
    """Give what takes a step of a side."""
    if side is Side.OURS:
        return training.begun.session.learn
    return ExampleScript(training.begun, training.config).step


def together(options: argparse.Namespace) -> tuple[list[Took], list[Took]]:
    """Time the steps of both in this process, in turn."""
    with arranged(options, options.batch) as training:
        ours, theirs = (step_of(training, side) for side in Side)
        return in_turn(ours, theirs, options.pairs, training.begun.components.device)


def apart(options: argparse.Namespace) -> tuple[list[Took], list[Took]]:
    """Time the steps of each in a process of its own, in turn."""
    took: dict[Side, list[Took]] = {side: [] for side in Side}
    for _ in range(options.pairs):
        for side in Side:
            # Not forked: a child would have this process's libraries, with locks that nobody holds.
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                took[side].append(pool.submit(alone, options, side).result())
    return took[Side.OURS], took[Side.SCRIPT]


def alone(options: argparse.Namespace, side: Side) -> Took:
    """Time a step of one, as the mean of some after the first, which is not like the others."""
    with arranged(options, options.batch) as training:
        step = step_of(training, side)
        step()
        device = training.begun.components.device
        wall, processor = timed(lambda: [step() for _ in range(options.steps)], device)
    return wall / options.steps, processor / options.steps


def main() -> None:
    """Measure and print one JSON object."""
    parser = parser_of(__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--apart", action="store_true", help="each in a process of its own")
    parser.add_argument("--steps", type=int, default=3, help="of each process, with --apart")
    options = parser.parse_args()
    ours, theirs = apart(options) if options.apart else together(options)
    device = resolve_device(options.device)
    report = {
        "method": options.method,
        "resolution": options.resolution,
        "batch": options.batch,
        "dtype": training_precision(options.dtype, device),
        "machine": describe(device),
        "ours_s": seconds(ours),
        "script_s": seconds(theirs),
        "ours_to_script": ratios(ours, theirs),
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
