"""What a training step costs beside the forward pass, the way back and the optimiser alone.

Imports no torch by itself. Both take turns in one process, on the same model with the same adapters
and the same latents, so that a busy machine slows both; medians are compared. On one thread of the
CPU the processor's seconds are told, in which others' work on the machine does not count.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.models.catalog import card, resolve
from core.models.identify import identify
from core.paths import Profile
from core.request import DeviceName, Precision
from core.training.config import DreamBooth, LoraTraining, TrainConfig
from core.training.config_parts import DataSettings

if TYPE_CHECKING:
    import torch

    from core.models.components import Components
    from core.training.dataset import Dataset
    from core.training.session import Session

PICTURES = 8

Took = tuple[float, float]
"""Seconds by the wall's clock, and of the processor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingReport:
    """Medians of one run.

    Attributes:
        model: Its name.
        machine: What it ran on.
        batch: Pictures of a step.
        side: Of the pictures, in pixels.
        rounds: How often each was measured.
        step_ms: One step of a training with a LoRA, its latents and texts encoded.
        bare_ms: The forward pass, the way back and the optimiser alone.
        overhead: What the step takes more, as a share.
    """

    model: str
    machine: str
    batch: int
    side: int
    rounds: int
    step_ms: float
    bare_ms: float
    overhead: float


def run(
    model: str, device: DeviceName, *, rounds: int = 20, batch: int = 4, cache: Path | None = None
) -> TrainingReport:
    """Measure steps of a LoRA training.

    Args:
        model: Name or path of the model.
        device: Where to compute.
        rounds: How often.
        batch: Pictures of a step.
        cache: Folder in which hashes are remembered; None for the user's own.

    Raises:
        CoreError: The model or the device is not there, or the model cannot be taught.
    """
    import torch

    from core.device import describe, resolve_device

    where = resolve_device(device)
    side = min(card(model).width, card(model).height)
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder), side, PICTURES)
        config = LoraTraining(
            model=model,
            out=str(Path(folder) / "out"),
            data=DataSettings(folder=folder),
            batch_size=batch,
            steps=10 * rounds,
        )
        session = begin(config, where, cache or Profile.default().cache, Path(folder)).session
        took = in_turn(session.learn, _bare_step(session), rounds, where)
    clock = 1 if where.type == "cpu" and torch.get_num_threads() == 1 else 0
    ours, theirs = ([seconds[clock] for seconds in one] for one in took)
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    return TrainingReport(
        model=model,
        machine=describe(where),
        batch=batch,
        side=side,
        rounds=rounds,
        step_ms=statistics.median(ours) * 1000,
        bare_ms=statistics.median(theirs) * 1000,
        overhead=ratio - 1,
    )


def to_json(report: TrainingReport) -> dict[str, Any]:
    """Give the report as plain values."""
    return dataclasses.asdict(report)


def format_report(report: TrainingReport) -> str:
    """Give the report for a person."""
    return (
        f"{report.model}, LoRA, batch {report.batch} at {report.side} x {report.side}, on "
        f"{report.machine}; {report.rounds} rounds\n"
        f"a training step              {report.step_ms:8.1f} ms\n"
        f"forward, back and optimiser  {report.bare_ms:8.1f} ms\n"
        f"overhead                     {report.overhead:8.1%}"
    )


def write_pictures(folder: Path, side: int, count: int) -> None:
    """Write noise with captions."""
    import numpy as np
    from PIL import Image

    chance = np.random.default_rng(0)
    for number in range(count):
        pixels = chance.integers(0, 255, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"picture {number}")


@dataclass(frozen=True, slots=True)
class Begun:
    """A training before its first step, for measurements.

    Attributes:
        session: What learns.
        components: Its model.
        dataset: Its pictures.
        encoding: What it took to encode them and their captions for the cache.
    """

    session: Session
    components: Components
    dataset: Dataset
    encoding: Took


def begin(config: TrainConfig, device: torch.device, cache: Path, folder: Path) -> Begun:
    """Make a training ready for its first step.

    Where it preserves a class, the pictures of the thing stand for the class's: they cost the same.

    Args:
        config: What is trained.
        device: Where to compute.
        cache: Folder in which hashes are remembered.
        folder: Folder of what is encoded.
    """
    from core.device import dtype_of
    from core.models.fingerprint import Fingerprints
    from core.models.load import load
    from core.training.buckets import resolution_of
    from core.training.dataset import Dataset
    from core.training.loop import training_precision
    from core.training.pictures import scan
    from core.training.recipes.choice import recipe_of
    from core.training.session import Session, make_accelerator

    identity = identify(resolve(config.model))
    precision = training_precision(config.precision, device)
    recipe = recipe_of(config, identity.family)
    accelerator = make_accelerator(device, precision)
    components = load(
        identity,
        device=accelerator.device,
        dtype=dtype_of(Precision.FP32 if recipe.in_full else precision),
        fingerprints=Fingerprints.kept_in(cache),
    )
    examples = scan(config.data).examples
    dataset = Dataset(
        examples,
        config.data,
        components,
        cache=folder / "cache",
        seed=0,
        batch_size=config.batch_size,
        resolution=resolution_of(config.data, identity),
        prior=examples if isinstance(config, DreamBooth) and config.class_prompt else (),
    )
    encoding = timed(lambda: list(dataset.prepare()), device)
    session = Session(config, components, recipe, dataset, accelerator, None, 1.0)
    return Begun(session, components, dataset, encoding)


def in_turn(
    one: Callable[[], object], other: Callable[[], object], rounds: int, device: torch.device
) -> tuple[list[Took], list[Took]]:
    """Time two things in turn, after each was done once: what slows a machine slows both.

    Args:
        one: The first.
        other: The second.
        rounds: How often each is timed.
        device: Where they compute.
    """
    one()
    other()
    pairs = [(timed(one, device), timed(other, device)) for _ in range(rounds)]
    return [first for first, _ in pairs], [second for _, second in pairs]


def timed(work: Callable[[], object], device: torch.device) -> Took:
    """Tell what a call takes until the device is done with it."""
    import torch

    wall, processor = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - wall, time.process_time() - processor


def _bare_step(session: Session) -> Callable[[], None]:
    """Give the least that a step is: the same weights learn from the same batch, by torch alone."""
    import torch

    student = session.student
    inputs, target = session.example()
    weights = list(student.learned().values())
    optimiser = torch.optim.AdamW(weights, 1e-6, fused=True)

    def step() -> None:
        with session.autocast():
            prediction = student(*inputs)
        loss = torch.nn.functional.mse_loss(prediction.float(), target)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step
