"""Full fine-tuning: the model's own weights learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from core.models.components import Components
from core.models.writing.folder import write_folder
from core.models.writing.single_file import check_single_file, write_single_file
from core.request import TextToImage
from core.training.optimisers import Group
from core.training.recipe import Taught, put_in
from core.training.student import Student, freeze, unread


@dataclass(frozen=True, slots=True)
class FullRecipe:
    """Teaches the whole UNet; see ``core.training.recipe.Recipe``.

    Attributes:
        train_text: Whether text encoders learn too.
        rate: Learning rate of the UNet.
        text_rate: Learning rate of text encoders.
        single_file: Whether it is written as one file too.
    """

    train_text: bool
    rate: float
    text_rate: float
    single_file: bool = False

    file_name = "final"
    in_full = True

    def check(self, outline: Components) -> None:
        """Make sure that the model can be one file, if it is to be."""
        if self.single_file:
            check_single_file(outline)

    def attach(self, components: Components) -> Taught:
        """Let the UNet's weights learn, and the text encoders' if asked."""
        towers = [tower.encoder for tower in components.text_towers]
        freeze([components.unet, *towers])
        components.unet.requires_grad_(requires_grad=True)
        groups = [Group(list(components.unet.parameters()), self.rate)]
        if self.train_text:
            for tower in components.text_towers:
                skipped = unread(components, tower)
                learning = [
                    weights
                    for name, weights in tower.encoder.named_parameters()
                    if skipped is None or not skipped.search(name)
                ]
                for weights in learning:
                    weights.requires_grad = True
                groups.append(Group(learning, self.text_rate))
        return Taught(Student(components, learns_text=self.train_text), groups)

    def after_step(self, student: Student) -> None:
        """Weights may be anything."""

    def caption(self, text: str, seed: int) -> str:  # noqa: ARG002  # Others draw by it.
        """Give the caption as it is."""
        return text

    def use(self, request: TextToImage, path: Path) -> TextToImage:
        """Give the request of this model."""
        return dataclasses.replace(request, model=str(path))

    def write(
        self,
        path: Path,
        components: Components,
        learned: Mapping[str, Tensor],
        metadata: Mapping[str, str],
    ) -> None:
        """Write the whole model as a folder that diffusers reads."""
        with self._held(components, learned):
            write_folder(path, components, dtype=torch.float32, metadata=metadata)

    def write_others(
        self,
        folder: Path,
        components: Components,
        learned: Mapping[str, Tensor],
        metadata: Mapping[str, str],
    ) -> None:
        """Write it as one file, if asked."""
        if self.single_file:
            with self._held(components, learned):
                path = folder / "final.safetensors"
                write_single_file(path, components, dtype=torch.float32, metadata=metadata)

    @contextmanager
    def _held(self, components: Components, learned: Mapping[str, Tensor]) -> Iterator[None]:
        """Have the model's weights be these for a while."""
        student = Student(components, learns_text=self.train_text)
        now = {
            name: weights.data.clone()
            for name, weights in student.learned().items()
            if weights.data.data_ptr() != learned[name].data_ptr()
        }
        put_in(student, {name: learned[name] for name in now})
        try:
            yield
        finally:
            put_in(student, now)
