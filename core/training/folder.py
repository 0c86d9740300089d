"""The folder that a training fills. Imports no torch."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import DatasetInvalid, InvalidRequest, SaveFailed
from core.files import replace_file, save_failed
from core.paths import exists
from core.training.config import TrainConfig, from_json, leaves, to_json

_STEP = re.compile(r"step-(\d{8})")


@dataclass(frozen=True, slots=True)
class Folder:
    """Where everything of one training lies.

    Attributes:
        root: ``OUT``.
    """

    root: Path

    @property
    def config_file(self) -> Path:
        """What is trained, JSON."""
        return self.root / "config.json"

    @property
    def material_file(self) -> Path:
        """What it learned from when it began, JSON; see ``core.training.material``."""
        return self.root / "material.json"

    @property
    def log_file(self) -> Path:
        """One JSON object a step."""
        return self.root / "log.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints, each a folder of its own."""
        return self.root / "checkpoints"

    @property
    def samples(self) -> Path:
        """The folder of the pictures that show what has been learned."""
        return self.root / "samples"

    def checkpoint(self, step: int) -> Path:
        """Give the folder of the checkpoint after so many steps."""
        return self.checkpoints / f"step-{step:08d}"

    def sample(self, step: int, prompt: int) -> Path:
        """Give the file of a sample."""
        return self.samples / f"step-{step:08d}-{prompt}.png"

    def usable_name(self, made: str) -> str:
        """Name what a checkpoint holds for use, of the name of what is made in the end."""
        return "usable" + Path(made).suffix

    def usable(self, step: int) -> Path | None:
        """Give what of a checkpoint can be used for pictures; None where it holds no such thing."""
        found = self.checkpoint(step).glob("usable*")
        return next(iter(sorted(found)), None)

    @property
    def unchecked(self) -> Path:
        """The folder in which what was learned waits to be looked at."""
        return self.root / ".unchecked"

    def take_over(self) -> None:
        """Give what was looked at its place, over what an earlier end of the training left there.

        Raises:
            SaveFailed: If the file system refuses.
        """
        try:
            for made in sorted(self.unchecked.iterdir()):
                place = self.root / made.name
                if place.is_dir():
                    shutil.rmtree(place)
                made.replace(place)
            self.unchecked.rmdir()
        except OSError as error:
            raise save_failed(self.root, error) from error

    def steps(self) -> tuple[int, ...]:
        """Give the steps of the checkpoints there are, from the first on.

        One that was being written when the process was killed has another name.
        """
        if not self.checkpoints.is_dir():
            return ()
        names = (_STEP.fullmatch(path.name) for path in self.checkpoints.iterdir())
        return tuple(sorted(int(found[1]) for found in names if found))

    def is_begun(self) -> bool:
        """Whether a training has been here."""
        return exists(self.config_file)

    def read_config(self) -> TrainConfig:
        """Read what is trained here.

        Raises:
            InvalidRequest: If nothing is, or the file is damaged.
        """
        try:
            values = json.loads(self.config_file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InvalidRequest(
                "resume",
                f"{self.root} holds no training to go on with; put back what was moved or deleted, "
                "or start anew.",
            ) from error
        except (OSError, ValueError, RecursionError) as error:
            raise InvalidRequest(
                "resume", f"{self.config_file} cannot be read ({error}); start a new training."
            ) from error
        return from_json(values)

    def write_config(self, config: TrainConfig) -> None:
        """Keep what is trained.

        Raises:
            SaveFailed: If the file system refuses.
        """
        replace_file(self.config_file, json.dumps(to_json(config), indent=2).encode())

    def read_log(self) -> list[dict[str, Any]]:
        """Read the steps that were logged; a line cut off by a kill is left out."""
        try:
            lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        rows = []
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                rows.append(row)
        return rows

    def cut_log(self, step: int) -> None:
        """Forget what was logged of later steps, which will be done again.

        Raises:
            SaveFailed: If the file system refuses.
        """
        rows = [row for row in self.read_log() if row["step"] <= step]
        replace_file(self.log_file, "".join(json.dumps(row) + "\n" for row in rows).encode())

    def log(self, row: dict[str, Any]) -> None:
        """Add a step to the log.

        Raises:
            SaveFailed: If the file system refuses.
        """
        try:
            with self.log_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except FileNotFoundError as error:
            raise SaveFailed(
                f"{self.root} was moved or deleted while it was filled; put it back and resume, or "
                "start anew."
            ) from error
        except OSError as error:
            raise save_failed(self.root, error) from error

    def keep_checkpoints(self, steps: Iterable[int]) -> None:
        """Delete all checkpoints but those after these steps.

        Raises:
            SaveFailed: If the file system refuses.
        """
        kept = {self.checkpoint(step).name for step in steps}
        try:
            for path in self.checkpoints.iterdir():
                if path.is_dir() and path.name not in kept:
                    shutil.rmtree(path)
        except OSError as error:
            raise SaveFailed(
                f"{error.filename or self.checkpoints} cannot be deleted "
                f"({error.strerror or error}); delete it yourself and resume."
            ) from error


def check_begins(folder: Folder, config: TrainConfig, *, resume: bool) -> None:
    """Refuse to mix two trainings in one folder.

    Args:
        folder: Where the training is to lie.
        config: What is to be trained.
        resume: Whether to go on with what is there.

    Raises:
        InvalidRequest: If there is another training, or none to go on with.
        DatasetInvalid: If the folder of pictures is the folder of the training.
    """
    if Path(config.data.folder).resolve() == folder.root.resolve():
        raise DatasetInvalid(
            f"{folder.root} holds the pictures; choose another folder for what is learned."
        )
    if not resume and folder.steps():
        raise InvalidRequest(
            "out",
            f"{folder.root} holds a training that came to step {folder.steps()[-1]}; resume it, or "
            "choose another folder.",
        )
    if resume and folder.steps() and config.steps < folder.steps()[-1]:
        raise InvalidRequest(
            "steps",
            f"the training in {folder.root} has come to step {folder.steps()[-1]}; give at least "
            "that.",
        )
    if resume and (changed := _changed(to_json(folder.read_config()), to_json(config))):
        raise InvalidRequest(
            changed[0],
            f"is not as when the training in {folder.root} began; leave it as it was, or start "
            "a new one in another folder.",
        )


MAY_CHANGE = (
    "out",
    "steps",
    "samples",
    "save_every",
    "keep",
    "precision",
    "gradient_checkpointing",
    "optimiser.learning_rate",
    "optimiser.text_learning_rate",
)
"""What a training that goes on may have otherwise than when it began, with all that is within: how
long and how fast it learns, what it shows, and by which arithmetic."""


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Name the settings that are not as they were and must be, parted by dots."""
    old, new = dict(leaves(before)), dict(leaves(now))
    may_change = tuple(f"{one}." for one in MAY_CHANGE)
    return sorted(
        name
        for name in old.keys() | new.keys()
        if old.get(name) != new.get(name) and not f"{name}.".startswith(may_change)
    )
