"""What tells the methods of training apart; everything else they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from core.models.components import Components
from core.request import TextToImage
from core.training.optimisers import Group
from core.training.student import Student


@dataclass(frozen=True, slots=True)
class Taught:
    """A model made ready to learn.

    Attributes:
        student: The model.
        groups: What of it learns, and how fast.
    """

    student: Student
    groups: Sequence[Group]


class Recipe(Protocol):
    """A method of training."""

    @property
    def file_name(self) -> str:
        """Name of what it makes: ``final.safetensors``, or ``final`` for a folder."""

    @property
    def in_full(self) -> bool:
        """Whether the model's own weights learn, which half precision is too coarse for."""

    def check(self, outline: Components) -> None:
        """Look at a model before its weights are read: what fails then would fail after hours.

        Args:
            outline: The model, without weights.

        Raises:
            CoreError: If this model cannot be taught like this.
        """

    def attach(self, components: Components) -> Taught:
        """Make a model ready to learn; what it adds begins by the global seed.

        Raises:
            CoreError: If this model cannot be taught like this.
        """

    def after_step(self, student: Student) -> None:
        """Hold what has learned to where it may be."""

    def caption(self, text: str, seed: int) -> str:
        """Give a showing's caption, of what the data set says."""

    def use(self, request: TextToImage, path: Path) -> TextToImage:
        """Give a request that uses what was made, of one that does not."""

    def write(
        self,
        path: Path,
        components: Components,
        learned: Mapping[str, Tensor],
        metadata: Mapping[str, str],
    ) -> None:
        """Write what was learned, whole or not at all, in the form that most programs read.

        Args:
            path: The file, or the folder, that is not there yet or is replaced.
            components: The model, as ``attach`` left it.
            learned: The weights to write, by the names of ``Student.learned``.
            metadata: How they came to be.

        Raises:
            SaveFailed: If the file system refuses.
        """

    def write_others(
        self,
        folder: Path,
        components: Components,
        learned: Mapping[str, Tensor],
        metadata: Mapping[str, str],
    ) -> None:
        """Write the same in the other forms that are of use; see ``write``."""


def put_in(student: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Copy values into the weights of these names."""
    weights = dict(student.named_parameters())
    for name, value in values.items():
        weights[name].data.copy_(value)
