"""Modules built without weights and given those of a file, mapped from the disk and not copied.

The names of a model that is one file are changed to diffusers' by diffusers' own rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from diffusers.models.modeling_utils import no_init_weights
from safetensors import safe_open
from torch import Tensor, nn
from transformers import CLIPTextConfig

from core.errors import ModelInvalid
from core.models.families import Family
from core.models.identify import Identity
from core.models.reading import Readable, quietly
from core.models.single_file import UNET, XL_CLIP_G, component_prefix
from core.models.tensor_file import read_pickle
from core.models.tensor_list import is_pickle
from core.models.unet_layout import GUIDANCE_INPUTS

PAD_TOKENS = {
    Family.SD1: ("<|endoftext|>",),
    Family.SD2: ("!",),
    Family.SDXL: ("<|endoftext|>", "!"),
    Family.SDXL_REFINER: ("!",),
}
"""What each text encoder's texts are filled up with: the first Stable Diffusion repeats the end,
OpenCLIP's models were trained on zeros, which is the number of "!"."""

_NO_WEIGHTS = ("position_ids", "logit_scale")
"""Ends of names that text encoders' files carry beside the weights that are used."""


def weights_of(identity: Identity, name: str, module: nn.Module) -> dict[str, Tensor]:
    """Give the weights of one component of a single-file model by diffusers' names.

    Args:
        identity: The model.
        name: ``unet``, ``vae``, ``text_encoder`` or ``text_encoder_2``.
        module: What they are for.

    Raises:
        ModelInvalid: If the file is damaged, or its tensors are not those of such a component.
        UnsafeFile: If it is a pickle that asks for more than tensors.
    """
    path, config = identity.path, identity.configs[name]
    with original_tensors(path) as tensors:
        part = tensors.below(component_prefix(identity.family.value, name, tensors.names))
        with quietly(), Readable(path):
            match name:
                case "unet":
                    return _unet_weights(part, config, path)
                case "vae":
                    return vae_weights_of(part, config)
                case _:
                    return text_weights_of(part, module)


class TensorFile:
    """The tensors of a file, each read when it is asked for.

    Attributes:
        names: Of all tensors.
    """

    def __init__(self, names: tuple[str, ...], source: Any) -> None:
        """Use an open file, or a dictionary."""
        self.names = names
        self._source = source

    def below(self, prefix: str) -> dict[str, Tensor]:
        """Give the tensors whose names begin so, without that beginning."""
        take = self._source.get_tensor if hasattr(self._source, "get_tensor") else self._source.get
        return {
            name.removeprefix(prefix): take(name) for name in self.names if name.startswith(prefix)
        }


@contextmanager
def original_tensors(path: Path) -> Iterator[TensorFile]:
    """Open a file of tensors, safetensors or a pickle of nothing else.

    Raises:
        ModelInvalid: If it cannot be read.
        UnsafeFile: If it is a pickle that asks for more than tensors.
    """
    if is_pickle(path):
        values = read_pickle(path).items()
        tensors = {name: value for name, value in values if isinstance(value, Tensor)}
        yield TensorFile(tuple(tensors), tensors)
        return
    with Readable(path):
        file = safe_open(path, framework="pt", device="cpu")
    with file:
        names: Any = file
        yield TensorFile(tuple(names.keys()), file)


def build_empty(cls: Any, config: Mapping[str, Any], path: Path) -> nn.Module:
    """Build a module whose weights take no memory yet.

    Raises:
        ModelInvalid: If the configuration makes no sense; ``path`` is the model it is for.
    """
    with quietly(), Readable(path), no_init_weights(), init_empty_weights():
        module: nn.Module
        if hasattr(cls, "load_config"):
            module = cls.from_config(dict(config))
        else:
            module = cls(CLIPTextConfig(**config))
    return module


def fill(module: nn.Module, weights: Mapping[str, Tensor], dtype: torch.dtype, path: Path) -> Any:
    """Give a module its weights, every one of them and no other.

    Raises:
        ModelInvalid: Naming the first that is missing, too much, or of another shape.
    """
    wanted = {name: tensor.shape for name, tensor in module.state_dict().items()}
    wrong = {
        "lacks": wanted.keys() - weights.keys(),
        "has in addition": weights.keys() - wanted.keys(),
        "has in another shape": {
            name for name in wanted.keys() & weights.keys() if weights[name].shape != wanted[name]
        },
    }
    for what, names in wrong.items():
        if names:
            raise ModelInvalid(
                f"{path} {what} {min(names)}, so it is no model of the kind that it, or the "
                "config.json beside it, says; get it again."
            )
    converted = {name: tensor.to(dtype) for name, tensor in weights.items()}
    module.load_state_dict(converted, assign=True)
    return module


def _unet_weights(
    part: dict[str, Tensor], config: Mapping[str, Any], path: Path
) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = convert_ldm_unet_checkpoint(
        {UNET + name: tensor for name, tensor in part.items()}, config=dict(config)
    )
    # Diffusers' rules do not know the input of a latent consistency model's guidance.
    for name in GUIDANCE_INPUTS:
        if name in part:
            weights["time_embedding.cond_proj.weight"] = part[name]
    # What diffusers' rules pass over would be missing in the pictures.
    used = {id(tensor) for tensor in weights.values()}
    unknown = [name for name, tensor in part.items() if id(tensor) not in used]
    if unknown:
        raise ModelInvalid(
            f"{path} has {UNET}{min(unknown)}, which is no part of Stable Diffusion's UNet; this "
            "version cannot use it."
        )
    return weights


def vae_weights_of(part: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Bring a VAE's tensors from Stable Diffusion's original names to diffusers'."""
    kept = {
        name: tensor
        for name, tensor in part.items()
        if name.startswith(("encoder.", "decoder.", "quant_conv.", "post_quant_conv."))
    }
    weights: dict[str, Tensor] = convert_ldm_vae_checkpoint(kept, dict(config))
    return weights


def text_weights_of(part: dict[str, Tensor], module: Any) -> dict[str, Tensor]:
    """Bring a text encoder's tensors to transformers' names, for CLIP's and OpenCLIP's own."""
    part = {name: tensor for name, tensor in part.items() if not name.endswith(_NO_WEIGHTS)}
    if "positional_embedding" in part:
        layers = module.config.num_hidden_layers
        # Stable Diffusion 2.x leaves out the last layer, which its files have all the same.
        part = {
            XL_CLIP_G + name: tensor
            for name, tensor in part.items()
            if not name.startswith("transformer.resblocks.") or int(name.split(".")[2]) < layers
        }
        part = convert_open_clip_checkpoint(module, part, prefix=XL_CLIP_G)
    wanted = module.state_dict().keys()
    wraps = any(name.startswith("text_model.") for name in wanted)
    named = {
        ("text_model." if wraps and not name.startswith("text_projection") else "")
        + name.removeprefix("text_model."): tensor
        for name, tensor in part.items()
    }
    if "text_projection.weight" not in wanted:
        named.pop("text_projection.weight", None)
    return named
