"""A whole model in one file, under Stable Diffusion's original names (LDM and sgm).

Imports no torch. Such a file tells nothing of how its modules are built; that is kept here, in
``configs``, with the values of the folders that were published of the same models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from core.errors import ModelInvalid, Unsupported
from core.models import foreign
from core.models.folder_files import read_json
from core.models.naming import words_of
from core.models.parts import Parts
from core.models.recognise import CONTROL, no_whole_model, recognise, tensors_below
from core.models.safetensors_header import Header, TensorInfo
from core.models.tensor_list import read_tensors
from core.models.unet_layout import fitted_unet

CONFIGS = Path(__file__).parent / "configs"

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP_L = "cond_stage_model.transformer."
CLIP_H = "cond_stage_model.model."
XL_CLIP_L = "conditioner.embedders.0.transformer."
XL_CLIP_G = "conditioner.embedders.1.model."
ONE_OPEN_CLIP = "conditioner.embedders.0.model."
"""SDXL's refiner has its text encoder there, and so have SD-Turbo's files."""

_PREFIXES = {
    "sd1": {"unet": UNET, "vae": VAE, "text_encoder": CLIP_L},
    "sd2": {"unet": UNET, "vae": VAE, "text_encoder": CLIP_H},
    "sdxl": {
        "unet": UNET,
        "vae": VAE,
        "text_encoder": XL_CLIP_L,
        "text_encoder_2": XL_CLIP_G,
    },
    "sdxl-refiner": {"unet": UNET, "vae": VAE, "text_encoder_2": ONE_OPEN_CLIP},
}
"""Where each component lies in a file."""

_PART_NAMES = {
    "unet": "UNet",
    "vae": "VAE",
    "text_encoder": "text encoder",
    "text_encoder_2": "second text encoder",
}

_LONGEST_YAML = 1 << 20
"""Bytes of a configuration that are read."""

CONV_IN = f"{UNET}input_blocks.0.0.weight"


def is_single_file_model(tensors: Mapping[str, TensorInfo]) -> bool:
    """Whether the names are those of a whole Stable Diffusion model.

    The first ControlNets were shared with the model that they were trained beside, whose part in
    such a file is the smaller one: see ``core.models.recognise``.
    """
    return CONV_IN in tensors and not _begins(tensors, CONTROL)


def family_of(tensors: Mapping[str, TensorInfo]) -> str:
    """Tell a family by the text encoders in a file, and by what its UNet reads.

    Returns:
        ``sd1``, ``sd2``, ``sdxl`` or ``sdxl-refiner``.
    """
    if f"{UNET}label_emb.0.0.weight" in tensors:
        return "sdxl-refiner" if _begins(tensors, ONE_OPEN_CLIP) else "sdxl"
    if _begins(tensors, CLIP_H) or _begins(tensors, ONE_OPEN_CLIP):
        return "sd2"
    return "sd1"


def component_prefix(family: str, component: str, names: Iterable[str]) -> str:
    """Say how the names of a component's tensors begin in a file of these names."""
    if family == "sd2" and component == "text_encoder" and _begins(names, ONE_OPEN_CLIP):
        return ONE_OPEN_CLIP
    return _PREFIXES[family][component]


def read_single_file(path: Path, configs: Path = CONFIGS) -> Parts:
    """Read the header of a whole model's file.

    Args:
        path: The file.
        configs: Folder of the families' configurations.

    Raises:
        ModelMissing: If it is not there.
        ModelInvalid: If it is damaged or lacks a part.
        Unsupported: If it is no whole model, or one of a kind that is not run; it is named.
        UnsafeFile: If it is a pickle that asks for more than tensors.
    """
    return parts_of(path, read_tensors(path), configs)


def parts_of(path: Path, header: Header, configs: Path = CONFIGS) -> Parts:
    """Say which parts a whole model's file of this header has; see ``read_single_file``."""
    tensors = header.tensors
    if not is_single_file_model(tensors):
        if (what := foreign.name_of_model(tensors)) is not None:
            raise Unsupported(
                f"{path} is a {what} model; this version runs Stable Diffusion 1.x, 2.x and XL."
            )
        raise no_whole_model(path, recognise(path, header))
    if (relative := foreign.name_of_unet(tensors)) is not None:
        raise Unsupported(
            f"{path} is {relative}; this version runs Stable Diffusion 1.x, 2.x and XL."
        )
    family = family_of(tensors)
    headers = {
        name: tensors_below(tensors, component_prefix(family, name, tensors))
        for name in _PREFIXES[family]
    }
    for name, part in headers.items():
        if not part:
            raise ModelInvalid(
                f"{path} has no {_PART_NAMES[name]}; get the full file of this model."
            )
    return Parts(
        path=path,
        configs=_fitted(_configs_of(configs, family), path, header),
        headers=headers,
        weights=dict.fromkeys(headers, path),
        metadata=header.metadata,
        layout=family,
    )


