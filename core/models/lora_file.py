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
from core.models.adapter_names import bundled, unknown_tensors
from core.models.embeddings import Embedding, make_embedding
from core.models.lone_folder import ADAPTER_CONFIG
from core.models.lora_keys import PEFT_ROOT, Role, split_key
from core.models.reading import check_finite
from core.models.tensor_file import read_tensor_file

_PEFT_METADATA = "lora_adapter_metadata"

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
        tensors: How many are applied, those of its words counted too.
        unused: Names of those that are not: vectors for a text encoder's output.
        embeddings: Words that it brings along (OneTrainer).
        peft: What peft saved about it, by component: ``unet.lora_alpha`` and the like.
    """

    path: Path
    groups: Mapping[str, Mapping[Role, Tensor]]
    tensors: int
    unused: tuple[str, ...]
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
        ModelInvalid: If it is damaged, or says the same of one layer twice.
        UnsafeFile: If it is a pickle that asks for more than tensors.
        Unsupported: If it is no LoRA, or one with tensors of a form that is not applied.
    """
    values, metadata = read_tensor_file(path)
    groups: dict[str, dict[Role, Tensor]] = {}
    words: dict[str, dict[str, Any]] = {}
    sources: dict[tuple[str, Role], str] = {}
    unknown: list[str] = []
    unused: list[str] = []
    for key, value in values.items():
        parts = split_key(key)
        if (word := bundled(key)) is not None:
            if word.is_output:
                unused.append(key)
            else:
                words.setdefault(word.word, {})[word.component] = value
        elif parts is None or not isinstance(value, Tensor):
            unknown.append(key)
        else:
            if (other := sources.setdefault(parts, key)) != key:
                raise _twice(path, other, key)
            groups.setdefault(parts[0], {})[parts[1]] = value
    if unknown:
        raise unknown_tensors(path, len(values), unknown)
    if not groups:
        raise Unsupported(f"{path} holds no LoRA; choose another file.")
    check_finite(path, ((key, values[key]) for key in sources.values()))
    return LoraFile(
        path=path,
        groups=groups,
        tensors=len(values) - len(unused),
        unused=tuple(unused),
        embeddings=tuple(make_embedding(path, name, v) for name, v in words.items()),
        peft=_peft_settings(path, metadata, groups),
    )


def _twice(path: Path, one: str, other: str) -> ModelInvalid:
    return ModelInvalid(
        f"{path} has both {one} and {other}, which are the same factor of one layer; save it again "
        "with the program that made it."
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
