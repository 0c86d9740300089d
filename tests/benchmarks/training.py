"""What the benchmarks of trainings share: their options, a training to measure, and ratios."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.bench_training import Begun, Took, begin, write_pictures
from core.device import resolve_device
from core.errors import CoreError
from core.paths import Profile
from core.request import DeviceName, Precision
from core.training.config import Method, TrainConfig, from_json
from core.training.config_parts import Targets
from core.training.loop import training_precision

_OWN: Mapping[Method, Mapping[str, Any]] = {
    Method.LORA: {},
    Method.TEXTUAL_INVERSION: {"token": "sks", "init_word": "a"},
    Method.DREAMBOOTH: {"instance_prompt": "a sks star", "class_prompt": "a star"},
    Method.FINETUNE: {},
}
"""What each method is measured with, beside what all have."""


@dataclass(frozen=True, slots=True)
class Arranged:
    """A training to measure.

    Attributes:
        config: Its settings, with the number format that ``auto`` became.
        pictures: The files that it learns from.
        begun: The training.
    """

    config: TrainConfig
    pictures: Sequence[Path]
    begun: Begun


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """Make a parser of the options that say which training is measured."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("model", help="a name or a path")
    parser.add_argument("--method", type=Method, choices=list(Method), default=Method.LORA)
    parser.add_argument("--resolution", type=int, default=512, metavar="PIXELS")
    parser.add_argument("--batch", type=int, default=1)
    # The width and the layers that diffusers' script gives its adapters by default.
    parser.add_argument("--rank", type=int, default=4, help="of a LoRA")
    parser.add_argument("--targets", type=Targets, choices=list(Targets), default=Targets.ATTENTION)
    parser.add_argument("--dtype", type=Precision, choices=list(Precision), default=Precision.AUTO)
    parser.add_argument("--device", type=DeviceName, choices=list(DeviceName), default="auto")
    parser.add_argument("--checkpointing", action="store_true", help="keep fewer activations")
    return parser


@contextmanager
def arranged(options: argparse.Namespace, count: int) -> Iterator[Arranged]:
    """Arrange the training that ``parser_of`` asked for, on so many pictures of noise.

    Raises:
        SystemExit: If it cannot be.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder, options.resolution, count)
        try:
            device = resolve_device(options.device)
            config = config_of(options, folder)
            begun = begin(config, device, Profile.default().cache, folder)
        except CoreError as error:
            sys.exit(str(error))
        resolved = replace(config, precision=training_precision(config.precision, device))
        yield Arranged(resolved, sorted(folder.glob("*.png")), begun)


def config_of(options: argparse.Namespace, folder: Path) -> TrainConfig:
    """Give the settings that ``parser_of`` asked for, on the pictures of a folder."""
    own = dict(_OWN[options.method])
    if options.method is Method.LORA:
        own["adapter"] = {"rank": options.rank, "targets": options.targets}
    return from_json(
        {
            "method": options.method,
            "model": options.model,
            "out": str(folder / "out"),
            "data": {"folder": str(folder), "resolution": options.resolution},
            "batch_size": options.batch,
            "precision": options.dtype,
            "gradient_checkpointing": options.checkpointing,
            # What learns from noise is to stay near what it was.
            "optimiser": {"learning_rate": 1e-6},
            **own,
        }
    )


def ratios(one: Sequence[Took], other: Sequence[Took]) -> dict[str, dict[str, float]]:
    """Hold each of some measurements against its neighbour, by both clocks."""
    both = list(zip(one, other, strict=True))
    return {
        name: _spread([mine[clock] / its[clock] for mine, its in both])
        for clock, name in enumerate(("wall", "processor"))
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    found = {"median": statistics.median(values), "least": min(values), "most": max(values)}
    return {name: round(value, 3) for name, value in found.items()}


def seconds(took: Sequence[Took]) -> float:
    """Give the middle of what each took by the wall's clock."""
    return round(statistics.median(wall for wall, _ in took), 2)
