"""Read what a model is from its configuration and headers, before a byte of weights is read.

Imports no torch. A model is a folder as diffusers saves a pipeline, or one file under Stable
Diffusion's original names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.coreml_folder import MANIFEST
from core.errors import ModelInvalid, Unsupported
from core.models import families
from core.models.exported import PACKAGES as EXPORTED_PARTS
from core.models.exported import (
    Exported,
    family_of,
    fitted_configs,
    is_exported,
    part_alone,
    read_exported,
)
from core.models.families import Distillation, Family, PredictionType
from core.models.folder_files import bad_config, numbers_of, read_json, value_of, weight_files
from core.models.model_folder import WEIGHT_STEMS, read_folder
from core.models.naming import words_of
from core.models.parts import TEXT_ENCODERS, Parts, check_shapes, check_unet_kind
from core.models.safetensors_header import precision_of
from core.models.single_file import CONFIGS, read_single_file

TINY_VAE_FOLDERS = ("taesd", "vae_tiny")

__all__ = ["Distillation", "Family", "Identity", "PredictionType", "identify"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a model is, as far as its small files tell.

    Attributes:
        folder: Its folder, or that of its file.
        path: Where it lies: the folder or the file.
        single_file: Whether it is one file under the original names.
        family: By its text: ``sd1`` (768 wide), ``sd2`` (1024), ``sdxl``, ``sdxl-refiner`` or
            ``custom``.
        prediction_type: What the UNet predicts.
        inpainting: Whether the UNet takes a mask and what is kept beside it (9 channels).
        needs_size: Whether the UNet is told size and crop of the picture, as SDXL's is.
        is_scored: Whether it is told how beautiful the picture is too, as SDXL's refiner is.
        zeros_for_empty: Whether an empty negative prompt is all zeros to it, as to SDXL's.
        guidance_embedding: Whether the UNet takes guidance as a number, as an LCM's does.
        zero_terminal_snr: Whether its schedule is to end in pure noise (arXiv:2305.08891).
        distillation: How it was taught to need few steps, if it was.
        is_guess: Whether nothing but its name says how it was distilled, so that a person may
            decide otherwise.
        own_spacing: How its timesteps are spread if that guess is wrong.
        defaults: Its good settings.
        width: Of the pictures it was trained on, in pixels.
        height: Of the pictures it was trained on, in pixels.
        vae_scale: Pixels that one latent covers on a side.
        unet_channels: Of the UNet at full size, from which its memory is estimated.
        vae_channels: Of the VAE at full size.
        attention_heads: Of the UNet's blocks on the way down, the one at full size first; 0 where
            there is no attention.
        text_encoders: Names of its text encoders, one or two.
        configs: Each component's configuration, the scheduler's, and a folder's ``pipeline``.
        precision: The number format of most of its UNet's weights, such as ``"fp16"``.
        parameters: Count of the numbers in all weights, by component.
        weights: The weight file of each component; those after the first of a component that is
            split are numbered (``unet.2``).
        tiny_vae: Weight file of a TAESD-type decoder, or None.
        exported: What is known of it beside if it is a folder of exported parts, or None.
    """

    folder: Path
    path: Path
    single_file: bool
    family: Family
    prediction_type: PredictionType
    inpainting: bool
    needs_size: bool
    is_scored: bool
    zeros_for_empty: bool
    guidance_embedding: bool
    zero_terminal_snr: bool
    distillation: Distillation
    is_guess: bool
    own_spacing: str
    defaults: families.Defaults
    width: int
    height: int
    vae_scale: int
    unet_channels: int
    vae_channels: int
    attention_heads: tuple[int, ...]
    text_encoders: tuple[str, ...]
    configs: Mapping[str, Mapping[str, Any]]
    precision: str
    parameters: Mapping[str, int]
    weights: Mapping[str, Path]
    tiny_vae: Path | None
    exported: Exported | None = None


