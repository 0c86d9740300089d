"""From a model's files to modules in memory: local files, no remote code."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

from core.errors import ModelInvalid
from core.models import load_single_file, replacement_vae
from core.models.clip_tokenizer.bundled import bundled_tokenizer
from core.models.components import Components
from core.models.exported import weights_wanted
from core.models.fingerprint import Fingerprints
from core.models.folder_files import read_json
from core.models.identify import Identity
from core.models.load_single_file import build_empty, fill, original_tensors, text_weights_of
from core.models.parts import tokenizer_of
from core.models.reading import Readable, check_finite, quietly
from core.models.refiner_file import PREFIX
from core.models.replacement_vae import in_new_names, load_vae, vae_weights
from core.models.residence import Residence, Source

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
    one_at_a_time: bool = False,
) -> Components:
    """Load a model.

    The weights are mapped from disk. What goes to another device or into another number format is
    copied once; nothing else is.

    Args:
        identity: The model, as ``identify`` found it.
        device: Where the weights go.
        dtype: Their number format.
        fingerprints: The memory of hashes.
        vae: A file or folder of another VAE of the same latent format; None for the model's own.
        one_at_a_time: Whether only the part at work is on the device; see ``Residence``.

    Raises:
        ModelMissing: If ``vae`` is not there.
        ModelInvalid: If a file is missing, damaged, contradicts another one or holds what is no
            number, or if ``vae`` has other latents.
        UnsafeFile: If a file is a pickle that asks for more than tensors.
        Unsupported: If it is an exported model, which has no weights that could be changed.
    """
    if identity.exported is not None:
        raise weights_wanted(identity.exported)
    residence = Residence(device, one_at_a_time=one_at_a_time)
    with quietly(), all_kept():
        names = ("unet", *identity.text_encoders, "vae")
        modules = modules_of(identity, residence, dtype, names, vae=vae)
        tiny = None
        if identity.tiny_vae is not None:
            tiny = _tiny_vae(identity.tiny_vae, dtype).to(device).eval()
        vae_files = vae_weights(vae) if vae is not None else files_of(identity, "vae")
        return dataclasses.replace(
            _assembled(identity, modules, residence, device, dtype),
            sha256=fingerprints.of_model(identity.weights),
            vae_sha256=fingerprints.of_model(vae_files),
            tiny_vae=tiny,
            tiny_scaling_factor=1.0 if tiny is None else float(tiny.config["scaling_factor"]),
        )


def outline(identity: Identity) -> Components:
    """Give a model's modules without their weights, to look at before those are read.

    Raises:
        ModelInvalid: If a configuration or a tokenizer is missing, damaged or contradicts another.
    """
    if identity.exported is not None:
        raise weights_wanted(identity.exported)
    nowhere = torch.device("meta")
    with quietly(), all_kept():
        modules = {
            name: build_empty(_CLASSES[name], identity.configs[name], identity.path).eval()
            for name in ("unet", *identity.text_encoders, "vae")
        }
        return _assembled(identity, modules, Residence(nowhere), nowhere, torch.float32)


def _assembled(
    identity: Identity,
    modules: Mapping[str, Any],
    residence: Residence,
    device: torch.device,
    dtype: torch.dtype,
) -> Components:
    """Put modules and their tokenizers together; hashes are left empty.

    Raises:
        ModelInvalid: If a tokenizer is missing, damaged or not of this model.
    """
    tokenizers = {name: load_tokenizer(identity, name) for name in identity.text_encoders}
    if any(one.get_vocab() != other.get_vocab() for one, other in pairwise(tokenizers.values())):
        raise ModelInvalid(
            f"The two tokenizers of {identity.path} have different words; they are not of one "
            "model."
        )
    return Components(
        identity=identity,
        sha256="",
        vae_sha256="",
        tokenizer=tokenizers.get("text_encoder"),
        text_encoder=modules.get("text_encoder"),
        text_uses_mask=bool(identity.configs.get("text_encoder", {}).get("use_attention_mask")),
        unet=modules["unet"],
        vae=modules["vae"],
        scaling_factor=float(modules["vae"].config["scaling_factor"]),
        tiny_vae=None,
        tiny_scaling_factor=1.0,
        scheduler_config=identity.configs["scheduler"],
        device=device,
        dtype=dtype,
        residence=residence,
        tokenizer_2=tokenizers.get("text_encoder_2"),
        text_encoder_2=modules.get("text_encoder_2"),
    )


@contextmanager
def all_kept() -> Iterator[None]:
    """Let Python look for garbage later.

    The hundred thousand objects that a model is made of all stay, and each look at them finds
    nothing: a third of the loading time of Stable Diffusion 1.5.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def load_refiner(identity: Identity, base: Components, *, sha256: str) -> Components:
    """Load a refiner beside its base model, whose VAE, schedule and residence it shares.

    Args:
        identity: The refiner, as ``find_refiner`` found it.
        base: The base model.
        sha256: Hash of the refiner's weights.

    Raises:
        ModelInvalid: If a file is missing, damaged, contradicts another one or holds what is no
            number.
        UnsafeFile: If a file is a pickle that asks for more than tensors.
    """
    names = ("unet", *identity.text_encoders)
    with quietly(), all_kept():
        tokenizers = {name: load_tokenizer(identity, name) for name in identity.text_encoders}
        modules = modules_of(identity, base.residence, base.dtype, names, prefix=PREFIX)
    return dataclasses.replace(
        base,
        identity=identity,
        sha256=sha256,
        tokenizer=tokenizers.get("text_encoder"),
        text_encoder=modules.get("text_encoder"),
        text_uses_mask=False,
        unet=modules["unet"],
        tokenizer_2=tokenizers.get("text_encoder_2"),
        text_encoder_2=modules.get("text_encoder_2"),
    )


