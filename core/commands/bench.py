"""``bench``: how fast this machine is, where the time goes, and how much memory it takes."""

from __future__ import annotations

import argparse
import json

from core import bench, bench_memory, bench_training
from core.paths import Profile


def run(arguments: argparse.Namespace, profile: Profile) -> None:
    """Measure, and print what was measured.

    Raises:
        CoreError: The model or the device is not there.
    """
    if arguments.what == "train":
        rounds = 20 if arguments.steps is None else arguments.steps
        report = bench_training.run(
            arguments.model, arguments.device, rounds=rounds, cache=profile.cache
        )
        told = bench_training.format_report(report)
        print(json.dumps(bench_training.to_json(report)) if arguments.json else told)
        return
    usual = 2 if arguments.memory else 20
    steps = usual if arguments.steps is None else arguments.steps
    if arguments.memory:
        peaks = bench_memory.run(
            arguments.model, arguments.device, steps=steps, cache=profile.cache
        )
        plain, lines = bench_memory.to_plain(peaks), bench_memory.format_report(peaks)
    else:
        result = bench.run(arguments.model, arguments.device, steps=steps, cache=profile.cache)
        plain, lines = bench.to_json(result), bench.format_report(result)
    print(json.dumps(plain) if arguments.json else lines)
