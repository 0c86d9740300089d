"""What the tests of training share: a folder of small pictures, and trainings of a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.training.config import (
    DreamBooth,
    Finetune,
    LoraTraining,
    Method,
    TextualInversion,
    TrainConfig,
)
from core.training.config_parts import AdapterSettings, DataSettings

COLOURS = {"red circle": (200, 30, 30), "blue square": (30, 30, 200), "red square": (220, 60, 40)}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three pictures of 64 x 64 with captions."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, (caption, colour) in enumerate(COLOURS.items()):
        pixels = np.zeros((64, 64, 3), np.uint8)
        pixels[:, :] = (250, 250, 240)
        pixels[16:48, 8 + 8 * number : 40 + 8 * number] = colour
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(caption)
    return folder


def training(method: Method, *, model: Path, data: Path, out: Path, **changes: Any) -> TrainConfig:
    """Give the settings of a training of six steps."""
    common: dict[str, Any] = {
        "model": str(model),
        "data": DataSettings(folder=str(data)),
        "out": str(out),
        "steps": 6,
        "batch_size": 2,
        "seed": 3,
        "save_every": 2,
    } | changes
    match method:
        case Method.LORA:
            return LoraTraining(**{"adapter": AdapterSettings(rank=2)} | common)
        case Method.TEXTUAL_INVERSION:
            return TextualInversion(**{"token": "<it>", "init_word": "circle"} | common)
        case Method.DREAMBOOTH:
            prompts = {"instance_prompt": "a sks circle", "class_prompt": "a circle"}
            return DreamBooth(**prompts | {"class_images": 2} | common)
        case Method.FINETUNE:
            return Finetune(**{"ema": 0.9} | common)
