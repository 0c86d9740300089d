"""Tensors of a LoRA that make no sense end in one sentence, whatever their shapes are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from core.errors import ModelInvalid
from core.models.lora_file import read_lora
from core.models.lora_updates import make_update

STEM = "unet.mid_block.attentions.0.proj_in"
PAIR = {"lora_A.weight": torch.ones(2, 4), "lora_B.weight": torch.ones(4, 2)}
LOHA = {
    "hada_w1_a": torch.ones(2, 4),
    "hada_w1_b": torch.ones(2, 3),
    "hada_w2_a": torch.ones(4, 2),
    "hada_w2_b": torch.ones(2, 27),
    "hada_t1": torch.ones(2, 2, 3, 3),
}


def saved(path: Path, tensors: dict[str, Tensor], settings: str = "") -> Path:
    named = {f"{STEM}.{name}": tensor for name, tensor in tensors.items()}
    metadata = {"lora_adapter_metadata": settings} if settings else None
    save_file(named, path / "a.safetensors", metadata)
    return path / "a.safetensors"


@pytest.mark.parametrize(
    "tensors",
    [
        PAIR | {"alpha": torch.ones(2)},
        PAIR | {"alpha": torch.ones(0)},
        PAIR | {"dora_scale": torch.tensor(1.0)},
        {"diff": torch.tensor(1.0)},
        {"diff": torch.ones(0)},
        {"diff": torch.ones(4, 0)},
        {"lora_A.weight": torch.ones(2, 4), "lora_B.weight": torch.ones(0, 2)},
        {"lokr_w1": torch.ones(0, 2), "lokr_w2": torch.ones(2, 2)},
        {"lokr_w1": torch.tensor(1.0), "lokr_w2": torch.ones(2, 2)},
        LOHA,
    ],
)
def test_shapes_that_fit_nothing(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    file = read_lora(saved(tmp_path, tensors))
    with pytest.raises(ModelInvalid, match="do not fit each other"):
        make_update(file, STEM)


@pytest.mark.parametrize(
    "settings",
    [
        {"unet.alpha_pattern": {"(": 1}},
        {"unet.alpha_pattern": {"(?i)to_k": 1}},
        {"unet.alpha_pattern": {"to_k": "x"}},
        {"unet.alpha_pattern": ["a"]},
        {"unet.lora_alpha": float("inf")},
        {"unet.lora_alpha": 10**400},
        ["unet.lora_alpha"],
    ],
)
def test_scales_that_make_no_sense(tmp_path: Path, settings: Any) -> None:
    path = saved(tmp_path, PAIR, json.dumps(settings))
    with pytest.raises(ModelInvalid, match="says of its own scale cannot be read"):
        read_lora(path)


def test_a_scale_that_does_is_taken(tmp_path: Path) -> None:
    settings = {"unet.lora_alpha": 6, "unet.alpha_pattern": {"proj_.*": 9}}
    update = make_update(read_lora(saved(tmp_path, PAIR, json.dumps(settings))), STEM)
    assert getattr(update, "scale", None) == 4.5
