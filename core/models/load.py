"""From a model folder to modules in memory: local files, safetensors, no remote code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from safetensors import SafetensorError
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from core.errors import ModelInvalid
from core.models.components import Components
from core.models.fingerprint import Fingerprints
from core.models.identify import Identity

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def load(
    identity: Identity, *, device: torch.device, dtype: torch.dtype, fingerprints: Fingerprints
) -> Components:
    """Load a model.

    The weights are mapped from disk and copied once, to the device.

    Args:
        identity: The model, as ``identify`` found it.
        device: Where the weights go.
        dtype: Their number format.
        fingerprints: The memory of hashes.

    Raises:
        ModelInvalid: If a file is missing, damaged or contradicts another one.
    """
    folder = identity.folder
    text_encoder = _load_module(CLIPTextModel, identity, "text_encoder", device, dtype=dtype)
    vae = _load_module(AutoencoderKL, identity, "vae", device, torch_dtype=dtype)
    unet = _load_module(UNet2DConditionModel, identity, "unet", device, torch_dtype=dtype)
    tiny = identity.tiny_vae
    return Components(
        identity=identity,
        sha256=fingerprints.of_model(identity.weights),
        vae_sha256=fingerprints.of_file(identity.weights["vae"]),
        tokenizer=_load_tokenizer(folder / "tokenizer"),
        text_encoder=text_encoder,
        text_uses_mask=bool(getattr(text_encoder.config, "use_attention_mask", False)),
        unet=unet,
        vae=vae,
        scaling_factor=float(vae.config["scaling_factor"]),
        tiny_vae=None if tiny is None else _load_tiny(tiny, device, dtype),
        scheduler_config=json.loads(
            (folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8")
        ),
        device=device,
        dtype=dtype,
    )


def _load_module(
    cls: Any, identity: Identity, name: str, device: torch.device, **number_format: torch.dtype
) -> Any:
    """Load one component and insist that its file held every weight, and no other.

    ``number_format`` is the type by the name that the library has for it.
    """
    path = identity.weights[name]
    with _quietly(), _readable(path):
        module, report = cls.from_pretrained(
            path.parent,
            variant="fp16" if ".fp16." in path.name else None,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=True,
            output_loading_info=True,
            **number_format,
        )
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        # Old CLIP files carry their position numbers, which are no weights.
        keys = [str(key) for key in report[kind] if not str(key).endswith("position_ids")]
        if keys:
            raise ModelInvalid(
                f"{path} does not fit its config.json ({kind.replace('_', ' ')}: {min(keys)}); "
                "put the two that belong together side by side."
            )
    return _ready(module, device)


def _load_tiny(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    with _quietly(), _readable(folder):
        module = AutoencoderTiny.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, torch_dtype=dtype
        )
    return _ready(module, device)


def _load_tokenizer(folder: Path) -> Any:
    with _quietly(), _readable(folder):
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def _ready(module: ModuleT, device: torch.device) -> ModuleT:
    return module.to(device).eval()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say which file it was if a library cannot read it."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelInvalid(f"{path} cannot be loaded ({error}); download it again.") from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the libraries' progress bars and chatter from the terminal."""
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    levels = [library.get_verbosity() for library in libraries]
    bars = [library.is_progress_bar_enabled() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, level, bar in zip(libraries, levels, bars, strict=True):
            library.set_verbosity(level)
            if bar:
                library.enable_progress_bar()
