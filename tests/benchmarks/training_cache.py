"""An epoch with latents and texts from the cache, beside one that encodes each batch on the way.

``python -m tests.benchmarks.training_cache MODEL [--pictures 4] [--resolution 512]`` takes both in
turn, ours with its cache and diffusers' example script for the same method without one, and prints
the ratio of the script's time to ours over all pairs: above 1 is what the cache gains. The first
epoch, which fills the cache, is told with that time in it. ``tests.benchmarks.load`` writes a model
as large as Stable Diffusion 1.5.
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
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    with arranged(options, options.pictures) as training:
        begun = training.begun
        device = begun.components.device
        script = ExampleScript(begun, training.config)

        def ours() -> None:
            for _ in range(begun.dataset.batches()):
                begun.session.learn()

        def theirs() -> None:
            script.epoch(training.pictures, options.resolution)

        cached, encoding = in_turn(ours, theirs, options.pairs, device)
    filling = [(wall + begun.encoding[0], cpu + begun.encoding[1]) for wall, cpu in cached]
    report = {
        "method": options.method,
        "resolution": options.resolution,
        "pictures": options.pictures,
        "batch": options.batch,
        "dtype": training.config.precision,
        "machine": describe(device),
        "ours_s": seconds(cached),
        "script_s": seconds(encoding),
        "filling_the_cache_s": round(begun.encoding[0], 2),
        "script_to_ours": ratios(encoding, cached),
        "script_to_ours_first_epoch": ratios(encoding, filling),
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
