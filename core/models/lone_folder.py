"""What a folder is that holds one component and no whole model. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core.errors import Unsupported
from core.models.folder_files import read_json, weight_files
from core.models.recognise import Recognised, recognise
from core.models.safetensors_header import Header, TensorInfo
from core.models.tensor_list import read_tensors

ADAPTER_FILES = (
    "pytorch_lora_weights.safetensors",
    "learned_embeds.safetensors",
    "adapter_model.safetensors",
)
"""What diffusers calls a LoRA and an embedding that lie in a folder of their own, and peft a LoRA.
"""

ADAPTER_CONFIG = "adapter_config.json"
"""Where peft writes a LoRA's scale, beside its file."""

_WEIGHTS = "diffusion_pytorch_model"
CAPTIONER = "BlipForConditionalGeneration"
"""The class of BLIP's models that write captions, by transformers' name."""

_WEIGHTS_OF_TRANSFORMERS = "model"


def adapter_file(folder: Path) -> Path | None:
    """Give the file of a LoRA or an embedding in a folder of its own, or None."""
    return next((folder / name for name in ADAPTER_FILES if (folder / name).is_file()), None)


def class_of(config: Mapping[str, Any]) -> object:
    """Give the class that a ``config.json`` is of, as diffusers or transformers writes it."""
    names = config.get("architectures")
    return config.get("_class_name") or (names[0] if isinstance(names, list) and names else None)


def recognise_component(folder: Path) -> tuple[Recognised, tuple[Path, ...]]:
    """Say what a folder with a ``config.json`` is, and give its weight files.

    Raises:
        ModelInvalid: If a file is missing or damaged.
        Unsupported: If it is of a kind that is not used by itself; it is named.
        UnsafeFile: If its weights are pickles that ask for more than tensors.
    """
    config = read_json(folder / "config.json")
    cls = class_of(config)
    if cls == CAPTIONER:
        files = weight_files(folder, _WEIGHTS_OF_TRANSFORMERS)
        _tensors_of(files)
        return Recognised("captioner", "blip", "BLIP captioner"), files
    if cls not in ("AutoencoderKL", "ControlNetModel"):
        what = "of an unknown kind" if cls is None else f"a {cls}"
        raise Unsupported(
            f"{folder} is {what} and no whole model; give the folder with model_index.json."
        )
    files = weight_files(folder, _WEIGHTS)
    found = recognise(folder, Header(_tensors_of(files), {}))
    if found.kind == "vae" and (scaling := config.get("scaling_factor")) is not None:
        family = "sdxl" if abs(float(scaling) - 0.13025) < 1e-6 else "sd1"
        found = Recognised("vae", family, "VAE for SDXL" if family == "sdxl" else "VAE")
    return found, files


def _tensors_of(files: Iterable[Path]) -> dict[str, TensorInfo]:
    """Read the headers of weight files.

    Raises:
        ModelInvalid: If one is damaged.
        UnsafeFile: If one is a pickle that asks for more than tensors.
    """
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        tensors |= read_tensors(file).tensors
    return tensors