def modules_of(
    identity: Identity,
    residence: Residence,
    dtype: torch.dtype,
    names: Sequence[str],
    *,
    vae: Path | None = None,
    prefix: str = "",
) -> dict[str, Any]:
    """Load parts and give them to ``residence``, where ``prefix`` stands before their names."""
    modules: dict[str, Any] = {}

    def add(name: str, module: Any, files: Mapping[str, Path], read: Callable[..., Any]) -> None:
        modules[name] = module.eval()
        source = Source(tuple(files.values()), partial(read, module))
        residence.add(prefix + name, module, source)

    if vae is not None:
        # First, because it is what may not fit.
        read = partial(replacement_vae.weights_of, vae)
        add("vae", load_vae(vae, like=identity, dtype=dtype), vae_weights(vae), read)
    for name in names:
        if name not in modules:
            module = _component(identity, name, dtype)
            add(name, module, files_of(identity, name), partial(_weights_of, identity, name))
    return modules


def files_of(identity: Identity, component: str) -> dict[str, Path]:
    """Give the weight files of a component."""
    return {
        name: path for name, path in identity.weights.items() if name.partition(".")[0] == component
    }


def _component(identity: Identity, name: str, dtype: torch.dtype) -> Any:
    """Build a component and give it its weights, every one of them and no other."""
    path = identity.weights[name]
    module = build_empty(_CLASSES[name], identity.configs[name], path)
    fill(module, _weights_of(identity, name, module), dtype, path)
    check_finite(path, module.state_dict().items())
    return module


def _weights_of(identity: Identity, name: str, module: nn.Module) -> dict[str, Tensor]:
    if identity.single_file:
        return load_single_file.weights_of(identity, name, module)
    part: dict[str, Tensor] = {}
    for path in files_of(identity, name).values():
        with original_tensors(path) as tensors:
            part |= tensors.below("")
    match name:
        case "vae":
            return in_new_names(part, identity.configs[name])
        case "unet":
            return part
        case _:
            return text_weights_of(part, module)


def _tiny_vae(path: Path, dtype: torch.dtype) -> Any:
    module = build_empty(AutoencoderTiny, read_json(path.parent / "config.json"), path)
    with original_tensors(path) as tensors:
        return fill(module, tensors.below(""), dtype, path)


def load_tokenizer(identity: Identity, encoder: str) -> Any:
    """Load a text encoder's tokenizer and hold it to what that can take.

    Raises:
        ModelInvalid: If it is damaged or another model's.
    """
    config = CLIPTextConfig(**identity.configs[encoder])
    if identity.single_file:
        place, number = identity.path, identity.text_encoders.index(encoder)
        tokenizer = bundled_tokenizer(load_single_file.PAD_TOKENS[identity.family][number])
    else:
        place = identity.folder / tokenizer_of(encoder)
        with Readable(place):
            tokenizer = CLIPTokenizer.from_pretrained(place, local_files_only=True)
    if _highest_token(tokenizer) >= config.vocab_size:
        raise ModelInvalid(
            f"{place} has tokens beyond the {config.vocab_size} that the text encoder knows; they "
            "are not of one model."
        )
    # Some folders leave the length out, which transformers reads as endless.
    tokenizer.model_max_length = min(tokenizer.model_max_length, config.max_position_embeddings)
    return tokenizer


def _highest_token(tokenizer: Any) -> int:
    """Give the highest number of a token, without listing them all if they are numbered on."""
    last = len(tokenizer) - 1
    if last >= 0 and tokenizer.backend_tokenizer.id_to_token(last) is not None:
        return last
    return max(tokenizer.get_vocab().values(), default=0)
