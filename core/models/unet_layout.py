"""How the UNet in a file of original names differs from its family's. Imports no torch.

Smaller relatives of SDXL have fewer transformers in their blocks (Gupta et al. 2024,
arXiv:2401.02677), and latent consistency models an input for the guidance (Luo et al. 2023,
arXiv:2310.04378, section 4.2). Both can be read from the tensors' names and shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.models.safetensors_header import TensorInfo

GUIDANCE_INPUTS = ("time_embed.cond_proj.weight", "time_embedding.cond_proj.weight")
"""Names that the guidance's input has in files: as the original ones go, and left at diffusers'."""

Depths = list[list[int]]

_SMALLER: dict[tuple[tuple[int, ...], ...], str] = {
    ((0, 0), (2, 2), (4, 4)): "SSD-1B",
    ((0, 0), (1, 1), (2, 2)): "Segmind Vega",
}
"""Published smaller UNets of SDXL, by the transformer layers on the way down."""


def fitted_unet(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """Give a family's UNet configuration with what this file's tensors say against it.

    Args:
        config: The family's.
        tensors: The UNet's tensors by their original names, without the prefix.
    """
    made = dict(config)
    guidance = next((tensors[name] for name in GUIDANCE_INPUTS if name in tensors), None)
    if guidance is not None and len(guidance.shape) == 2:
        made["time_cond_proj_dim"] = guidance.shape[1]
    found = _depths(tensors)
    layers, blocks = config["layers_per_block"], len(config["block_out_channels"])
    down = [
        [
            found.get(f"input_blocks.{1 + block * (layers + 1) + layer}", 0)
            for layer in range(layers)
        ]
        for block in range(blocks)
    ]
    up = [
        [
            found.get(f"output_blocks.{block * (layers + 1) + layer}", 0)
            for layer in range(layers + 1)
        ]
        for block in range(blocks)
    ]
    usual = _of_config(config)
    is_usual = down == usual and up == [[one[0]] * (layers + 1) for one in reversed(usual)]
    if not is_usual and _has_attention_alike(down, usual):
        made["transformer_layers_per_block"] = [_plain(one) for one in down]
        made["reverse_transformer_layers_per_block"] = [_plain(one) for one in up]
    if found and "middle_block" not in found:
        made["mid_block_type"] = "UNetMidBlock2D"
    return made


def smaller_name(config: Mapping[str, Any]) -> str:
    """Name a smaller relative of SDXL by its UNet's configuration; empty for any other UNet."""
    layers = config.get("layers_per_block")
    if not isinstance(layers, int) or not isinstance(
        config.get("transformer_layers_per_block"), list
    ):
        return ""
    return _SMALLER.get(tuple(tuple(one) for one in _of_config(config)), "")


def _depths(tensors: Mapping[str, TensorInfo]) -> dict[str, int]:
    """Count each block's transformer layers; those without any are left out."""
    found: dict[str, int] = {}
    for name in tensors:
        if match := re.match(
            r"(middle_block|\w+_blocks\.\d+)\.1\.transformer_blocks\.(\d+)\.", name
        ):
            found[match[1]] = max(found.get(match[1], 0), int(match[2]) + 1)
    return found


def _of_config(config: Mapping[str, Any]) -> Depths:
    """Give the layers of each block on the way down that a configuration asks for."""
    kinds, layers = config["down_block_types"], config["layers_per_block"]
    depths = config.get("transformer_layers_per_block", 1)
    each = depths if isinstance(depths, list | tuple) else [depths] * len(kinds)
    return [
        ([0] * layers if "Attn" not in kind else [d] * layers if isinstance(d, int) else list(d))
        for kind, d in zip(kinds, each, strict=True)
    ]


def _has_attention_alike(found: Depths, usual: Depths) -> bool:
    return [any(one) for one in found] == [any(one) for one in usual]


def _plain(depths: list[int]) -> int | list[int]:
    """Write the depths of a block as published configurations do: one number for none."""
    return depths if any(depths) else 0
