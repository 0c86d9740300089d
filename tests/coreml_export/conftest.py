"""Exports of tiny models, made once, and a part that converts in a second."""

from __future__ import annotations

import gc
import importlib.util
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.coreml_folder import Manifest
from core.paths import Profile
from coreml_export.events import ExportEvent
from coreml_export.export import export
from coreml_export.request import ExportRequest

needs_coremltools = pytest.mark.skipif(
    importlib.util.find_spec("coremltools") is None,
    reason="coremltools is not installed; there is none for this system",
)


@dataclass(frozen=True)
class Done:
    """An export that was made."""

    request: ExportRequest
    profile: Profile
    events: list[ExportEvent]

    @property
    def folder(self) -> Path:
        return Path(self.request.out)

    @property
    def manifest(self) -> Manifest:
        return Manifest.read(self.folder)


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A LoRA of the tiny model's UNet and text encoder, and an embedding of two vectors."""
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("taught")
    numbers = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=numbers)

    query = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    text = "lora_te_text_model_encoder_layers_0_self_attn_v_proj"
    tensors = {
        f"{query}.lora_down.weight": random(4, 16),
        f"{query}.lora_up.weight": random(8, 4),
        f"{text}.lora_down.weight": random(4, 16),
        f"{text}.lora_up.weight": random(16, 4),
    }
    save_file(tensors, folder / "fox.safetensors")
    save_file({"emb_params": random(2, 16)}, folder / "wolf.safetensors")
    return folder / "fox.safetensors", folder / "wolf.safetensors"


@pytest.fixture(scope="session")
def exported(
    tiny_model: Path, taught: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Done:
    """The tiny model, a LoRA and a word in it, as the app exports it."""
    from core.request import EmbeddingUse, LoraUse

    if importlib.util.find_spec("coremltools") is None:
        pytest.skip("coremltools is not installed; there is none for this system")
    place = tmp_path_factory.mktemp("exported")
    lora, embedding = map(str, taught)
    request = ExportRequest(
        model=str(tiny_model),
        out=str(place / "out"),
        loras=(LoraUse(path=lora, weight=2.0),),
        embeddings=(EmbeddingUse(path=embedding, token="wolf"),),
    )
    profile = Profile(place / "profile")
    return Done(request, profile, list(export(request, profile)))


@pytest.fixture
def copied(exported: Done, tmp_path: Path) -> Callable[..., Done]:
    """Give what copies the export, for tests that change it."""
    from dataclasses import replace

    def copy(**changes: Any) -> Done:
        shutil.copytree(exported.folder, tmp_path / "out")
        request = replace(exported.request, out=str(tmp_path / "out"), **changes)
        return Done(request, exported.profile, [])

    return copy


@pytest.fixture
def collected() -> Iterator[None]:
    """Let coremltools' models go before the test ends, whose folders Python warns of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Implicitly cleaning up", ResourceWarning)
        yield
        gc.collect()
