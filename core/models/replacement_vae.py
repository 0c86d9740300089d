"""Another VAE in the place of a model's own: a file or a folder of the same latent format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from core.errors import ModelInvalid, ModelMissing
from core.models.folder_files import read_json, value_of, weight_files
from core.models.identify import Identity, identify
from core.models.load_single_file import build_empty, fill, original_tensors, vae_weights_of
from core.models.model_folder import WEIGHT_STEMS
from core.models.reading import Readable, check_finite, quietly
from core.models.recognise import VAE_PREFIXES, vae_family
from core.models.verdict import Kind, judge

_SCALING = 0.18215
"""Factor of the latents of Stable Diffusion 1.x and 2.x, where a configuration names none."""

_XL_SCALING = 0.13025
"""Factor of SDXL's latents, by which its VAE is told from the others; a file does not say it."""


def vae_weights(path: Path) -> dict[str, Path]:
    """Give the weight files of a VAE's file or folder, of which its hash is made.

    Raises:
        ModelMissing: If it is not there.
        ModelInvalid: If a folder has no weights.
        UnsafeFile: If a folder has pickles only.
    """
    if path.is_file():
        return {"vae": path}
    if not path.is_dir():
        raise ModelMissing(f"There is no VAE at {path}; give the path of its file or folder.")
    files = weight_files(path, WEIGHT_STEMS["vae"])
    return {"vae" if i == 1 else f"vae.{i}": file for i, file in enumerate(files, 1)}


def load_vae(path: Path, *, like: Identity, dtype: torch.dtype) -> Any:
    """Load a VAE in the place of a model's own.

    Args:
        path: A file under the original or diffusers' names, or a diffusers folder.
        like: The model that it is for; a file is built as this model's own VAE is.
        dtype: The number format to bring it to.

    Raises:
        ModelMissing: If it is not there.
        ModelInvalid: If it is damaged or has other latents than the model.
        Unsupported: If it is something else than Stable Diffusion's VAE; it is named.
        UnsafeFile: If it is a pickle that asks for more than tensors.
    """
    vae_weights(path)
    _check_kind(path, like)
    config = dict(like.configs["vae"])
    if path.is_dir():
        config = _config_of(path, like)
    module = build_empty(AutoencoderKL, config, path)
    fill(module, weights_of(path, module), dtype, path)
    check_finite(path, module.state_dict().items())
    return module


def weights_of(path: Path, module: Any) -> dict[str, Tensor]:
    """Give a VAE's weights by the names of today; see ``load_vae``."""
    weights: dict[str, Tensor] = {}
    for file in vae_weights(path).values():
        with original_tensors(file) as tensors:
            parts = (tensors.below(prefix) for prefix in VAE_PREFIXES)
            part = next((part for part in parts if part), {})
            with quietly(), Readable(file):
                weights |= in_new_names(part, module.config)
    return weights


def doubts_of(path: Path, like: Identity) -> str:
    """Say that nothing tells whether a VAE has a model's latents; empty where something does.

    Raises:
        ModelMissing: If it is not there.
        ModelInvalid: If it is damaged.
        Unsupported: If it is something else than Stable Diffusion's VAE; it is named.
        UnsafeFile: If it is a pickle that asks for more than tensors.
    """
    if path.is_dir() or vae_family(path) or judge(path).kind is not Kind.VAE:
        return ""
    return (
        f"{path.name} does not say which family it is for, and is taken as one for "
        f"{like.path.name}; if the picture's colours are wrong, choose another VAE."
    )


def _check_kind(path: Path, like: Identity) -> None:
    """Refuse what is no VAE, and one of other latents, which has the same shapes."""
    found = judge(path)
    if found.kind is not Kind.VAE and not (found.kind is Kind.MODEL and path.is_file()):
        raise ModelInvalid(f"{path} is no VAE ({found.title}); choose another file.")
    if path.is_dir():
        return  # It says its factor itself, and is held to it below.
    own, rename = like.configs["vae"].get("scaling_factor", _SCALING), ""
    if found.kind is Kind.MODEL:
        fits = identify(path).configs["vae"]["scaling_factor"] == own
    else:
        told, rename = vae_family(path), ", or rename the file if its name is wrong"
        fits = told is None or (told == "sdxl") == (own == _XL_SCALING)
    if not fits:
        raise ModelInvalid(
            f"{path} is a {found.title}, whose latents {like.path} does not make; choose a VAE "
            f"made for this family{rename}."
        )


def _config_of(folder: Path, like: Identity) -> dict[str, Any]:
    config, own = read_json(folder / "config.json"), like.configs["vae"]
    for key, usual in (("scaling_factor", _SCALING), ("latent_channels", 4)):
        if config.get(key, usual) != own.get(key, usual):
            raise ModelInvalid(
                f"The VAE in {folder} has {key.replace('_', ' ')} {config.get(key, usual)} and "
                f"{like.path} needs {own.get(key, usual)}; choose a VAE made for this family."
            )
    channels = value_of(folder, config, "block_out_channels", list)
    if len(channels) != len(own["block_out_channels"]):
        raise ModelInvalid(
            f"The VAE in {folder} has latents of another size than {like.path} makes; choose a VAE "
            "made for this family."
        )
    return config


_OLD_NAMES = {
    ".query.": ".to_q.",
    ".key.": ".to_k.",
    ".value.": ".to_v.",
    ".proj_attn.": ".to_out.0.",
}
"""Diffusers' names of attention up to 2022, which VAEs are still shared under."""


def in_new_names(part: dict[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Bring a VAE's tensors from Stable Diffusion's original names, or diffusers' old ones."""
    if any(name.startswith("decoder.up.") for name in part):
        return vae_weights_of(part, config)
    return {_new_name(name): tensor for name, tensor in part.items()}


def _new_name(name: str) -> str:
    for old, new in _OLD_NAMES.items():
        name = name.replace(old, new)
    return name
