"""Which form a LoRA has and which models it is for, from its tensors. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping

from core.models.lora_keys import PEFT_ROOT
from core.models.safetensors_header import Header, TensorInfo

_FORMS = (
    ("DoRA", (".dora_scale", ".lora_magnitude_vector", ".lora_magnitude_vector.weight")),
    ("LoHa", (".hada_w1_a", ".hada_w1_b")),
    ("LoKr", (".lokr_w1", ".lokr_w1_a", ".lokr_w2", ".lokr_w2_a")),
    (
        "LoRA",
        (
            ".lora_down.weight", ".lora_A.weight", ".lora.down.weight", "_lora.down.weight",
            ".lora_linear_layer.down.weight", ".lora_A.default.weight", ".lora_up.weight",
        ),
    ),
    ("LyCORIS (full)", (".diff", ".diff_b")),
)  # fmt: skip
"""Forms by the ends of their tensors' names, the more special ones first."""

_DOWN_ENDS = (
    ".lora_down.weight", ".lora_A.weight", ".lora.down.weight", "_lora.down.weight",
    ".lora_linear_layer.down.weight", ".lora_A.default.weight", ".hada_w1_b",
)  # fmt: skip
"""Matrices whose last side but for a kernel is what the layer reads."""

_TEXT_READERS = re.compile(r"attn2[._](?:processor\.)?to_[kv]")
_CLIP_LAYER = re.compile(
    r"(?:^lora_te_|^text_encoder\.|^lora_te1_|^base_model\.model\.text_model\.)"
    r".*(?:q_proj|k_proj|mlp[._]fc1)"
)

_FAMILY_OF_TEXT = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
_FAMILY_OF_CLIP = {768: "sd1", 1024: "sd2", 1280: "sdxl"}

_SECOND_ENCODER = re.compile(r"lora_te2_|text_encoder_2\.|clip_g\.|bundle_emb\..*\.clip_g$")
_SDXL_UNET = re.compile(
    r".*(?:transformer_blocks[._][1-9]|up_blocks[._]0[._]attentions|output_blocks[._][012][._]1[._])"
)
"""Where only SDXL's UNet has attention: more than one block in a transformer, and the first blocks
on the way up."""

_SD_UNET = re.compile(
    r".*(?:down_blocks[._]0|up_blocks[._]3)[._]attentions|.*input_blocks[._][12][._]1[._]"
)
"""Where only the UNets of 1.x and 2.x have attention."""

_SGM = re.compile(r"lora_unet_(?:input|middle|output)_block")
"""kohya's sd-scripts take SDXL's original names, and diffusers' for 1.x and 2.x."""

_SD_NAMES = (
    "lora_unet_", "lora_te", "lycoris_", "unet.", "text_encoder", "down_blocks.", "up_blocks.",
    "mid_block.", "lora_prior_", "bundle_emb.", "text_model.",
)  # fmt: skip

_BY_NOTE = (
    ("sdxl", ("sdxl", "stable-diffusion-xl")),
    ("sd2", ("sd_v2", "stable-diffusion-v2")),
    ("sd1", ("sd_v1", "stable-diffusion-v1", "sd_1.5")),
)


def lora_form(tensors: Mapping[str, TensorInfo]) -> str | None:
    """Name the form of a LoRA; None if the tensors are none of one."""
    for form, ends in _FORMS:
        if any(name.endswith(ends) for name in tensors):
            return form
    return None


def lora_family(header: Header) -> str | None:
    """Tell which family a LoRA is for, from widths, names, and what its maker noted, in this order.

    Returns:
        ``sd1``, ``sd2``, ``sdxl``, ``custom`` for a Stable Diffusion of another width, or None if
        it is for something else.
    """
    tensors = header.tensors
    if _has(tensors, _SECOND_ENCODER):
        return "sdxl"
    width = _width(tensors, _TEXT_READERS)
    if width in _FAMILY_OF_TEXT:
        return _FAMILY_OF_TEXT[width]
    is_sd = _has(tensors, _SD_UNET)
    if _has(tensors, _SDXL_UNET) or (_has(tensors, _SGM) and not is_sd):
        return "sdxl"
    # kohya's first of two; diffusers calls the only one so too, beside a UNet's tensors.
    if all(name.startswith("lora_te1_") for name in tensors):
        return "sdxl"
    noted = " ".join(
        header.metadata.get(key, "").lower()
        for key in ("ss_base_model_version", "modelspec.architecture")
    )
    for family, words in _BY_NOTE:
        if any(word in noted for word in words):
            return family
    width = width or _width(tensors, _CLIP_LAYER)
    if width in _FAMILY_OF_CLIP:
        return _FAMILY_OF_CLIP[width]
    if not any(name.removeprefix(PEFT_ROOT).startswith(_SD_NAMES) for name in tensors):
        return None
    return "custom" if width is not None else "sd1"


def _has(tensors: Mapping[str, TensorInfo], pattern: re.Pattern[str]) -> bool:
    return any(pattern.match(name) for name in tensors)


def _width(tensors: Mapping[str, TensorInfo], layers: re.Pattern[str]) -> int | None:
    """Read how wide a layer's input is: cross attention's, or that of CLIP's layers."""
    for name, info in tensors.items():
        if layers.search(name) and name.endswith(_DOWN_ENDS) and len(info.shape) > 1:
            return info.shape[1]
        if layers.search(name) and (width := _kronecker_width(name, tensors)):
            return width
    return None


def _kronecker_width(name: str, tensors: Mapping[str, TensorInfo]) -> int | None:
    """Multiply what the two factors of a LoKr read; each is whole or itself a product."""
    stem = re.sub(r"\.lokr_w[12](?:_[ab])?$", "", name)
    if stem == name:
        return None
    sides = []
    for factor in ("lokr_w1", "lokr_w2"):
        found = tensors.get(f"{stem}.{factor}") or tensors.get(f"{stem}.{factor}_b")
        if found is None or len(found.shape) < 2:
            return None
        sides.append(found.shape[1])
    return sides[0] * sides[1]
