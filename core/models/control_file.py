"""What a ControlNet is, and whether it goes with a model, before its weights are read.

Imports no torch. A ControlNet (Zhang et al. 2023, arXiv:2302.05543) is a folder as diffusers saves
one, or a file under diffusers' or the original names. A file tells nothing of how it is built: its
blocks are those of its model's UNet, of which it is a copy. Exported ones are read by
``core.models.exported_control``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ModelInvalid, Unsupported
from core.events import Pixels
from core.images.canvas import Canvas
from core.images.control_map import control_maps
from core.images.reading import sha256_of
from core.models.control_fit import check_scale, check_text
from core.models.exported import is_part
from core.models.exported_control import ExportedControl, exported_control, own_first
from core.models.fingerprint import Fingerprints
from core.models.folder_files import read_json, value_of
from core.models.identify import Identity
from core.models.names import Resolver, locate
from core.models.recognise import control_tensors
from core.models.safetensors_header import TensorInfo
from core.models.tensor_list import read_tensors
from core.models.verdict import Kind, judge
from core.paths import expanded
from core.request import ControlUse, Request
from core.request_checks import check_unchanged

_COPIED = (
    "act_fn",
    "addition_embed_type",
    "addition_embed_type_num_heads",
    "addition_time_embed_dim",
    "attention_head_dim",
    "block_out_channels",
    "class_embed_type",
    "cross_attention_dim",
    "down_block_types",
    "downsample_padding",
    "encoder_hid_dim",
    "encoder_hid_dim_type",
    "flip_sin_to_cos",
    "freq_shift",
    "layers_per_block",
    "mid_block_type",
    "mid_block_scale_factor",
    "norm_eps",
    "norm_num_groups",
    "num_attention_heads",
    "num_class_embeds",
    "only_cross_attention",
    "projection_class_embeddings_input_dim",
    "resnet_time_scale_shift",
    "transformer_layers_per_block",
    "upcast_attention",
    "use_linear_projection",
)
"""What a ControlNet's configuration has in common with its UNet's."""

_LATENTS = 4
_COLOURS = 3
_HINT_BLOCKS = (16, 32, 96, 256)
"""Channels of the layers that bring the control picture to the latents' size, in all that were
published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlFile:
    """A ControlNet that goes with a model.

    Attributes:
        path: Its file or folder.
        weights: Its weight files by the names that they have in its hash.
        config: How it is built.
        parameters: Count of the numbers in its weights.
    """

    path: Path
    weights: Mapping[str, Path]
    config: Mapping[str, Any]
    parameters: int


FoundControl = ControlFile | ExportedControl


@dataclass(frozen=True, slots=True)
class Controls:
    """What leads a request's pictures.

    Attributes:
        files: The ControlNets by their hashes, each once.
        maps: What they follow in each pass, ``(H, W, 3) uint8``, one for each of the request's.
    """

    files: Mapping[str, FoundControl]
    maps: tuple[tuple[Pixels, ...], ...]

    @property
    def exported(self) -> tuple[ExportedControl, ...]:
        """Those of the ControlNets that are exported parts."""
        return tuple(file for file in self.files.values() if isinstance(file, ExportedControl))


def find_controls(
    request: Request,
    identity: Identity,
    canvas: Canvas | None,
    *,
    fingerprints: Fingerprints,
    find: Resolver,
) -> tuple[Request, Controls]:
    """Find a request's ControlNets, hold them against its model, and draw what they follow.

    Args:
        request: What to make.
        identity: Its model.
        canvas: What the pictures are laid over, or None.
        fingerprints: The memory of hashes.
        find: Gives the file or folder of a ControlNet that the request names and that is none of
            the model's own.

    Returns:
        The request with the places and hashes of its ControlNets and control pictures recorded, and
        what leads its pictures.

    Raises:
        ModelMissing: If a ControlNet is not there.
        ModelInvalid: If it is damaged, or something else, or was made for another kind of model.
        Unsupported: If it is of a kind that is not run; it is named.
        InvalidRequest: If a control picture cannot be read, a file is another than the request was
            made with, or an exported ControlNet leads no pictures of the request's size.
    """
    uses: list[ControlUse] = []
    files: dict[str, FoundControl] = {}
    find = own_first(identity.exported, find)
    for use in request.controls:
        image = expanded(Path(use.image)).absolute()
        image_sha256 = sha256_of(image, field="controls.image")
        check_unchanged("controls.image", image, use.image_sha256, image_sha256)
        file = _found(locate(use.path, find, "ControlNet", folder_ok=True), request, identity)
        sha256 = fingerprints.of_model(file.weights)
        check_unchanged("controls.path", file.path, use.sha256, sha256)
        places: dict[str, Any] = {"path": str(file.path), "image": str(image)}
        uses.append(dataclasses.replace(use, **places, sha256=sha256, image_sha256=image_sha256))
        files[sha256] = file
    request = dataclasses.replace(request, controls=tuple(uses))
    return request, Controls(files, control_maps(request, canvas))


