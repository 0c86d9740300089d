"""The parts of a whole model as they were found, and whether they belong together.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ModelInvalid, Unsupported
from core.models.folder_files import value_of
from core.models.safetensors_header import TensorInfo

Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]
"""Shapes that a component's weights must have, by the ends of their names."""

TEXT_ENCODERS = ("text_encoder", "text_encoder_2")

_SIZES, _SCORED = 6, 5
"""How many numbers SDXL's UNet is told of a picture, and its refiner's (arXiv:2307.01952)."""

UNET_INPUTS = {4: "plain", 9: "inpainting"}
"""Channels that a UNet may take: the noisy latents, and for inpainting the mask and the latents of
what is kept beside them (Rombach et al. 2022, arXiv:2112.10752, and Stable Diffusion's own)."""

_NEEDS_MORE = ("class_embed_type", "encoder_hid_dim_type", "num_class_embeds")
"""What a UNet's configuration says if it takes more than latents, time, text and size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A model's configurations and the headers of its weights.

    Attributes:
        path: The folder or the file that it is.
        configs: Each component's configuration, the scheduler's among them, and where it is a
            folder the ``pipeline``'s.
        headers: The tensors of each component.
        weights: The weight file of each component; those after the first of a component that is
            split are numbered (``unet.2``).
        metadata: What its maker wrote beside the weights.
        layout: If one file holds all of it under Stable Diffusion's original names, whose: ``sd1``,
            ``sd2``, ``sdxl`` or ``sdxl-refiner``. None for a folder.
    """

    path: Path
    configs: Mapping[str, Mapping[str, Any]]
    headers: Mapping[str, Mapping[str, TensorInfo]]
    weights: Mapping[str, Path]
    metadata: Mapping[str, str]
    layout: str | None

    @property
    def single_file(self) -> bool:
        """Whether one file holds all of it."""
        return self.layout is not None

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """The names of its text encoders."""
        return tuple(name for name in TEXT_ENCODERS if name in self.configs)

    @property
    def is_sdxl(self) -> bool:
        """Whether its UNet is told the size and the crop of the picture (arXiv:2307.01952)."""
        return self.configs["unet"].get("addition_embed_type") == "text_time"

    @property
    def is_scored(self) -> bool:
        """Whether its UNet is told how beautiful the picture is, as that of SDXL's refiner."""
        return self.is_sdxl and bool(
            self.configs.get("pipeline", {}).get("requires_aesthetics_score")
        )


def tokenizer_of(text_encoder: str) -> str:
    """Name the tokenizer that goes with a text encoder."""
    return text_encoder.replace("text_encoder", "tokenizer")


def check_unet_kind(parts: Parts) -> None:
    """Make sure that the UNet is of a kind that is run.

    Raises:
        Unsupported: Naming what it needs.
    """
    path, unet = parts.path, parts.configs["unet"]
    channels = unet.get("in_channels")
    if channels not in UNET_INPUTS:
        raise Unsupported(
            f"The UNet of {path} takes {channels} channels; this version runs 4, and 9 for "
            "inpainting."
        )
    if (channels := unet.get("out_channels", 4)) != 4:
        raise Unsupported(f"The UNet of {path} gives {channels} channels; this version runs 4.")
    wants = "text_time" if TEXT_ENCODERS[1] in parts.text_encoders else None
    if unet.get("addition_embed_type") != wants or any(unet.get(key) for key in _NEEDS_MORE):
        raise Unsupported(
            f"The UNet of {path} needs more than a prompt, or than its pipeline gives it; this "
            "version does not run it."
        )


def check_shapes(parts: Parts) -> None:
    """Hold the weights' shapes against the configurations, and these against each other.

    Raises:
        ModelInvalid: Naming the file and the first thing that does not fit.
    """
    for component, shapes in _shapes_of(parts).items():
        for suffix, shape in shapes.items():
            _check_shape(parts, component, suffix, shape)
    width = sum(parts.configs[name]["hidden_size"] for name in parts.text_encoders)
    if (reads := parts.configs["unet"].get("cross_attention_dim")) != width:
        raise ModelInvalid(
            f"The UNet of {parts.path} reads text {reads} wide and its text encoder writes {width};"
            " they are not of one model."
        )
    if parts.is_sdxl:
        _check_numbers(parts)
    if (latent := parts.configs["vae"]["latent_channels"]) != 4:
        raise ModelInvalid(
            f"The VAE of {parts.path} has {latent} latent channels and the UNet 4; they are not of "
            "one model."
        )


def _check_numbers(parts: Parts) -> None:
    """Hold how many numbers the UNet reads beside the pooled text against those it is given."""
    unet, text = parts.configs["unet"], parts.configs[TEXT_ENCODERS[1]]
    folders = {name: path.parent for name, path in parts.weights.items()}
    each = value_of(folders["unet"], unet, "addition_time_embed_dim", int)
    reads = value_of(folders["unet"], unet, "projection_class_embeddings_input_dim", int)
    usual = {"projection_dim": 512}
    pooled = value_of(folders[TEXT_ENCODERS[1]], usual | dict(text), "projection_dim", int)
    if reads != pooled + each * (_SCORED if parts.is_scored else _SIZES):
        raise ModelInvalid(
            f"The UNet of {parts.path} reads {reads} numbers of pooled text, size and score, which "
            "its text encoder and its model_index.json do not give; put back the files that belong "
            "to one model."
        )


def _shapes_of(parts: Parts) -> Shapes:
    unet, vae = parts.configs["unet"], parts.configs["vae"]
    folders = {name: path.parent for name, path in parts.weights.items()}
    first = value_of(folders["unet"], unet, "block_out_channels", list)[0]
    latent = value_of(folders["vae"], vae, "latent_channels", int)
    vae_channels = value_of(folders["vae"], vae, "block_out_channels", list)
    shapes: dict[str, dict[str, tuple[int, ...]]] = {
        "unet": {
            "conv_in.weight": (first, unet["in_channels"], 3, 3),
            "conv_out.weight": (4, first, 3, 3),
        },
        "vae": {
            "decoder.conv_in.weight": (vae_channels[-1], latent, 3, 3),
            "encoder.conv_in.weight": (vae_channels[0], 3, 3, 3),
        },
    }
    for name in parts.text_encoders:
        text = parts.configs[name]
        width = value_of(folders[name], text, "hidden_size", int)
        vocabulary = value_of(folders[name], text, "vocab_size", int)
        shapes[name] = {"token_embedding.weight": (vocabulary, width)}
    return shapes


_ORIGINAL = {
    "conv_in.weight": "input_blocks.0.0.weight",
    "conv_out.weight": "out.2.weight",
}
"""Stable Diffusion's original names of what is looked at in its UNet; the others have kept them."""


def _check_shape(parts: Parts, component: str, suffix: str, shape: tuple[int, ...]) -> None:
    path = parts.weights[component]
    if parts.single_file and component == "unet":
        suffix = _ORIGINAL[suffix]
    header = parts.headers[component]
    found = next((t.shape for name, t in header.items() if f".{name}".endswith(f".{suffix}")), None)
    if found is None:
        raise ModelInvalid(f"{path} lacks {suffix}; it is another model's, or cut short.")
    if found == shape:
        return
    if parts.single_file:
        raise ModelInvalid(
            f"{path} has {suffix} of shape {list(found)} where a model of its kind has "
            f"{list(shape)}; it has been changed in a way that is not known, get it as a diffusers "
            "folder."
        )
    raise ModelInvalid(
        f"{path} has {suffix} of shape {list(found)} where config.json says {list(shape)}; "
        "put back the config.json that belongs to these weights."
    )
