"""A LoRA file as it is read: its tensors by module, each with its role."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from core.errors import ModelInvalid, Unsupported
from core.models.adapter_names import unsupported_form
from core.models.embeddings import Embedding, make_embedding
from core.models.lone_folder import ADAPTER_CONFIG
from core.models.lora_keys import PEFT_ROOT, TEXT, TEXT_2, Role, family_of, split_key
from core.models.reading import check_finite
from core.models.tensor_file import read_tensor_file

_PEFT_METADATA = "lora_adapter_metadata"
_BUNDLED = "bundle_emb."
_BUNDLED_FOR = {"clip_l": TEXT, "clip_g": TEXT_2, "string_to_param.*": TEXT}

_NO_ADAPTERS = (
    (r"^(?:control_|input_hint)|\.lora_controlnet", "a ControlNet"),
    (r"^(?:model\.diffusion_model|first_stage_model|cond_stage_model)\.", "a whole model"),
)

_SENSELESS = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    re.error,
)
"""What reading JSON raises that makes no sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraFile:
    """What a LoRA file holds.

    Attributes:
        path: Where it lies.
        groups: Its tensors by module, under the file's own names, and role.
        tensors: How many there are, those of embeddings not counted.
        embeddings: Words that it brings along (OneTrainer).
        peft: What peft saved about it, by component: ``unet.lora_alpha`` and the like.
    """

    path: Path
    groups: Mapping[str, Mapping[Role, Tensor]]
    tensors: int
    embeddings: tuple[Embedding, ...]
    peft: Mapping[str, Any]

    def scale_of(self, stem: str, rank: int) -> float:
        """Give what a module's delta is multiplied by: alpha / r, and 1 where no alpha is known."""
        alpha = self.groups[stem].get(Role.ALPHA)
        if alpha is not None:
            return float(alpha) / rank
        component, _, name = stem.partition(".")
        if f"{component}.lora_alpha" not in self.peft:
            return 1.0
        value = self.peft[f"{component}.lora_alpha"]
        patterns = self.peft.get(f"{component}.alpha_pattern") or {}
        for pattern, special in patterns.items():
            if _matcher(pattern).fullmatch(name):
                value = special
                break
        root = self.peft.get(f"{component}.use_rslora", False)
        return float(value) / (math.sqrt(rank) if root else rank)


def read_lora(path: Path) -> LoraFile:
    """Read a LoRA of any of the known forms.

    Raises:
        ModelMissing: If there is no such file.
        ModelInvalid: If it is damaged.
        UnsafeFile: If it is a pickle that asks for more than tensors.
        Unsupported: If it is no LoRA, or one with tensors of a form that is not applied.
    """
    values, metadata = read_tensor_file(path)
    groups: dict[str, dict[Role, Tensor]] = {}
    bundled: dict[str, dict[str, Any]] = {}
    unknown: list[str] = []
    for key, value in values.items():
        parts = split_key(key)
        if key.startswith(_BUNDLED) and not key.endswith("_out"):
            _bundle(path, key, value, bundled)
        elif parts is None or not isinstance(value, Tensor):
            unknown.append(key)
        else:
            groups.setdefault(parts[0], {})[parts[1]] = value
    if unknown or not groups:
        raise _unknown(path, values, unknown)
    check_finite(path, ((k, v) for k, v in values.items() if not k.startswith(_BUNDLED)))
    return LoraFile(
        path=path,
        groups=groups,
        tensors=sum(len(group) for group in groups.values()),
        embeddings=tuple(make_embedding(path, name, v) for name, v in bundled.items()),
        peft=_peft_settings(path, metadata, groups),
    )


def _bundle(path: Path, key: str, value: Any, bundled: dict[str, dict[str, Any]]) -> None:
    inner = key.removeprefix(_BUNDLED)
    for ending, component in _BUNDLED_FOR.items():
        if inner.endswith(f".{ending}"):
            bundled.setdefault(inner.removesuffix(f".{ending}"), {})[component] = value
            return
    raise Unsupported(f"{path} brings an embedding of an unknown form ({key}).")


def _unknown(path: Path, values: Mapping[str, Any], unknown: list[str]) -> Unsupported:
    if not unknown:
        return Unsupported(f"{path} holds no LoRA; choose another file.")
    what = unsupported_form(unknown) or next(
        (what for pattern, what in _NO_ADAPTERS if any(re.search(pattern, key) for key in unknown)),
        "",
    )
    if not what and (family := family_of(unknown, ())):
        what = f"those of {family}"
    looks = f" and look like {what}" if what else ""
    return Unsupported(
        f"{path} cannot be applied: {len(unknown)} of its {len(values)} tensors are of no form "
        f"that is known here, such as {min(unknown)}{looks}; choose another file."
    )


def _peft_settings(
    path: Path, metadata: Mapping[str, str], groups: Mapping[str, Any]
) -> dict[str, Any]:
    """Read what peft says of scales: in the file's metadata, or in a file beside it."""
    try:
        if _PEFT_METADATA in metadata:
            settings = json.loads(metadata[_PEFT_METADATA])
        elif any(stem.startswith(PEFT_ROOT) for stem in groups):
            text = path.with_name(ADAPTER_CONFIG).read_text(encoding="utf-8")
            # The first word of the names in such a file stands for the component.
            settings = {f"base_model.{name}": value for name, value in json.loads(text).items()}
        else:
            return {}
        for name, value in settings.items():
            if name.endswith(".lora_alpha"):
                _check_scales({"": value})
            elif name.endswith(".alpha_pattern"):
                _check_scales(value or {})
    except FileNotFoundError:
        raise ModelInvalid(
            f"{path} needs the adapter_config.json that was saved with it; put it beside the file."
        ) from None
    except _SENSELESS as error:
        raise ModelInvalid(
            f"What {path} says of its own scale cannot be read ({error}); get it again."
        ) from error
    assert isinstance(settings, dict)
    return settings


def _matcher(pattern: str) -> re.Pattern[str]:
    """Read a pattern of peft, which fits the ends of modules' names."""
    return re.compile(rf"(.*\.)?({pattern})")


def _check_scales(values: Mapping[str, Any]) -> None:
    for pattern, value in values.items():
        _matcher(pattern)
        if not math.isfinite(float(value)):
            raise ValueError(f"{value} is no number")