@dataclass(frozen=True, slots=True)
class _Taught:
    """How a model came to need few steps; see ``Identity``."""

    distillation: Distillation
    is_guess: bool
    steps: int | None


def identify(path: Path, configs: Path = CONFIGS) -> Identity:
    """Identify a model.

    Args:
        path: A folder, or a file that holds all of it.
        configs: Folder of the families' configurations, which a single file lacks.

    Raises:
        ModelMissing: If there is no such file.
        ModelInvalid: If a file is missing, damaged or contradicts another one.
        Unsupported: If it is a sound model of a kind that this version does not run.
        UnsafeFile: If its weights are pickles that could run code, or it asks for code of its own.
    """
    if path.suffix in EXPORTED_PARTS:
        raise part_alone(path)
    if path.is_dir():
        return _of_exported(path, configs) if is_exported(path) else identity_of(read_folder(path))
    return identity_of(read_single_file(path, configs))


def identity_of(parts: Parts) -> Identity:
    """Identify a model by its parts; see ``identify``."""
    check_unet_kind(parts)
    check_shapes(parts)
    return _described(parts, _taught_by(parts))


def _of_exported(folder: Path, configs: Path) -> Identity:
    """Identify a folder of exported parts; see ``identify``."""
    exported, manifest = read_exported(folder)
    model: Mapping[str, Any] = {}
    if manifest is None:
        predicts_noise = bool(words_of(folder) & {"512", "base", "turbo", "inpainting"})
        family = read_json(configs / f"{family_of(exported)}.json")
        values = fitted_configs(family, exported, predicts_noise=predicts_noise)
    else:
        model = manifest.model
        values = value_of(folder / MANIFEST, model, "configs", dict)
    parts = Parts(
        path=folder,
        configs=values,
        headers={},
        weights=exported.weights,
        metadata={},
        layout=None,
    )
    try:
        check_unet_kind(parts)
        taught = _taught_by(parts) if manifest is None else _noted(model)
        width, height = exported.sizes[0]
        return dataclasses.replace(
            _described(parts, taught),
            width=width,
            height=height,
            precision="fp16" if exported.compression == "none" else exported.compression,
            parameters=model.get("parameters") or _estimated(exported),
            exported=exported,
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ModelInvalid(
            f"{folder / MANIFEST} does not describe its model ({error!r}); export again."
        ) from error


def _noted(model: Mapping[str, Any]) -> _Taught:
    """Read what an export noted."""
    distillation = Distillation(model.get("distillation", "none"))
    return _Taught(distillation, bool(model.get("is_guess")), model.get("steps"))


def _estimated(exported: Exported) -> dict[str, int]:
    """Count the numbers of each component's weights, taken for fp16."""
    names = ("unet", *TEXT_ENCODERS, "vae")
    return {name: sum(part.size for part in exported.of(name)) // 2 for name in names}


def _taught_by(parts: Parts) -> _Taught:
    distillation = families.stated_distillation(parts.configs["unet"], parts.configs["scheduler"])
    is_stated = distillation is not Distillation.NONE
    if not is_stated:
        distillation = families.named_distillation(parts.path, parts.metadata)
    is_guess = not is_stated and distillation is not Distillation.NONE
    return _Taught(distillation, is_guess, families.distilled_steps(parts.path))


def _described(parts: Parts, taught: _Taught) -> Identity:
    """Put together what configurations and headers tell."""
    path = parts.path
    unet, vae = parts.configs["unet"], parts.configs["vae"]
    unet_folder, vae_folder = (
        parts.weights[name].parent if name in parts.weights else path for name in ("unet", "vae")
    )
    if not isinstance(scaling := vae.get("scaling_factor", 1.0), int | float) or scaling <= 0:
        raise bad_config(vae_folder, "scaling_factor", scaling)
    vae_scale = 2 ** (len(value_of(vae_folder, vae, "block_out_channels", list)) - 1)
    height, width = _sample_size(unet_folder, unet)
    scheduler = parts.configs["scheduler"]
    own_spacing = str(scheduler.get("timestep_spacing", "leading"))
    family = _family(parts)
    defaults = families.defaults_for(
        family,
        taught.distillation,
        guidance_embedding=unet.get("time_cond_proj_dim") is not None,
        zero_terminal_snr=bool(scheduler.get("rescale_betas_zero_snr")),
        steps=taught.steps,
    )
    if parts.single_file and defaults.timestep_spacing:
        scheduler = {**scheduler, "timestep_spacing": defaults.timestep_spacing}
    return Identity(
        folder=path.parent if parts.single_file else path,
        path=path,
        single_file=parts.single_file,
        family=family,
        prediction_type=_prediction_type(path, scheduler),
        inpainting=unet["in_channels"] == 9,
        needs_size=parts.is_sdxl,
        is_scored=parts.is_scored,
        zeros_for_empty=parts.is_sdxl
        and bool(parts.configs.get("pipeline", {}).get("force_zeros_for_empty_prompt", True)),
        guidance_embedding=unet.get("time_cond_proj_dim") is not None,
        zero_terminal_snr=bool(scheduler.get("rescale_betas_zero_snr")),
        distillation=taught.distillation,
        is_guess=taught.is_guess,
        own_spacing=own_spacing,
        defaults=defaults,
        width=width * vae_scale,
        height=height * vae_scale,
        vae_scale=vae_scale,
        unet_channels=value_of(unet_folder, unet, "block_out_channels", list)[0],
        vae_channels=value_of(vae_folder, vae, "block_out_channels", list)[0],
        attention_heads=_heads(unet_folder, unet),
        text_encoders=parts.text_encoders,
        configs={**parts.configs, "scheduler": scheduler},
        precision=precision_of(parts.headers.get("unet", {}).values()),
        parameters={
            name: sum(tensor.count for tensor in header.values())
            for name, header in parts.headers.items()
        },
        weights=parts.weights,
        tiny_vae=None if parts.single_file else _tiny_vae(path),
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
    return weight_files(found, WEIGHT_STEMS["vae"])[0]


def _sample_size(folder: Path, unet: Mapping[str, Any]) -> tuple[int, int]:
    """Read height and width of the latents that the UNet was trained on; 64 if it says none."""
    sides = numbers_of(folder, "sample_size", unet.get("sample_size") or 64)
    if len(sides) > 2:
        raise bad_config(folder, "sample_size", sides)
    return sides[0], sides[-1]


def _heads(folder: Path, unet: Mapping[str, Any]) -> tuple[int, ...]:
    """Read each block's number of heads, which the configuration calls ``attention_head_dim``."""
    usual = {"down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]}
    kinds = value_of(folder, {**usual, **unet}, "down_block_types", list)
    named = unet.get("num_attention_heads") or unet.get("attention_head_dim") or 8
    heads = numbers_of(folder, "attention_head_dim", named)
    if len(heads) == 1:
        heads *= len(kinds)
    if len(heads) != len(kinds):
        raise bad_config(folder, "attention_head_dim", named)
    return tuple(
        number if "Attn" in str(kind) else 0 for kind, number in zip(kinds, heads, strict=True)
    )


def _family(parts: Parts) -> Family:
    if parts.layout is not None:
        return Family(parts.layout)
    if parts.is_sdxl:
        return Family.SDXL if len(parts.text_encoders) == 2 else Family.SDXL_REFINER
    match parts.configs["unet"].get("cross_attention_dim"):
        case 768:
            return Family.SD1
        case 1024:
            return Family.SD2
        case _:
            return Family.CUSTOM


def _prediction_type(path: Path, scheduler: Mapping[str, Any]) -> PredictionType:
    name = scheduler.get("prediction_type", "epsilon")
    try:
        return PredictionType(name)
    except ValueError:
        raise Unsupported(
            f"{path} predicts {name!r}; this version knows {', '.join(PredictionType)}."
        ) from None
