"""How fast a Mac denoises with an exported model, on each of its processors.

``python -m tests.benchmarks.coreml FOLDER`` makes a picture for each choice of compute units, once
to have the parts compiled and then ``--repeat`` times, and prints the steps per second that the
UNet does, what the first and the second loading took, and what Apple has published for models of
the family, or for others if there is nothing on it
(https://github.com/apple/ml-stable-diffusion#performance-benchmarks); those figures are of another
model than this one, and of other machines. ``--units`` chooses among them.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from core.compute_units import ComputeUnits
from core.engine import TorchEngine
from core.events import ImageReady, PreviewSettings, Step
from core.models.catalog import card, resolve
from core.models.exported_limits import refusal_here
from core.models.identify import identify
from core.request import DeviceName, PreviewDecoder, TextToImage

STEPS = 20
PUBLISHED = {
    "sd2": (
        "SD 2.1 base, 512 x 512, 6 bits, split-einsum, cpu-ane (August 2023)",
        {"iPhone 14 Pro Max": 2.69, "iPad Pro M1": 2.19, "iPad Pro M2": 3.07},
    ),
    "sdxl": (
        "SDXL base, 1024 x 1024, fp16, original, cpu-gpu (July 2023)",
        {"M1 Max": 0.46, "M2 Max": 0.57, "M1 Ultra": 0.89, "M2 Ultra": 1.11},
    ),
}
"""Iterations per second, each of which is a step with guidance."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured on some units.

    Attributes:
        loading: Seconds of the first loading, in which Core ML compiles.
        loading_again: Seconds of a later one.
        speed: Steps per second, the median of the runs.
    """

    loading: float
    loading_again: float
    speed: float


def measure(request: TextToImage, cache: Path, *, repeat: int) -> Measured:
    """Make a request's picture again and again.

    Args:
        request: What to make.
        cache: Where what is compiled is kept; empty, for the first loading to be one.
        repeat: How often.
    """
    loading, _ = timed(TorchEngine(DeviceName.AUTO, cache=cache), request)
    engine = TorchEngine(DeviceName.AUTO, cache=cache)
    again, _ = timed(engine, request)
    speeds = [timed(engine, request)[1] for _ in range(repeat)]
    return Measured(loading, again, statistics.median(speeds))


def timed(engine: TorchEngine, request: TextToImage) -> tuple[float, float]:
    """Make a picture.

    Returns:
        Seconds until its first step began, and steps per second after the first.
    """
    begin = time.perf_counter()
    first = last = math.nan
    steps = 0
    loading = math.nan
    for event in engine.generate(request, preview=PreviewSettings(decoder=PreviewDecoder.OFF)):
        if isinstance(event, Step):
            now = time.perf_counter()
            if event.index == 1:
                first, loading = now, now - begin - event.seconds
            last, steps = now, event.index - 1
        elif isinstance(event, ImageReady) and event.request.model != request.model:
            sys.exit(f"The model does not start on {request.compute_units}; generate tells why.")
    return loading, steps / (last - first)


def say(line: str) -> None:
    """Print a line at once; the next one takes minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder of an exported model, or its name in the library")
    every = list(ComputeUnits)
    parser.add_argument("--units", nargs="+", default=every, choices=every)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    identity = identify(resolve(arguments.model))
    if identity.exported is None:
        sys.exit(f"{arguments.model} is no exported model.")
    if refusal := refusal_here(identity.exported):
        sys.exit(refusal)
    model = card(arguments.model)
    width, height = model.sizes[0]
    for units in arguments.units:
        request = TextToImage(
            model=arguments.model,
            prompts=("a lighthouse on a cliff, oil painting",),
            steps=STEPS,
            guidance_scale=max(model.guidance_scale, 2.0),
            scheduler=model.scheduler,
            width=width,
            height=height,
            compute_units=units,
        )
        with TemporaryDirectory() as cache:
            found = measure(request, Path(cache), repeat=arguments.repeat)
        say(
            f"{units:8} {found.speed:6.2f} steps/s, loaded in {found.loading:.1f} s at first and "
            f"{found.loading_again:.1f} s again"
        )
    of_family = PUBLISHED.get(identity.family.value)
    for what, figures in PUBLISHED.values() if of_family is None else [of_family]:
        say(f"Apple, {what}:")
        say(", ".join(f"{machine} {speed:.2f}" for machine, speed in figures.items()))


if __name__ == "__main__":
    main()
