"""A training step beside that of diffusers' example script for the same method, taken in turn.

``python -m tests.benchmarks.training_pairs MODEL [--method lora] [--resolution 512]`` takes both on
the same weights, latents and texts, encoded before, and prints the ratio of ours to the script's
over all pairs: below 1 is faster than the script. ``tests.benchmarks.load`` writes a model as large
as Stable Diffusion 1.5.
"""

from __future__ import annotations

import json
import sys

from core.bench_training import in_turn
from core.device import describe
from tests.benchmarks.example_scripts import ExampleScript
from tests.benchmarks.training import arranged, parser_of, ratios, seconds


def main() -> None:
    """Measure and print one JSON object."""
    parser = parser_of(__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    with arranged(options, options.batch) as training:
        begun = training.begun
        device = begun.components.device
        script = ExampleScript(begun, training.config)
        ours, theirs = in_turn(begun.session.learn, script.step, options.pairs, device)
    report = {
        "method": options.method,
        "resolution": options.resolution,
        "batch": options.batch,
        "dtype": training.config.precision,
        "machine": describe(device),
        "ours_s": seconds(ours),
        "script_s": seconds(theirs),
        "ours_to_script": ratios(ours, theirs),
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
