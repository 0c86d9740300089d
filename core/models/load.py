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

from core.device import as_out_of_memory
from core.errors import ModelInvalid
from core.models.components import Components
from core.models.fingerprint import Fingerprints
from core.models.identify import Identity

ModuleT = TypeVar("ModuleT", bound=nn.Module)

_UNREADABLE = (OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError)


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
    # Sizes that do not fit are reported by name below.
    text_encoder = _load_module(
        CLIPTextModel,
        identity.weights["text_encoder"],
        device,
        dtype=dtype,
        ignore_mismatched_sizes=True,
    )
    vae = _load_module(AutoencoderKL, identity.weights["vae"], device, torch_dtype=dtype)
    unet = _load_module(UNet2DConditionModel, identity.weights["unet"], device, torch_dtype=dtype)
    tiny = None
    if identity.tiny_vae is not None:
        tiny = _load_module(AutoencoderTiny, identity.tiny_vae, device, torch_dtype=dtype)
    return Components(
        identity=identity,
        sha256=fingerprints.of_model(identity.weights),
        vae_sha256=fingerprints.of_file(identity.weights["vae"]),
        tokenizer=_load_tokenizer(folder / "tokenizer", text_encoder.config),
        text_encoder=text_encoder,
        text_uses_mask=bool(getattr(text_encoder.config, "use_attention_mask", False)),
        unet=unet,
        vae=vae,
        scaling_factor=float(vae.config["scaling_factor"]),
        tiny_vae=tiny,
        tiny_scaling_factor=1.0 if tiny is None else float(tiny.config["scaling_factor"]),
        scheduler_config=json.loads(
            (folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8")
        ),
        device=device,
        dtype=dtype,
    )


def _load_module(cls: Any, path: Path, device: torch.device, **options: Any) -> Any:
    """Load one component and insist that its file held every weight, and no other.

    ``options`` hold the number format by the name that the library has for it.
    """
    with _quietly(), _Readable(path):
        module, report = cls.from_pretrained(
            path.parent,
            variant="fp16" if ".fp16." in path.name else None,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=True,
            output_loading_info=True,
            **options,
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


def _load_tokenizer(folder: Path, config: Any) -> Any:
    """Load a tokenizer and hold it to what the text encoder of ``config`` can take."""
    with _quietly(), _Readable(folder):
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    if max(tokenizer.get_vocab().values(), default=0) >= config.vocab_size:
        raise ModelInvalid(
            f"{folder} has tokens beyond the {config.vocab_size} that the text encoder knows; they "
            "are not of one model."
        )
    # Some folders leave the length out, which transformers reads as endless.
    tokenizer.model_max_length = min(tokenizer.model_max_length, config.max_position_embeddings)
    return tokenizer


def _ready(module: ModuleT, device: torch.device) -> ModuleT:
    return module.to(device).eval()


class _Readable:
    """Says which file it was if a library cannot read it."""

    def __init__(self, path: Path) -> None:
        """Name the file."""
        self._path = path

    def __enter__(self) -> None:
        """Begin to read."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Turn what the libraries raise on damaged files into ``ModelInvalid``.

        Memory that ran out is not the file's fault and passes. Tokenizers raises ``Exception``
        itself and nothing narrower.
        """
        if isinstance(error, RuntimeError) and as_out_of_memory(error) is not None:
            return
        if type(error) is Exception or isinstance(error, _UNREADABLE):
            raise ModelInvalid(
                f"{self._path} cannot be loaded ({error}); download it again."
            ) from error


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
