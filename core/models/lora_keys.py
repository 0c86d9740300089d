"""Which tensor of a LoRA file is what, and which module of a model it belongs to.

Imports no torch. The names are those of kohya's sd-scripts, LyCORIS, OneTrainer, peft, diffusers
and diffusers' first LoRA scripts. A module is looked up by its name with ``_`` for ``.``, under
diffusers' name and under that of the original (LDM, sgm) code.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum

from core.models.original_names import UnetNames

UNET, TEXT, TEXT_2 = "unet", "text_encoder", "text_encoder_2"
"""The components that a LoRA can change, by diffusers' names."""

PEFT_ROOT = "base_model.model."
"""How the names in files that peft itself saved begin."""


class Role(StrEnum):
    """What a tensor is in the change of its module; see ``core.models.lora_math``."""

    DOWN = "down"
    UP = "up"
    MID = "mid"
    ALPHA = "alpha"
    DORA_SCALE = "dora_scale"
    MAGNITUDE = "magnitude"
    HADA_W1_A = "hada_w1_a"
    HADA_W1_B = "hada_w1_b"
    HADA_W2_A = "hada_w2_a"
    HADA_W2_B = "hada_w2_b"
    HADA_T1 = "hada_t1"
    HADA_T2 = "hada_t2"
    LOKR_W1 = "lokr_w1"
    LOKR_W1_A = "lokr_w1_a"
    LOKR_W1_B = "lokr_w1_b"
    LOKR_W2 = "lokr_w2"
    LOKR_W2_A = "lokr_w2_a"
    LOKR_W2_B = "lokr_w2_b"
    LOKR_T2 = "lokr_t2"
    DIFF = "diff"
    DIFF_B = "diff_b"


_PATTERNS = (
    (r"\.lora_down\.weight|\.lora_A(?:\.\w+)?\.weight", Role.DOWN),
    (r"\.lora_up\.weight|\.lora_B(?:\.\w+)?\.weight", Role.UP),
    (r"(?:[._]lora|\.lora_linear_layer)\.down\.weight", Role.DOWN),
    (r"(?:[._]lora|\.lora_linear_layer)\.up\.weight", Role.UP),
    (r"\.lora_mid\.weight", Role.MID),
    (r"\.lora_magnitude_vector(?:\.\w+)?(?:\.weight)?", Role.MAGNITUDE),
    (r"\.w_norm", Role.DIFF),
    (r"\.b_norm", Role.DIFF_B),
)
_NAMED = "|".join(role for role in Role if role not in (Role.DOWN, Role.UP, Role.MID))
_KEY = re.compile(
    "(?P<stem>.+?)(?:"
    + "|".join(f"(?P<p{i}>{pattern})" for i, (pattern, _) in enumerate(_PATTERNS))
    + rf"|\.(?P<named>{_NAMED}))"
)

_PREFIXES = (
    ("lora_unet_", UNET),
    ("lora_te1_", TEXT),
    ("lora_te2_", TEXT_2),
    ("lora_te_", TEXT),
    ("lycoris_", UNET),
    ("unet.", UNET),
    ("text_encoder.", TEXT),
    ("text_encoder_2.", TEXT_2),
    ("clip_l.", TEXT),
    ("clip_g.", TEXT_2),
    ("model.diffusion_model.", UNET),
    ("diffusion_model.", UNET),
    (PEFT_ROOT, None),
)


def split_key(key: str) -> tuple[str, Role] | None:
    """Part a tensor's name into its module's and its role; None if the form is unknown."""
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    stem = found["stem"]
    # diffusers' first scripts kept the factors in the attention's processor.
    stem = re.sub(r"\.processor\.(to_\w+)$", r".\1", stem)
    if found["named"] is not None:
        return stem, Role(found["named"])
    return stem, next(role for i, (_, role) in enumerate(_PATTERNS) if found[f"p{i}"])


class Targets:
    """The modules of a model, found by any of the names that LoRA files have for them."""

    def __init__(self, modules: Mapping[str, Iterable[str]]) -> None:
        """Take the names of all modules of each component."""
        self._tables: dict[str, dict[str, str]] = {}
        for component, names in modules.items():
            aliases = _unet_aliases if component == UNET else _text_aliases
            self._tables[component] = aliases(tuple(names))

    def find(self, stem: str) -> tuple[str, str] | None:
        """Give component and module name of a LoRA's stem, or None if the model has none."""
        stem, component = next(
            ((stem.removeprefix(p), c) for p, c in _PREFIXES if stem.startswith(p)), (stem, None)
        )
        places = self._tables if component is None else (component,)
        flat = _flat(stem)
        for place in places:
            if name := self._tables.get(place, {}).get(flat):
                return place, name
        return None


def family_of(stems: Iterable[str], text_widths: Iterable[int]) -> str:
    """Say in words what kind of model a LoRA looks made for; empty if it could be any.

    Args:
        stems: Its modules, as ``split_key`` names them.
        text_widths: Input widths of its cross attention's keys and values.
    """
    joined = " ".join(stems)
    for pattern, family in (
        (r"double_blocks|single_blocks|single_transformer_blocks", "FLUX.1"),
        (r"joint_blocks|lora_te3_|text_encoder_3|attn_add_|attn\.add_", "Stable Diffusion 3"),
        (r"motion_modules", "AnimateDiff"),
        (
            r"cross_attn|(?:^|[ .]|lora_(?:unet|transformer)_)blocks[._]\d",
            "a diffusion transformer",
        ),
    ):
        if re.search(pattern, joined):
            return family
    widths = Counter(text_widths)
    width = max(widths, key=lambda w: widths[w]) if widths else 0
    if width == 2048 or re.search(r"lora_te2_|text_encoder_2\.|clip_g\.", joined):
        return "SDXL"
    return {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x"}.get(width, "")


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _text_aliases(names: tuple[str, ...]) -> dict[str, str]:
    """Name a text encoder's modules; transformers has left out its outer ``text_model`` of late."""
    table = {}
    for name in names:
        inner = _flat(name.removeprefix("text_model."))
        for outer in ("", "text_model_", "transformer_text_model_"):
            table[outer + inner] = name
    return table


def _unet_aliases(names: tuple[str, ...]) -> dict[str, str]:
    """Name a UNet's modules as diffusers and as the original code do."""
    depth = len({m[1] for n in names if (m := re.match(r"down_blocks\.0\.resnets\.(\d+)", n))})
    attentive = {int(m[1]) for n in names if (m := re.match(r"up_blocks\.(\d+)\.attentions\.", n))}
    original = UnetNames(depth, frozenset(attentive))
    table = {_flat(name): name for name in names}
    for name in names:
        if alias := original.find(name):
            table[_flat(alias)] = name
        if name.endswith(".to_out.0"):
            table[_flat(name.removesuffix(".0"))] = name  # diffusers' first scripts
    return table
