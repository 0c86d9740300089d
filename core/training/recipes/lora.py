"""LoRA (Hu et al. 2021, arXiv:2106.09685): the model stays, small matrices beside it learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from core.models.components import Components
from core.models.writing.lora import LoraPair, write_kohya, write_peft
from core.request import LoraUse, TextToImage
from core.training.config_parts import AdapterSettings
from core.training.optimisers import Group
from core.training.recipe import Taught
from core.training.recipes.adapters import add_adapters, check_adapters, pairs_of
from core.training.student import Student, freeze


@dataclass(frozen=True, slots=True)
class LoraRecipe:
    """Teaches adapters; see ``core.training.recipe.Recipe``.

    Attributes:
        adapter: Their kind and size.
        train_text: Whether text encoders get some too.
        rate: Learning rate of the UNet's.
        text_rate: Learning rate of the text encoders'.
    """

    adapter: AdapterSettings
    train_text: bool
    rate: float
    text_rate: float

    file_name = "final.safetensors"
    in_full = False

    def check(self, outline: Components) -> None:
        """Look for the layers that get adapters."""
        check_adapters(outline, self.adapter, text=self.train_text)

    def attach(self, components: Components) -> Taught:
        """Put adapters on a model whose own weights stay."""
        freeze([components.unet, *(tower.encoder for tower in components.text_towers)])
        added = add_adapters(components, self.adapter, text=self.train_text)
        groups = [
            Group(weights, self.rate if part == "unet" else self.text_rate)
            for part, weights in added.items()
        ]
        return Taught(Student(components, learns_text=self.train_text), groups)

    def after_step(self, student: Student) -> None:
        """Adapters may be anywhere."""

    def caption(self, text: str, seed: int) -> str:  # noqa: ARG002  # Others draw by it.
        """Give the caption as it is."""
        return text

    def use(self, request: TextToImage, path: Path) -> TextToImage:
        """Give the request with the LoRA."""
        return dataclasses.replace(request, loras=(LoraUse(path=str(path)),))

    def write(
        self,
        path: Path,
        components: Components,
        learned: Mapping[str, Tensor],
        metadata: Mapping[str, str],
    ) -> None:
        """Write the adapters as kohya's sd-scripts do, which every program reads."""
        write_kohya(
            path,
            _pairs(components, learned),
            family=components.identity.family,
            unet_config=components.identity.configs["unet"],
            metadata=metadata,
        )

    def write_others(
        self,
        folder: Path,
        components: Components,
        learned: Mapping[str, Tensor],
        metadata: Mapping[str, str],
    ) -> None:
        """Write them as diffusers does."""
        path = folder / "diffusers" / "pytorch_lora_weights.safetensors"
        write_peft(path, _pairs(components, learned), metadata=metadata)


def _pairs(components: Components, learned: Mapping[str, Tensor]) -> dict[str, dict[str, LoraPair]]:
    parts = {"unet": ("unet.", components.unet)}
    for tower in components.text_towers:
        parts[tower.name] = (f"towers.{tower.name}.", tower.encoder)
    weights = {
        name: pairs_of(part, _below(learned, prefix)) for name, (prefix, part) in parts.items()
    }
    return {name: pairs for name, pairs in weights.items() if pairs}


def _below(values: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix)
    }
