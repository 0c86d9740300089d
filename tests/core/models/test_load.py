"""Folders as the world has them: what loads the same, and what is refused in one sentence."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import ModelInvalid
from core.models.components import Components
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.load import load
from tests.conftest import write_tiny_decoder

VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def loaded(folder: Path) -> Components:
    return load(
        identify(folder),
        device=torch.device("cpu"),
        dtype=torch.float32,
        fingerprints=Fingerprints.kept_in(folder.parent / "cache"),
    )


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rename(path: Path, new: Callable[[str], str], more: Mapping[str, torch.Tensor]) -> None:
    weights = {new(name): tensor.clone() for name, tensor in load_file(path).items()}
    save_file(weights | more, path, metadata={"format": "pt"})


def as_of_2022(model: Path) -> None:
    """Give the weights the names that the first Stable Diffusion files have."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def vae_name(name: str) -> str:
        for now, then in old.items():
            name = name.replace(f".{now}.", f".{then}.")
        return name

    rename(model / VAE, vae_name, {})
    positions = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    prefix = "text_model."
    rename(model / TEXT, lambda name: prefix + name.removeprefix(prefix), positions)


def as_fp16_variant(model: Path) -> None:
    for name in (VAE, TEXT, "unet/diffusion_pytorch_model.safetensors"):
        path = model / name
        path.rename(path.with_suffix(".fp16.safetensors"))


def as_pickles(model: Path) -> None:
    for name in (VAE, TEXT, "unet/diffusion_pytorch_model.safetensors"):
        path = model / name
        stem = path.stem.replace("model", "pytorch_model") if name == TEXT else path.stem
        torch.save(load_file(path), path.with_name(f"{stem}.bin"))
        path.unlink()


def without_length(model: Path) -> None:
    path = model / "tokenizer/tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["model_max_length"]
    path.write_text(json.dumps(settings))


@pytest.mark.parametrize(
    "change",
    [
        as_of_2022,
        as_fp16_variant,
        as_pickles,
        without_length,
        lambda m: edit(m / "tokenizer/tokenizer_config.json", model_max_length=512),
    ],
    ids=["2022", "fp16-variant", "pickles", "no-length", "longer-than-the-encoder"],
)
def test_the_same_model_in_another_form(
    copy: Path, tiny_model: Path, change: Callable[[Path], None]
) -> None:
    change(copy)
    ours, theirs = loaded(copy), loaded(tiny_model)
    assert ours.tokenizer.model_max_length == 77
    for one, other in (
        (ours.text_encoder, theirs.text_encoder),
        (ours.unet, theirs.unet),
        (ours.vae, theirs.vae),
    ):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (lambda m: edit(m / "text_encoder/config.json", intermediate_size=64), "has in another shape"),
    (lambda m: edit(m / "text_encoder/config.json", num_hidden_layers=3), "lacks"),
    (lambda m: edit(m / "text_encoder/config.json", hidden_act="none"), "cannot be loaded"),
    (lambda m: edit(m / "unet/config.json", norm_num_groups=3), "cannot be loaded"),
    (lambda m: edit(m / "vae/config.json", layers_per_block=2), "lacks"),
    (lambda m: (m / "tokenizer/vocab.json").write_text("{"), "tokenizer cannot be loaded"),
    (lambda m: (m / "tokenizer/merges.txt").write_text("a\nb c d\n"), "cannot be loaded"),
    (lambda m: edit(m / "tokenizer/vocab.json", **{"zebra</w>": 10**6}), "tokens beyond the"),
    (lambda m: shutil.copytree(m / "vae", m / "taesd"), "taesd.* (lacks|has in|cannot be loaded)"),
]


@pytest.mark.parametrize("number", range(len(DAMAGES)))
def test_parts_that_contradict_each_other_are_named(copy: Path, number: int) -> None:
    damage, words = DAMAGES[number]
    damage(copy)
    with pytest.raises(ModelInvalid, match=words) as caught:
        loaded(copy)
    assert str(copy) in str(caught.value)


def test_a_tiny_decoder_comes_with_its_own_scale(copy: Path) -> None:
    assert loaded(copy).tiny_vae is None
    write_tiny_decoder(copy / "taesd")
    assert loaded(copy).tiny_scaling_factor == 1.0
    edit(copy / "taesd/config.json", scaling_factor=0.5)
    assert loaded(copy).tiny_scaling_factor == 0.5


def test_python_looks_for_garbage_again_after_loading(copy: Path) -> None:
    loaded(copy)
    assert gc.isenabled()
    rename(copy / VAE, str, {"decoder.conv_in.bias": torch.full((8,), torch.nan)})
    with pytest.raises(ModelInvalid):
        loaded(copy)
    assert gc.isenabled()