@cache
def _configs_of(folder: Path, family: str) -> Mapping[str, Any]:
    return read_json(folder / f"{family}.json")


def _fitted(configs: Mapping[str, Any], path: Path, header: Header) -> dict[str, dict[str, Any]]:
    """Change a family's configuration to what this file tells."""
    made = {name: dict(values) for name, values in configs.items() if isinstance(values, dict)}
    channels = header.tensors[CONV_IN].shape
    made["unet"] = fitted_unet(made["unet"], tensors_below(header.tensors, UNET))
    made["unet"]["in_channels"] = channels[1] if len(channels) == 4 else 0
    prediction = _prediction_type(header, path)
    if prediction is not None:
        made["scheduler"]["prediction_type"] = prediction
    if "ztsnr" in header.tensors:
        made["scheduler"] |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    side = _trained_side(header, path)
    if side is not None:
        made["unet"]["sample_size"] = side // 8
    return made


def _prediction_type(header: Header, path: Path) -> str | None:
    """Read what a UNet predicts, where the file tells; None leaves it at its family's usual.

    Stable Diffusion 2.x does not tell: its 512 pixel models predict the noise, the others the
    velocity. The empty tensor ``v_pred`` is how SDXL files have come to tell, and the
    configuration that the original code reads, of the same name beside the file.
    """
    told = header.metadata.get("modelspec.prediction_type", "").lower()
    if told in ("v", "v_prediction", "epsilon"):
        return "epsilon" if told == "epsilon" else "v_prediction"
    if "v_pred" in header.tensors:
        return "v_prediction"
    if (beside := _prediction_beside(path)) is not None:
        return beside
    words = words_of(path)
    if family_of(header.tensors) == "sd2" and words & {"512", "base", "turbo", "inpainting"}:
        return "epsilon"
    if words >= {"v", "pred"} or "vpred" in words:
        return "v_prediction"
    return None


def _prediction_beside(path: Path) -> str | None:
    """Read the prediction from the original code's configuration, if one lies beside a file."""
    try:
        with path.with_suffix(".yaml").open(encoding="utf-8") as file:
            text = file.read(_LONGEST_YAML)
    except (OSError, ValueError):
        return None
    if "sgm." in text:  # SDXL's code says it otherwise.
        return "v_prediction" if "VScaling" in text else None
    found = re.search(r"^\s*parameterization:\s*[\"']?(\w+)", text, re.MULTILINE)
    if found is None:
        # The original code's default (ldm/models/diffusion/ddpm.py).
        return "epsilon" if re.search(r"^model:", text, re.MULTILINE) else None
    return {"v": "v_prediction", "eps": "epsilon", "x0": "sample"}.get(found[1])


def doubts_of(path: Path) -> str:
    """Say that nothing tells what a single file's UNet predicts; empty where something does.

    Raises:
        CoreError: If it cannot be read; see ``read_single_file``.
    """
    header = read_tensors(path)
    if family_of(header.tensors) != "sd2" or _prediction_type(header, path) is not None:
        return ""
    return (
        f"{path.name} does not say what it predicts, and is taken for one of Stable Diffusion 2's "
        "models of 768 pixels, which predict the velocity; if its pictures are noise, put "
        f"{path.stem}.yaml with the lines `model:` and `parameterization: eps` beside it."
    )


def _trained_side(header: Header, path: Path) -> int | None:
    """Read the side in pixels of the pictures that a model was trained on, where the file tells."""
    told = re.match(r"(\d+)", header.metadata.get("modelspec.resolution", ""))
    if told and 64 <= int(told[1]) <= 4096 and int(told[1]) % 8 == 0:
        return int(told[1])
    words = words_of(path)
    # The Turbo models were distilled at 512 pixels (Sauer et al. 2023, arXiv:2311.17042).
    if "turbo" in words and words & {"sd", "sdxl"}:
        return 512
    is_sd2 = family_of(header.tensors) == "sd2"
    if is_sd2 and (words & {"512", "base", "inpainting"} or _prediction_beside(path) == "epsilon"):
        return 512
    return None


def _begins(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)
