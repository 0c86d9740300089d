"""Stable Diffusion's original (LDM, sgm) names for diffusers' and transformers' ones.

Imports no torch. What is read in the other direction is diffusers' own job; see
``core.models.load_single_file``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import Unsupported

_INSIDE_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE_OF_BLOCKS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "time_embedding.cond_proj": "time_embed.cond_proj",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_BLOCK = re.compile(
    r"(?P<side>down|up|mid)_blocks?(?:\.(?P<level>\d+))?"
    r"\.(?P<kind>resnets|attentions|downsamplers|upsamplers)\.(?P<number>\d+)(?:\.(?P<rest>.+))?"
)


@dataclass(frozen=True, slots=True)
class UnetNames:
    """The original names in one UNet.

    Attributes:
        depth: Residual blocks of a level on the way down.
        attentive: The levels on the way up that have attention.
    """

    depth: int
    attentive: frozenset[int]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> UnetNames:
        """Read the blocks from a UNet's configuration.

        Raises:
            Unsupported: If its levels are not of one depth, for which there are no original names.
        """
        depth, kinds = config["layers_per_block"], config["up_block_types"]
        if not isinstance(depth, int):
            raise Unsupported(
                f"The levels of this UNet have {depth} blocks, for which Stable Diffusion's "
                "original names have no words; keep the model as a folder, and a LoRA for it under "
                "diffusers' names."
            )
        return cls(depth, frozenset(i for i, kind in enumerate(kinds) if "Attn" in kind))

    def find(self, name: str) -> str | None:
        """Give a module's original name, or None if there is none.

        There, the way down is a list that begins with the first convolution and has ``depth``
        blocks a level and one to halve the size; the way up has ``depth + 1`` blocks a level, the
        last of which doubles it (https://github.com/Stability-AI/generative-models,
        ``openaimodel.py``).

        Args:
            name: Diffusers' name.
        """
        if name in _OUTSIDE_OF_BLOCKS:
            return _OUTSIDE_OF_BLOCKS[name]
        found = _BLOCK.fullmatch(name)
        if found is None:
            return None
        level, number, rest = int(found["level"] or 0), int(found["number"]), found["rest"] or ""
        inner, blocks = 1, self.depth + 1
        if found["kind"] == "resnets":
            inner, rest = 0, _INSIDE_RESNET.get(rest, rest)
        match found["side"], found["kind"]:
            case "down", "downsamplers":
                block, inner, rest = f"input_blocks.{(level + 1) * blocks}", 0, "op"
            case "down", _:
                block = f"input_blocks.{1 + level * blocks + number}"
            case "up", "upsamplers":
                block = f"output_blocks.{level * blocks + self.depth}"
                inner = 2 if level in self.attentive else 1
            case "up", _:
                block = f"output_blocks.{level * blocks + number}"
            case _:
                block, inner = "middle_block", inner + 2 * number * (inner == 0)
        return f"{block}.{inner}.{rest}".removesuffix(".")

    def module(self, name: str) -> str:
        """Give a module's original name.

        Raises:
            Unsupported: If there is none.
        """
        found = self.find(name)
        if found is None:
            raise Unsupported(
                f"Stable Diffusion's original code has no name for {name} of this UNet; keep the "
                "model as a folder, and a LoRA for it under diffusers' names."
            )
        return found

    def tensor(self, name: str) -> str:
        """Give the original name of a module's tensor, such as ``conv_in.weight``.

        Raises:
            Unsupported: If there is none.
        """
        stem, _, kind = name.rpartition(".")
        return f"{self.module(stem)}.{kind}"


_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def vae_name(name: str, *, levels: int) -> str:
    """Give the original name of a VAE's tensor.

    There, the way up counts its levels from the full size on
    (https://github.com/CompVis/latent-diffusion, ``diffusionmodules/model.py``).

    Args:
        name: Diffusers' name.
        levels: Those on each way.
    """
    found = re.fullmatch(r"(\w+)\.mid_block\.attentions\.0\.(.*)\.(weight|bias)", name)
    if found:
        return f"{found[1]}.mid.attn_1.{_VAE_ATTENTION[found[2]]}.{found[3]}"
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    name = name.replace("samplers.0.conv", "sample.conv").replace(".resnets.", ".block.")
    name = re.sub(r"down_blocks\.(\d+)", r"down.\1", name)
    name = re.sub(r"up_blocks\.(\d+)", lambda m: f"up.{levels - 1 - int(m[1])}", name)
    return re.sub(r"mid_block\.block\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)


_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_CLIP_OUTSIDE = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}


def open_clip_name(name: str) -> str:
    """Give OpenCLIP's name of a text encoder's tensor.

    Queries, keys and values are one tensor there, which this does not name.

    Args:
        name: That of transformers, without an outer ``text_model``.
    """
    if name in _CLIP_OUTSIDE:
        return _CLIP_OUTSIDE[name]
    layer, rest = name.removeprefix("encoder.layers.").split(".", 1)
    stem, _, kind = rest.rpartition(".")
    return f"transformer.resblocks.{layer}.{_CLIP_LAYER[stem]}.{kind}"


def text_name(name: str) -> str:
    """Give the name that transformers had until 2025 for a text encoder's module or tensor.

    It left out the outer ``text_model`` then; later versions read both.
    """
    has_outer = name.startswith(("text_model.", "text_projection"))
    return name if has_outer else f"text_model.{name}"
