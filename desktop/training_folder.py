"""What a training has written into its folder, read back."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

from core.errors import DatasetInvalid, InvalidRequest, ModelInvalid
from core.events import Trained
from core.training.config import TrainConfig
from core.training.folder import Folder
from core.training.seal import is_sound, verdict_of
from desktop.loss_curve import LossCurve
from desktop.training_diary import Ended, read_diary

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
        made: What came out, with the verdict on it; None if it has more to learn, or if nobody has
            looked at it.
        is_over: Whether it has come to its last step and made something.
        lines: What the window has told of it, oldest first.
        ended: How it ended before that, if the window saw it end.
    """

    config: TrainConfig
    curve: LossCurve
    shots: tuple[Shot, ...]
    step: int
    usable: Usable | None
    made: Trained | None
    is_over: bool
    lines: tuple[str, ...]
    ended: Ended | None


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
        # It may have been moved since.
        config = dataclasses.replace(folder.read_config(), out=str(root))
    except InvalidRequest as error:
        raise DatasetInvalid(f"The training in {root} cannot be opened: {error.reason}") from error
    curve = LossCurve()
    for row in folder.read_log():
        if isinstance(row.get("loss"), int | float):
            curve.append(row["step"], float(row["loss"]))
    step = max(folder.steps(), default=0)
    final = next((root / name for name in _FINAL if (root / name).exists()), None)
    # Where it has learned on since, what it made before is not what it is learning now.
    is_over = final is not None and (not step or step >= config.steps)
    usable = None if is_over else latest_usable(folder)
    if usable is None and final is not None:
        usable = Usable(final)
    lines, ended = read_diary(root)
    return Record(
        config=config,
        curve=curve,
        shots=shots_in(folder),
        step=step,
        usable=usable,
        made=_judged(final, config.steps) if is_over and final is not None else None,
        is_over=is_over,
        lines=lines,
        # One that was gone on with elsewhere has ended otherwise.
        ended=ended if ended is not None and ended.saved == step else None,
    )


def _judged(made: Path, steps: int) -> Trained | None:
    """Give what was made with the verdict that was written into it."""
    try:
        verdict = verdict_of(made)
        sound = is_sound(verdict)
    except ModelInvalid as error:
        verdict, sound = str(error), False
    if not verdict:
        return None
    return Trained(path=made, is_sound=sound, verdict=verdict, steps=steps, seconds=0.0)


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
