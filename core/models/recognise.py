"""What a file of weights is that is no whole model, from its tensors' names and shapes.

Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import ModelInvalid, Unsupported
from core.models import foreign
from core.models.adapter_names import (
    ENCODERS,
    NO_WORDS,
    OUTPUTS,
    is_words,
    only_outputs,
    several_words,
    unknown_in_lora,
    unknown_tensors,
    unsupported_form,
)
from core.models.lora_kinds import lora_family, lora_form
from core.models.safetensors_header import Header, TensorInfo
from core.models.upscaler_kinds import name_of_upscaler

Tensors = Mapping[str, TensorInfo]

FAMILY_TITLES = {
    "sd1": "Stable Diffusion 1.x",
    "sd2": "Stable Diffusion 2.x",
    "sdxl": "SDXL",
    "sdxl-refiner": "SDXL refiner",
    "custom": "custom Stable Diffusion",
}

FAMILY_OF_WIDTH = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
"""Families by the width of the text that their UNets read."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a file is.

    Attributes:
        kind: One of ``core.models.verdict.Kind``'s values.
        family: The architecture it belongs to.
        title: For people.
    """

    kind: str
    family: str
    title: str


def recognise(path: Path, header: Header) -> Recognised:
    """Say what a file is that is no whole model.

    Raises:
        ModelInvalid: If it holds nothing.
        Unsupported: If it is of a kind that is not run; it is named if it is known.
    """
    tensors = header.tensors
    if not tensors:
        raise ModelInvalid(f"{path} holds no tensors; download it again.")
    found = (
        _lora(path, header)
        or _embedding(path, tensors)
        or _controlnet(path, tensors)
        or _vae(path, tensors)
        or _upscaler(path, tensors)
    )
    if found is not None:
        return found
    raise Unsupported(f"{path} is {_name(tensors)}; this version has no use for it.")


_OPTIONS = {
    "lora": "--lora",
    "embedding": "--embedding",
    "vae": "--vae",
    "controlnet": "--control",
    "upscaler": "--upscaler",
    "captioner": "`stepwise caption --model`",
}
"""What takes each kind of file."""


def no_whole_model(path: Path, found: Recognised) -> Unsupported:
    """Say that what is given for a model is something else, and where to give it."""
    return Unsupported(
        f"{path} is no whole model ({found.title}); give it with {_OPTIONS[found.kind]}."
    )


def _name(tensors: Tensors) -> str:
    model = foreign.name_of_model(tensors)
    if model is not None:
        return f"a {model} model"
    if "down_blocks.0.resnets.0.conv1.weight" in tensors and "conv_in.weight" in tensors:
        return "a UNet alone, without its text encoder and VAE"
    other = foreign.name_of_other(tensors)
    return other or f"sound, but nothing that is known here (it has a tensor {min(tensors)!r})"


def _lora(path: Path, header: Header) -> Recognised | None:
    if (unsupported := unsupported_form(header.tensors)) is not None:
        raise Unsupported(
            f"{path} is or holds {unsupported}; this version takes LoRA, LoHa, LoKr and DoRA."
        )
    form = lora_form(header.tensors)
    if form is None:
        return None
    if "lora_controlnet" in header.tensors:
        raise Unsupported(f"{path} is a Control-LoRA; this version has no use for it.")
    other = foreign.name_of_lora(header.tensors)
    if other is not None:
        raise Unsupported(
            f"{path} is a {other} LoRA; this version takes those of Stable Diffusion 1.x, 2.x and "
            "XL."
        )
    if unknown := unknown_in_lora(header.tensors):
        raise unknown_tensors(path, len(header.tensors), unknown)
    family = lora_family(header)
    if family is None:
        raise Unsupported(
            f"{path} is a LoRA of another kind of model (it has a tensor {min(header.tensors)!r}); "
            "this version takes those of Stable Diffusion 1.x, 2.x and XL."
        )
    return Recognised("lora", family, f"{form} for {FAMILY_TITLES[family]}")


_EMBEDDING_WIDTHS = {768: "sd1", 1024: "sd2", 1280: "sdxl"}
_MOST_VECTORS = 1000


def _embedding(path: Path, tensors: Tensors) -> Recognised | None:
    """Know a textual inversion: a few rows as wide as a text encoder's tokens."""
    outputs = sorted(tensors.keys() & set(OUTPUTS))
    shapes = {name: info.shape for name, info in tensors.items() if name not in OUTPUTS}
    if not shapes:
        raise only_outputs(path, outputs)
    named = all(name in ENCODERS or name.startswith("string_to_param.") for name in shapes)
    if named:
        _check_vectors(path, tensors)
        if len(words := [name for name in shapes if name not in ENCODERS]) > 1:
            raise several_words(path, words)
    rows = [shape for shape in shapes.values() if len(shape) in (1, 2)]
    if len(rows) < len(shapes) or any(len(s) == 2 and s[0] > _MOST_VECTORS for s in rows):
        return None
    widths = {shape[-1] for shape in rows}
    # Under a name of its own there is one word.
    alone = len(shapes) == 1 and not min(shapes).endswith(NO_WORDS)
    if "t5xxl" in shapes or ((named or alone) and widths == {4096}):
        raise Unsupported(
            f"{path} is an embedding for a T5 text encoder, as FLUX.1 and Stable Diffusion 3 have; "
            "this version takes CLIP's."
        )
    if not named and not widths <= _EMBEDDING_WIDTHS.keys():
        return None
    if not named and is_words(shapes):
        raise several_words(path, shapes)
    if not named and not alone:
        return None
    _check_vectors(path, tensors)
    pair = {"clip_l", "clip_g"} <= shapes.keys() or widths == {768, 1280}
    if not pair and 1280 in widths:
        raise Unsupported(
            f"{path} has vectors for one of SDXL's two text encoders alone ({min(shapes)}, 1280 "
            "wide); get the embedding with those for both."
        )
    family = "sdxl" if pair else _EMBEDDING_WIDTHS.get(min(widths), "custom")
    without = ", but for its vectors for the text encoder's output" if outputs else ""
    return Recognised("embedding", family, f"Embedding for {FAMILY_TITLES[family]}{without}")


