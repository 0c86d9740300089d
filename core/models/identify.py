"""Read what a model is from its configuration and headers, before a byte of weights is read.

Imports no torch. A model is a folder as diffusers saves a ``StableDiffusionPipeline``:
``model_index.json`` and a subfolder for each component.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from core.errors import ModelInvalid, UnsafeFile, Unsupported
from core.models.folder_files import bad_config, numbers_of, read_json, value_of, weight_file
from core.models.safetensors_header import TensorInfo, read_header

PIPELINES = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
LIBRARIES = ("diffusers", "transformers")
COMPONENT_CLASSES = {
    "text_encoder": "CLIPTextModel",
    "unet": "UNet2DConditionModel",
    "vae": "AutoencoderKL",
}
WEIGHT_STEMS = {
    "text_encoder": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}
NEEDS_MORE = (
    "addition_embed_type",
    "class_embed_type",
    "encoder_hid_dim_type",
    "num_class_embeds",
)
"""What a UNet's configuration says if it takes more than latents, time and text."""
TINY_VAE_FOLDERS = ("taesd", "vae_tiny")


class PredictionType(StrEnum):
    """What the UNet predicts: the noise, the velocity (arXiv:2202.00512) or the clean latents."""

    EPSILON = "epsilon"
    V = "v_prediction"
    SAMPLE = "sample"


class Family(StrEnum):
    """The architecture, by the width of its text conditioning."""

    SD1 = "sd1"
    SD2 = "sd2"
    CUSTOM = "custom"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a model is, as far as its small files tell.

    Attributes:
        folder: Where it lies.
        family: ``sd1`` (768 wide text), ``sd2`` (1024) or ``custom`` (another width).
        prediction_type: What the UNet predicts.
        width: Of the pictures it was trained on, in pixels.
        height: Of the pictures it was trained on, in pixels.
        vae_scale: Pixels that one latent covers on a side.
        unet_channels: Of the UNet at full size, from which its memory is estimated.
        vae_channels: Of the VAE at full size.
        attention_heads: Of the UNet at full size.
        parameters: Count of the numbers in all weights, by component.
        weights: The weight file of each component.
        tiny_vae: Weight file of a TAESD-type decoder, or None.
    """

    folder: Path
    family: Family
    prediction_type: PredictionType
    width: int
    height: int
    vae_scale: int
    unet_channels: int
    vae_channels: int
    attention_heads: int
    parameters: Mapping[str, int]
    weights: Mapping[str, Path]
    tiny_vae: Path | None


def identify(folder: Path) -> Identity:
    """Identify the model in a folder.

    Raises:
        ModelInvalid: If a file is missing, damaged or contradicts another one.
        Unsupported: If it is a sound model of a kind that this version does not run.
        UnsafeFile: If its weights are pickles only, or it asks for code of its own.
    """
    _check_index(folder)
    unet = read_json(folder / "unet" / "config.json")
    vae = read_json(folder / "vae" / "config.json")
    text = read_json(folder / "text_encoder" / "config.json")
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    _check_tokenizer(folder / "tokenizer")
    _check_unet_kind(folder, unet)
    weights = {name: weight_file(folder / name, stem) for name, stem in WEIGHT_STEMS.items()}
    headers = {name: read_header(path) for name, path in weights.items()}
    _check_shapes(weights, headers, unet=unet, vae=vae, text=text)
    if not isinstance(scaling := vae.get("scaling_factor", 1.0), int | float) or scaling <= 0:
        raise bad_config(folder / "vae", "scaling_factor", scaling)
    vae_scale = 2 ** (len(value_of(folder / "vae", vae, "block_out_channels", list)) - 1)
    height, width = _sample_size(folder / "unet", unet)
    return Identity(
        folder=folder,
        family=_family(unet),
        prediction_type=_prediction_type(folder, scheduler),
        width=width * vae_scale,
        height=height * vae_scale,
        vae_scale=vae_scale,
        unet_channels=value_of(folder / "unet", unet, "block_out_channels", list)[0],
        vae_channels=value_of(folder / "vae", vae, "block_out_channels", list)[0],
        attention_heads=_heads(folder / "unet", unet),
        parameters={
            name: sum(tensor.count for tensor in header.values())
            for name, header in headers.items()
        },
        weights=weights,
        tiny_vae=_tiny_vae(folder),
    )


def _check_index(folder: Path) -> None:
    index = read_json(folder / "model_index.json")
    pipeline = index.get("_class_name")
    if pipeline not in PIPELINES:
        raise Unsupported(
            f"{folder} is a {pipeline}; this version runs Stable Diffusion 1.x and 2.x folders "
            f"({PIPELINES[0]})."
        )
    for name in ("text_encoder", "unet", "vae", "tokenizer", "scheduler"):
        entry = index.get(name)
        if not isinstance(entry, list) or len(entry) != 2 or None in entry:
            raise ModelInvalid(
                f"{folder / 'model_index.json'} names no {name}; save the model again in full."
            )
        library, cls = entry
        if library not in LIBRARIES:
            raise UnsafeFile(
                f"{folder / 'model_index.json'} wants its {name} from {library!r}, which is code "
                "that comes with the model; only diffusers' and transformers' own are run."
            )
        if cls != COMPONENT_CLASSES.get(name, cls):
            raise Unsupported(
                f"{folder} has a {name} of class {cls}; this version runs "
                f"{COMPONENT_CLASSES[name]}."
            )


def _check_tokenizer(folder: Path) -> None:
    has_parts = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    if not has_parts and not (folder / "tokenizer.json").is_file():
        raise ModelInvalid(
            f"{folder} holds neither vocab.json with merges.txt nor tokenizer.json; copy the "
            "tokenizer of the model that this one was made from."
        )


def _check_unet_kind(folder: Path, unet: Mapping[str, Any]) -> None:
    channels = unet.get("in_channels")
    if channels == 9:
        raise Unsupported(f"{folder} is an inpainting model; this version runs plain ones.")
    if channels != 4:
        raise Unsupported(f"The UNet of {folder} takes {channels} channels; this version runs 4.")
    if unet.get("time_cond_proj_dim") is not None:
        raise Unsupported(
            f"{folder} takes guidance as an input of its UNet (a distilled model); use the LCM "
            "LoRA's base model instead."
        )
    if (channels := unet.get("out_channels", 4)) != 4:
        raise Unsupported(f"The UNet of {folder} gives {channels} channels; this version runs 4.")
    if any(unet.get(key) for key in NEEDS_MORE):
        raise Unsupported(f"The UNet of {folder} needs more than a prompt, such as SDXL's do.")


def _check_shapes(
    weights: Mapping[str, Path],
    headers: Mapping[str, Mapping[str, TensorInfo]],
    *,
    unet: Mapping[str, Any],
    vae: Mapping[str, Any],
    text: Mapping[str, Any],
) -> None:
    """Hold the weights' shapes against the configurations, and these against each other."""
    folders = {name: path.parent for name, path in weights.items()}
    first = value_of(folders["unet"], unet, "block_out_channels", list)[0]
    width = value_of(folders["text_encoder"], text, "hidden_size", int)
    vocabulary = value_of(folders["text_encoder"], text, "vocab_size", int)
    latent = value_of(folders["vae"], vae, "latent_channels", int)
    widest = value_of(folders["vae"], vae, "block_out_channels", list)[-1]
    expected: dict[str, dict[str, tuple[int, ...]]] = {
        "unet": {
            "conv_in.weight": (first, 4, 3, 3),
            "conv_out.weight": (4, first, 3, 3),
        },
        "vae": {
            "decoder.conv_in.weight": (widest, latent, 3, 3),
            "encoder.conv_in.weight": (vae["block_out_channels"][0], 3, 3, 3),
        },
        "text_encoder": {"token_embedding.weight": (vocabulary, width)},
    }
    for component, shapes in expected.items():
        for suffix, shape in shapes.items():
            _check_shape(weights[component], headers[component], suffix, shape)
    if unet.get("cross_attention_dim") != width:
        raise ModelInvalid(
            f"The UNet of {folders['unet'].parent} reads text {unet.get('cross_attention_dim')} "
            f"wide and its text encoder writes {width}; they are not of one model."
        )
    if latent != 4:
        raise ModelInvalid(
            f"The VAE of {folders['vae'].parent} has {latent} latent channels and the UNet 4; "
            "they are not of one model."
        )


