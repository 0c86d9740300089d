"""From a model's files to modules in memory: local files, no remote code."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from core.errors import ModelInvalid
from core.models import load_single_file
from core.models.clip_tokenizer.bundled import bundled_tokenizer
from core.models.components import Components
from core.models.fingerprint import Fingerprints
from core.models.identify import Identity
from core.models.reading import Readable, check_finite, quietly
from core.models.replacement_vae import load_vae, vae_weights

ModuleT = TypeVar("ModuleT", bound=nn.Module)

_CLASSES = {
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
    "vae": AutoencoderKL,
    "unet": UNet2DConditionModel,
}


def load(
    identity: Identity,
    *,
    device: torch.device,
    dtype: torch.dtype,
    fingerprints: Fingerprints,
    vae: Path | None = None,
) -> Components:
    """Load a model.

    The weights are mapped from disk and copied once, to the device.

    Args:
        identity: The model, as ``identify`` found it.
        device: Where the weights go.
        dtype: Their number format.
        fingerprints: The memory of hashes.
        vae: A file or folder of another VAE of the same latent format; None for the model's own.

    Raises:
        ModelMissing: If ``vae`` is not there.
        ModelInvalid: If a file is missing, damaged, contradicts another one or holds what is no
            number, or if ``vae`` has other latents.
        UnsafeFile: If a file is a pickle that asks for more than tensors.
    """
    own = ("unet", *identity.text_encoders, *(() if vae is not None else ("vae",)))
    modules: dict[str, Any] = {}
    if vae is not None:
        # First, because it is what may not fit.
        modules["vae"] = _ready(load_vae(vae, like=identity, dtype=dtype), device)
    for name in own:
        loader = _from_file if identity.single_file else _from_folder
        module = loader(identity, name, dtype)
        check_finite(identity.weights[name], module.state_dict().items())
        modules[name] = _ready(module, device)
    tiny = None
    if identity.tiny_vae is not None:
        tiny = _ready(_pretrained(AutoencoderTiny, identity.tiny_vae, torch_dtype=dtype), device)
    texts = [modules.get(name) for name in ("text_encoder", "text_encoder_2")]
    tokenizers: list[Any] = [
        None if text is None else _tokenizer(identity, number, text.config)
        for number, text in enumerate(texts)
    ]
    vae_files = vae_weights(vae) if vae is not None else _files_of(identity, "vae")
    return Components(
        identity=identity,
        sha256=fingerprints.of_model(identity.weights),
        vae_sha256=fingerprints.of_model(vae_files),
        tokenizer=tokenizers[0],
        text_encoder=modules["text_encoder"],
        text_uses_mask=bool(getattr(modules["text_encoder"].config, "use_attention_mask", False)),
        unet=modules["unet"],
        vae=modules["vae"],
        scaling_factor=float(modules["vae"].config["scaling_factor"]),
        tiny_vae=tiny,
        tiny_scaling_factor=1.0 if tiny is None else float(tiny.config["scaling_factor"]),
        scheduler_config=identity.configs["scheduler"],
        device=device,
        dtype=dtype,
        tokenizer_2=tokenizers[1],
        text_encoder_2=texts[1],
    )


def _files_of(identity: Identity, component: str) -> dict[str, Path]:
    return {
        name: path for name, path in identity.weights.items() if name.partition(".")[0] == component
    }


def _from_file(identity: Identity, name: str, dtype: torch.dtype) -> Any:
    return load_single_file.load_component(identity, name, _CLASSES[name], dtype)


def _from_folder(identity: Identity, name: str, dtype: torch.dtype) -> Any:
    options: dict[str, Any] = {"torch_dtype": dtype}
    if name.startswith("text_encoder"):
        # Sizes that do not fit are reported by name below.
        options = {"dtype": dtype, "ignore_mismatched_sizes": True}
    return _pretrained(_CLASSES[name], identity.weights[name], **options)


def _pretrained(cls: Any, path: Path, **options: Any) -> Any:
    """Load one component and insist that its file held every weight, and no other.

    ``options`` hold the number format by the name that the library has for it.
    """
    with quietly(), Readable(path):
        module, report = cls.from_pretrained(
            path.parent,
            variant="fp16" if ".fp16" in path.name else None,
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
    return module


def _tokenizer(identity: Identity, number: int, config: Any) -> Any:
    """Load a tokenizer and hold it to what the text encoder of ``config`` can take."""
    if identity.single_file:
        place = identity.path
        tokenizer = bundled_tokenizer(load_single_file.PAD_TOKENS[identity.family][number])
    else:
        place = identity.folder / ("tokenizer", "tokenizer_2")[number]
        with quietly(), Readable(place):
            tokenizer = CLIPTokenizer.from_pretrained(place, local_files_only=True)
    if max(tokenizer.get_vocab().values(), default=0) >= config.vocab_size:
        raise ModelInvalid(
            f"{place} has tokens beyond the {config.vocab_size} that the text encoder knows; they "
            "are not of one model."
        )
    # Some folders leave the length out, which transformers reads as endless.
    tokenizer.model_max_length = min(tokenizer.model_max_length, config.max_position_embeddings)
    return tokenizer


def _ready(module: ModuleT, device: torch.device) -> ModuleT:
    return module.to(device).eval()
