"""What the loop adds to bare UNet calls, beside diffusers' pipeline, the UNet costing nothing.

    python -m tests.benchmarks.loop_overhead [--side 64] [--steps 20] [--pairs 15]

Both run in the same process in pairs, in turn; medians are printed, milliseconds a step. The
pipeline's fixed cost a call (text, first noise) is taken off by a run of one step.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from core.bench import run_loop
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.load import load
from core.request import SchedulerName, TextToImage
from core.sampling.noise import draw, generators_of
from core.sampling.schedulers import make_plan
from tests.conftest import write_tiny_model

NAMES = (
    SchedulerName.PNDM,
    SchedulerName.DDIM,
    SchedulerName.LMS,
    SchedulerName.EULER,
    SchedulerName.DPMPP_2M,
    SchedulerName.UNIPC,
)


def answer_input(sample: torch.Tensor, *others: Any, **options: Any) -> tuple[torch.Tensor]:
    """Stand in for a UNet's forward pass."""
    return (sample,)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=64, help="of the latents")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = write_tiny_model(Path(folder) / "tiny", "epsilon")
        components = load(
            identify(model),
            device=torch.device("cpu"),
            dtype=torch.float32,
            fingerprints=Fingerprints.kept_in(Path(folder)),
        )
        pipe = StableDiffusionPipeline.from_pretrained(model, safety_checker=None)
        pipe.set_progress_bar_config(disable=True)
        pipe.unet.forward = answer_input
        embedding = torch.zeros(1, 77, 16)
        latents = draw(generators_of([0]), (4, options.side, options.side))

        def theirs(name: SchedulerName, steps: int) -> float:
            plan = make_plan(name, components.scheduler_config, steps=1)
            pipe.scheduler = plan.scheduler
            begin = time.perf_counter()
            pipe(
                prompt_embeds=embedding,
                negative_prompt_embeds=embedding,
                num_inference_steps=steps,
                guidance_scale=7.5,
                latents=latents,
                output_type="latent",
            )
            return time.perf_counter() - begin

        def ours(name: SchedulerName, steps: int) -> float:
            request = TextToImage(prompts=("",), steps=steps, scheduler=name)
            begin = time.perf_counter()
            run_loop(components, request, latents)
            return time.perf_counter() - begin

        sys.stdout.write(f"{'scheduler':14}{'ours ms':>10}{'diffusers ms':>14}{'ratio':>8}\n")
        for name in NAMES:
            rows = []
            for _ in range(options.pairs):
                pair = [
                    (run(name, options.steps) - run(name, 1)) / (options.steps - 1) * 1000
                    for run in (ours, theirs)
                ]
                rows.append((*pair, pair[0] / pair[1]))
            mine, other, ratio = (statistics.median(column) for column in zip(*rows, strict=True))
            sys.stdout.write(f"{name:14}{mine:10.3f}{other:14.3f}{ratio:8.2f}\n")


if __name__ == "__main__":
    main()