def _check_shape(
    path: Path, header: Mapping[str, TensorInfo], suffix: str, shape: tuple[int, ...]
) -> None:
    found = next((t.shape for name, t in header.items() if f".{name}".endswith(f".{suffix}")), None)
    if found is None:
        raise ModelInvalid(f"{path} lacks {suffix}; it is another model's, or cut short.")
    if found != shape:
        raise ModelInvalid(
            f"{path} has {suffix} of shape {list(found)} where config.json says {list(shape)}; "
            "put back the config.json that belongs to these weights."
        )


def _tiny_vae(folder: Path) -> Path | None:
    candidates = (folder / name for name in TINY_VAE_FOLDERS)
    found = next((path for path in candidates if (path / "config.json").is_file()), None)
    if found is None:
        return None
    if (channels := read_json(found / "config.json").get("latent_channels", 4)) != 4:
        raise ModelInvalid(
            f"The tiny decoder in {found} reads {channels} latent channels and the UNet writes 4; "
            "they are not of one model, remove it."
        )
    return weight_file(found, WEIGHT_STEMS["vae"])


def _sample_size(folder: Path, unet: Mapping[str, Any]) -> tuple[int, int]:
    """Read height and width of the latents that the UNet was trained on; 64 if it says none."""
    sides = numbers_of(folder, "sample_size", unet.get("sample_size") or 64)
    if len(sides) > 2:
        raise bad_config(folder, "sample_size", sides)
    return sides[0], sides[-1]


def _heads(folder: Path, unet: Mapping[str, Any]) -> int:
    """Read the UNet's number of heads, which its configuration calls ``attention_head_dim``."""
    heads = unet.get("num_attention_heads") or unet.get("attention_head_dim") or 8
    return numbers_of(folder, "attention_head_dim", heads)[0]


def _family(unet: Mapping[str, Any]) -> Family:
    match unet.get("cross_attention_dim"):
        case 768:
            return Family.SD1
        case 1024:
            return Family.SD2
        case _:
            return Family.CUSTOM


def _prediction_type(folder: Path, scheduler: Mapping[str, Any]) -> PredictionType:
    name = scheduler.get("prediction_type", "epsilon")
    try:
        return PredictionType(name)
    except ValueError:
        raise Unsupported(
            f"{folder} predicts {name!r}; this version knows {', '.join(PredictionType)}."
        ) from None
