"""A model's tensors as one file of Stable Diffusion's original layouts has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from core.models.original_names import UnetNames, open_clip_name, text_name, vae_name
from core.models.single_file import UNET, VAE, component_prefix


def in_original_layout(modules: Mapping[str, Any], layout: str) -> dict[str, Tensor]:
    """Gather a model's tensors under the names of one of the layouts.

    Args:
        modules: ``unet``, ``vae`` and the text encoders.
        layout: ``sd1``, ``sd2``, ``sdxl`` or ``sdxl-refiner``.

    Returns:
        The modules' own tensors where they are as in the file, and views or copies of the others.

    Raises:
        Unsupported: If the UNet has a part that the original code has no name for.
    """
    unet, vae = modules["unet"], modules["vae"]
    names, levels = UnetNames.of(unet.config), len(vae.config["block_out_channels"])
    made = {UNET + names.tensor(name): tensor for name, tensor in unet.state_dict().items()}
    for name, tensor in vae.state_dict().items():
        # The original's attention is made of 1x1 convolutions.
        is_matrix = tensor.ndim == 2 and ".attentions." in name
        made[VAE + vae_name(name, levels=levels)] = (
            tensor[:, :, None, None] if is_matrix else tensor
        )
    for encoder, module in modules.items():
        if encoder.startswith("text_encoder"):
            prefix = component_prefix(layout, encoder, made)
            weights = _text_tensors(module, prefix, is_alone=layout == "sd2")
            made |= {prefix + name: tensor for name, tensor in weights}
    return made


def _text_tensors(module: Any, prefix: str, *, is_alone: bool) -> Iterator[tuple[str, Tensor]]:
    weights = {
        name.removeprefix("text_model."): tensor for name, tensor in module.state_dict().items()
    }
    if not prefix.endswith("model."):
        yield from clip_tensors(weights)
        return
    yield from _open_clip_tensors(weights)
    places = weights["embeddings.position_embedding.weight"]
    if is_alone:
        yield from _unused_layer(weights, module.config.num_hidden_layers)
    yield "logit_scale", torch.ones((), device=places.device)


def clip_tensors(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Give a text encoder's tensors the names that transformers had for them in 2022."""
    for name, tensor in weights.items():
        yield text_name(name), tensor
    places = weights["embeddings.position_embedding.weight"]
    numbers = torch.arange(len(places), device="cpu")[None]
    yield "text_model.embeddings.position_ids", numbers


def _open_clip_tensors(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Give a text encoder's tensors OpenCLIP's names: queries, keys and values are one there."""
    for name, tensor in weights.items():
        if name == "text_projection.weight":
            yield "text_projection", tensor.T
        elif ".self_attn.q_proj." in name:
            three = [weights[name.replace("q_proj", f"{one}_proj")] for one in "qkv"]
            layer, kind = name.split(".")[2], name.rpartition(".")[2]
            yield f"transformer.resblocks.{layer}.attn.in_proj_{kind}", torch.cat(three)
        elif not re.search(r"self_attn\.[kv]_proj", name):
            yield open_clip_name(name), tensor


def _unused_layer(weights: Mapping[str, Tensor], layers: int) -> Iterator[tuple[str, Tensor]]:
    """Give the last layer and the projection that Stable Diffusion 2.x's files have.

    Nothing uses them, but the original code builds them and misses them. The last layer is that
    before it once more.
    """
    last = f"encoder.layers.{layers - 1}."
    again = {
        name.replace(last, f"encoder.layers.{layers}."): tensor
        for name, tensor in weights.items()
        if name.startswith(last)
    }
    yield from _open_clip_tensors(again)
    places = weights["embeddings.position_embedding.weight"]
    yield "text_projection", torch.eye(places.shape[1], device=places.device, dtype=places.dtype)
