"""Exports of tiny models, made once, and a part that converts in a second."""

from __future__ import annotations

import gc
import importlib.util
import json
import pickle
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from core.coreml_folder import SUFFIXES, Layout, Manifest
from core.models import catalog
from core.paths import Profile
from coreml_export.events import ExportEvent
from coreml_export.export import export
from coreml_export.folder import ExportFolder
from coreml_export.request import ExportRequest
from tests.conftest import Make, write_tiny_control, write_tiny_model

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
def taught(made_once: Callable[[str, Make], Path]) -> tuple[Path, Path]:
    """A LoRA of the tiny model's UNet and text encoder, and an embedding of two vectors."""
    folder = made_once("taught", write_taught)
    return folder / "fox.safetensors", folder / "wolf.safetensors"


def write_taught(folder: Path) -> None:
    """Save a LoRA, ``fox``, and an embedding, ``wolf``."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
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
def tiny_sd2_model(made_once: Callable[[str, Make], Path]) -> Path:
    """A folder with what is SD2's own, see ``write_tiny_sd2_model``."""
    return made_once("tiny-sd2", write_tiny_sd2_model)


def write_tiny_sd2_model(folder: Path) -> None:
    """Save the tiny model with SD2's linear projections, heads by level and another filling.

    Its UNet predicts the velocity, and its text encoder has GELUs.
    """
    import diffusers
    import torch
    import transformers

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


@pytest.fixture(scope="session")
def tiny_control(tiny_model: Path, made_once: Callable[[str, Make], Path]) -> Path:
    """A ControlNet of the tiny model."""
    return made_once("canny-edges", lambda folder: write_tiny_control(folder, tiny_model))


@pytest.fixture(scope="session")
def other_vae(made_once: Callable[[str, Make], Path]) -> Path:
    """The VAE of another tiny model."""
    return made_once("other", lambda folder: write_tiny_model(folder, "epsilon", seed=9)) / "vae"


@pytest.fixture(scope="session")
def exports(
    request: pytest.FixtureRequest, made_once: Callable[[str, Make], Path]
) -> Callable[[str], Done]:
    """Give what exports a kind of ``KINDS`` as the app does, each once in a run."""
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

        def make(place: Path) -> None:
            events = list(export(*asked(place)))
            (place / "events").write_bytes(pickle.dumps(events))

        def asked(place: Path) -> tuple[ExportRequest, Profile]:
            return ExportRequest(out=str(place / "out"), **values), Profile(place / "profile")

        place = made_once(f"export-{kind}", make)
        return Done(*asked(place), pickle.loads((place / "events").read_bytes()))

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
def export_here(
    collected: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[[ExportRequest, Profile], list[Any]]:
    """Give what exports in this process, where another would import everything anew."""
    if importlib.util.find_spec("coremltools") is None:
        pytest.skip("coremltools is not installed; there is none for this system")
    from coreml_export import work

    # What the export's own process changes for itself is put back here.
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(catalog, "_shelf", None)

    def exported(request: ExportRequest, profile: Profile) -> list[Any]:
        with ExportFolder(Path(request.out), SUFFIXES[request.format]).alone(
            profile.root / "locks"
        ):
            return list(work.export_here(profile, request))

    return exported


@pytest.fixture
def collected() -> Iterator[None]:
    """Let coremltools' models go before the test ends, whose folders Python warns of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Implicitly cleaning up", ResourceWarning)
        yield
        gc.collect()
