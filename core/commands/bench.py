"""``bench``: how fast this machine is, and where the time goes."""

from __future__ import annotations

import argparse
import json

from core import bench
from core.paths import Profile


def run(arguments: argparse.Namespace, profile: Profile) -> None:
    """Measure, and print what was measured.

    Raises:
        CoreError: The model or the device is not there.
    """
    result = bench.run(
        arguments.model, arguments.device, steps=arguments.steps, cache=profile.cache
    )
    print(json.dumps(bench.to_json(result)) if arguments.json else bench.format_report(result))