def _found(path: Path, request: Request, identity: Identity) -> FoundControl:
    if is_part(path):
        return exported_control(path, request, identity)
    return find_control(path, identity)


def find_control(path: Path, identity: Identity) -> ControlFile:
    """Tell by headers what a ControlNet is, and hold it against a model.

    Raises:
        ModelInvalid: If it is damaged, or something else, or was made for another kind of model.
        Unsupported: If it is of a kind that is not run; it is named.
    """
    verdict = judge(path)
    if verdict.kind is not Kind.CONTROLNET:
        raise ModelInvalid(f"{path} is no ControlNet ({verdict.title}); choose another file.")
    tensors: dict[str, TensorInfo] = {}
    for file in verdict.files:
        tensors |= control_tensors(read_tensors(file).tensors)
    _check_family(path, tensors, identity)
    config = _config_of(path, identity) if path.is_dir() else config_like(identity.configs["unet"])
    return ControlFile(
        path=path,
        weights=verdict.weights,
        config=config,
        parameters=sum(tensor.count for tensor in tensors.values()),
    )


def _check_family(path: Path, tensors: Mapping[str, TensorInfo], identity: Identity) -> None:
    """Hold the width of the text that a ControlNet reads against the model's."""
    ends = "attn2.to_k.weight"
    width = next((t.shape[-1] for name, t in tensors.items() if name.endswith(ends)), None)
    told = any(
        name.endswith(("add_embedding.linear_1.weight", "label_emb.0.0.weight")) for name in tensors
    )
    check_text(path, width, identity, needs_size=told)


def config_like(unet: Mapping[str, Any]) -> dict[str, Any]:
    """Give the configuration of a ControlNet that was copied from a UNet of this one."""
    copied = {key: unet[key] for key in _COPIED if key in unet}
    return copied | {
        "in_channels": _LATENTS,
        "conditioning_channels": _COLOURS,
        "conditioning_embedding_out_channels": list(_HINT_BLOCKS),
        "controlnet_conditioning_channel_order": "rgb",
        "global_pool_conditions": False,
    }


def _config_of(folder: Path, identity: Identity) -> dict[str, Any]:
    """Read a folder's configuration and hold it against the model's UNet.

    Raises:
        ModelInvalid: If it does not fit that.
        Unsupported: If such a ControlNet is not run.
    """
    config, unet = read_json(folder / "config.json"), identity.configs["unet"]
    if config.get("global_pool_conditions"):
        raise Unsupported(
            f"{folder} is a ControlNet that takes colours and no shapes from its picture, as "
            "Shuffle does; this version runs those that follow shapes."
        )
    if (channels := config.get("conditioning_channels", _COLOURS)) != _COLOURS:
        raise Unsupported(
            f"{folder} reads control pictures of {channels} channels; this version gives 3."
        )
    order = config.get("controlnet_conditioning_channel_order", "rgb")
    if order not in ("rgb", "bgr"):
        raise ModelInvalid(
            f"{folder / 'config.json'} has {order!r} as controlnet_conditioning_channel_order; "
            "put back the file that belongs to these weights."
        )
    for key in ("block_out_channels", "layers_per_block"):
        own, wanted = config.get(key, unet.get(key)), unet.get(key)
        if own != wanted:
            raise ModelInvalid(
                f"{folder} was made for a UNet with {key} {own} and that of {identity.path} has "
                f"{wanted}; choose a ControlNet that was made for this model."
            )
    usual = {"conditioning_embedding_out_channels": list(_HINT_BLOCKS)}
    hint = value_of(folder, usual | config, "conditioning_embedding_out_channels", list)
    check_scale(folder, 2 ** (len(hint) - 1), identity)
    return config
