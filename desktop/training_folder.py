"""What a training has written into its folder, read back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from core.errors import DatasetInvalid, InvalidRequest
from core.training.config import TrainConfig
from core.training.folder import Folder
from desktop.loss_curve import LossCurve

_SAMPLE = re.compile(r"step-(\d+)-(\d+)\.png")
_FINAL = ("final", "final.safetensors")


@dataclass(frozen=True, slots=True)
class Shot:
    """A sample picture.

    Attributes:
        step: How many steps had been learned.
        prompt: Which of the prompts, from 0.
        path: Its file.
    """

    step: int
    prompt: int
    path: Path


@dataclass(frozen=True, slots=True)
class Usable:
    """What can be put to use of what has been learned.

    Attributes:
        path: A LoRA, an embedding or a model's folder.
        step: How many steps it has learned; 0 for what came out in the end.
    """

    path: Path
    step: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """A training as its folder tells it.

    Attributes:
        config: Its settings.
        curve: Its losses.
        shots: Its samples.
        step: Steps of its latest checkpoint.
        usable: What it made, or what the latest checkpoint has of it.
    """

    config: TrainConfig
    curve: LossCurve
    shots: tuple[Shot, ...]
    step: int
    usable: Usable | None


def read_training(root: Path) -> Record:
    """Read a training's folder.

    Raises:
        DatasetInvalid: If there is no training, or its settings cannot be read.
    """
    folder = Folder(root)
    if not folder.is_begun():
        raise DatasetInvalid(
            f"{root} holds no training; choose a folder with a {folder.config_file.name} in it."
        )
    try:
        config = folder.read_config()
    except InvalidRequest as error:
        raise DatasetInvalid(f"The training in {root} cannot be opened: {error.reason}") from error
    curve = LossCurve()
    for row in folder.read_log():
        if isinstance(row.get("loss"), int | float):
            curve.append(row["step"], float(row["loss"]))
    step = max(folder.steps(), default=0)
    usable = next((Usable(root / name) for name in _FINAL if (root / name).exists()), None)
    return Record(config, curve, shots_in(folder), step, usable or latest_usable(folder))


def latest_usable(folder: Folder) -> Usable | None:
    """Give what the latest checkpoint has that can be used."""
    step = max(folder.steps(), default=0)
    path = folder.usable(step) if step else None
    return None if path is None else Usable(path, step)


def shots_in(folder: Folder) -> tuple[Shot, ...]:
    """Give the samples whose files are there, by step and prompt."""
    found = ((_SAMPLE.fullmatch(path.name), path) for path in folder.samples.glob("*.png"))
    shots = [Shot(int(name[1]), int(name[2]), path) for name, path in found if name]
    return tuple(sorted(shots, key=lambda shot: (shot.step, shot.prompt)))