def _check_vectors(path: Path, tensors: Tensors) -> None:
    """Make sure that what an embedding's tensors are called is what they are.

    Raises:
        ModelInvalid: If they are whole numbers, or lie on their side.
    """
    for name, info in tensors.items():
        sides = info.shape
        if not info.dtype.startswith(("F", "BF")):
            raise ModelInvalid(
                f"{path} holds no vectors ({name} is of type {info.dtype}); get it again."
            )
        lies = len(sides) == 2 and sides[0] in _EMBEDDING_WIDTHS and sides[1] < sides[0]
        if lies and sides[1] not in _EMBEDDING_WIDTHS:
            raise ModelInvalid(
                f"{path} has {name} of shape {list(sides)}, with its sides swapped; save it as "
                f"{list(reversed(sides))}."
            )


def _controlnet(path: Path, tensors: Tensors) -> Recognised | None:
    if any(name.startswith("lllite_unet_") for name in tensors):
        raise Unsupported(f"{path} is a ControlNet-LLLite; this version takes full ControlNets.")
    if any(name.startswith(("controlnet_blocks.", "controlnet_x_embedder.")) for name in tensors):
        other = foreign.name_of_model(tensors) or "FLUX.1 or Stable Diffusion 3"
        raise Unsupported(
            f"{path} is a ControlNet for {other}; this version takes those of Stable Diffusion "
            "1.x, 2.x and XL."
        )
    marks = ("controlnet_cond_embedding.conv_in.weight", "input_hint_block.0.weight")
    if not any(name.endswith(marks) for name in tensors):
        return None
    if "task_embedding" in tensors or "control_add_embedding.linear_1.weight" in tensors:
        raise Unsupported(
            f"{path} is a ControlNet Union, which is told its task; this version takes those of "
            "one task."
        )
    tensors = control_tensors(tensors)
    family = _family_by_text(tensors)
    if family is None and any("add_embedding." in name for name in tensors):
        family = "sdxl"
    family = family or "custom"
    return Recognised("controlnet", family, f"ControlNet for {FAMILY_TITLES[family]}")


CONTROL = "control_model."
"""How the original names of a ControlNet's tensors begin, in some files."""


def tensors_below(tensors: Tensors, prefix: str) -> dict[str, TensorInfo]:
    """Give the tensors whose names begin so, without that beginning."""
    return {
        name.removeprefix(prefix): info for name, info in tensors.items() if name.startswith(prefix)
    }


def control_tensors(tensors: Tensors) -> Tensors:
    """Give a ControlNet's own tensors, of a file that may hold the model that it was trained on."""
    return tensors_below(tensors, CONTROL) or tensors


def _family_by_text(tensors: Tensors) -> str | None:
    """Tell a UNet-like network's family by the width of the text that it reads."""
    ends = "attn2.to_k.weight"
    width = next((t.shape[-1] for name, t in tensors.items() if name.endswith(ends)), None)
    return None if width is None else FAMILY_OF_WIDTH.get(width, "custom")


VAE_PREFIXES = ("first_stage_model.", "vae.", "")
"""How the names of a VAE's tensors begin, in files that hold no more than one."""

_SD1_VAES = re.compile(r"ft[-_]?(?:mse|ema)|840000|560000|kl[-_]f8|sd[-_ .]?v?[12]")
"""In the names of Stable Diffusion 1.x's and 2.x's VAEs, which are alike."""


def _vae(path: Path, tensors: Tensors) -> Recognised | None:
    for prefix in VAE_PREFIXES:
        decoder = tensors.get(f"{prefix}decoder.conv_in.weight")
        if decoder is not None:
            break
    else:
        return None
    if len(decoder.shape) != 4:
        raise Unsupported(f"{path} is a VAE for video; this version takes Stable Diffusion's.")
    if f"{prefix}encoder.conv_in.weight" not in tensors:
        raise Unsupported(f"{path} is the decoder of a VAE alone; get the whole VAE.")
    latent = decoder.shape[1]
    if latent != 4:
        of = " (FLUX.1's and Stable Diffusion 3's have 16)" if latent == 16 else ""
        raise Unsupported(
            f"{path} is a VAE of {latent} latent channels{of}; this version takes Stable "
            "Diffusion's, which have 4."
        )
    if any(name.startswith(f"{prefix}decoder.layers.") for name in tensors):
        return None
    told = vae_family(path)
    family = told or "sd1"
    why = "as its name says" if told else "as nothing says otherwise"
    return Recognised("vae", family, f"VAE for {FAMILY_TITLES[family]}, {why}")


def vae_family(path: Path) -> str | None:
    """Tell from its file's name which family a VAE is for, as its tensors do not."""
    name = path.stem.lower()
    if "xl" in name:
        return "sdxl"
    return "sd1" if _SD1_VAES.search(name) else None


def _upscaler(path: Path, tensors: Tensors) -> Recognised | None:
    title = name_of_upscaler(path, tensors)
    return None if title is None else Recognised("upscaler", "custom", title)
