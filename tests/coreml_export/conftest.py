"""Exports of tiny models, made once, and a part that converts in a second."""

from __future__ import annotations

import gc
import importlib.util
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from core.coreml_folder import Layout, Manifest
from core.paths import Profile
from coreml_export.events import ExportEvent
from coreml_export.export import export
from coreml_export.request import ExportRequest
from tests.conftest import write_tiny_control, write_tiny_model

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


KINDS: dict[str, dict[str, Any]] = {
    "sd1": {},
    "sd1-split": {"layout": Layout.SPLIT_EINSUM},
    "sd1-led": {"layout": Layout.SPLIT_EINSUM},
    "sd2": {"model": "tiny_sd2_model"},
    "sd2-split": {"model": "tiny_sd2_model", "layout": Layout.SPLIT_EINSUM},
    "sdxl": {"model": "tiny_xl_model"},
    "sdxl-split": {"model": "tiny_xl_model", "layout": Layout.SPLIT_EINSUM},
    "starter": {"model": "starter"},
    "starter-split": {"model": "starter", "layout": Layout.SPLIT_EINSUM},
}
"""What is exported for the tests: ``sd1`` has learned a LoRA and a word; ``sd1-led`` has a
ControlNet, a word and another VAE than its own."""


def of_kinds(*names: str) -> pytest.MarkDecorator:
    """Run a test on exports of these kinds; all but the first of ``KINDS`` are slow."""
    first = next(iter(KINDS))
    kinds = [
        name if name == first else pytest.param(name, marks=pytest.mark.slow) for name in names
    ]
    return pytest.mark.parametrize("done", kinds, indirect=True)


of_all_kinds = of_kinds(*KINDS)


@pytest.fixture(scope="session")
def tiny_sd2_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with what is SD2's own: linear projections, heads by level, another filling.

    Its UNet predicts the velocity, and its text encoder has GELUs.
    """
    import diffusers
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("models") / "tiny-sd2"
    write_tiny_model(folder, "v_prediction", seed=2)
    config = json.loads((folder / "unet" / "config.json").read_text())
    own = {"use_linear_projection": True, "attention_head_dim": [1, 2], "upcast_attention": True}
    text = transformers.CLIPTextConfig.from_pretrained(folder / "text_encoder", hidden_act="gelu")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        unet = diffusers.UNet2DConditionModel.from_config(config | own)
        text_encoder = transformers.CLIPTextModel(text)
    unet.save_pretrained(folder / "unet")
    text_encoder.save_pretrained(folder / "text_encoder")
    settings = folder / "tokenizer" / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"pad_token": "!"}))
    return folder


@pytest.fixture(scope="session")
def tiny_control(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ControlNet of the tiny model."""
    return write_tiny_control(tmp_path_factory.mktemp("control") / "canny-edges", tiny_model)


@pytest.fixture(scope="session")
def other_vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The VAE of another tiny model."""
    return write_tiny_model(tmp_path_factory.mktemp("other") / "tiny", "epsilon", seed=9) / "vae"


@pytest.fixture(scope="session")
def exports(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Done]:
    """Give what exports a kind of ``KINDS`` as the app does, each once."""
    if importlib.util.find_spec("coremltools") is None:
        pytest.skip("coremltools is not installed; there is none for this system")

    def learned(kind: str) -> dict[str, Any]:
        from core.request import EmbeddingUse, LoraUse

        if kind not in ("sd1", "sd1-led"):
            return {}
        lora, embedding = map(str, request.getfixturevalue("taught"))
        word = {"embeddings": (EmbeddingUse(path=embedding, token="wolf"),)}
        if kind == "sd1":
            return word | {"loras": (LoraUse(path=lora, weight=2.0),)}
        control, vae = map(request.getfixturevalue, ("tiny_control", "other_vae"))
        return word | {"controls": (str(control),), "vae": str(vae)}

    @cache
    def made(kind: str) -> Done:
        values = {"model": "tiny_model"} | KINDS[kind] | learned(kind)
        if values["model"] != "starter":
            values["model"] = str(request.getfixturevalue(values["model"]))
        place = tmp_path_factory.mktemp(kind)
        asked = ExportRequest(out=str(place / "out"), **values)
        profile = Profile(place / "profile")
        return Done(asked, profile, list(export(asked, profile)))

    return made


@pytest.fixture
def done(request: pytest.FixtureRequest, exports: Callable[[str], Done]) -> Done:
    """An export of the kind that the test names; see ``of_kinds``."""
    return exports(request.param)


@pytest.fixture(scope="session")
def exported(exports: Callable[[str], Done]) -> Done:
    """The tiny model, a LoRA and a word in it."""
    return exports("sd1")


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
