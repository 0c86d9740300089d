"""LoRA files in the two layouts that other programs read: kohya's, and diffusers' with peft's.

Kohya's is read by the most programs (AUTOMATIC1111, ComfyUI, InvokeAI, Draw Things, diffusers). It
says the alpha of each module; diffusers' own converter to it would write the rank instead. Of
DoRA's lengths in it, diffusers reads nothing; it has them from its own layout.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import ExportFailed
from core.models.families import Family
from core.models.lora_keys import TEXT, TEXT_2, UNET
from core.models.original_names import UnetNames, text_name
from core.models.writing.contents import Contents


@dataclass(frozen=True, slots=True)
class LoraPair:
    """The change of one module, (alpha / r) up down; with ``magnitude`` that of DoRA.

    Attributes:
        down: ``(r, in)``, or ``(r, in, k, k)`` of a convolution.
        up: ``(out, r)``, or ``(out, r, 1, 1)``.
        alpha: What the change is multiplied by, times r.
        magnitude: The length that each output's weights have after the change, ``out`` numbers in
            any shape (arXiv:2402.09353); None for a plain LoRA.
    """

    down: Tensor
    up: Tensor
    alpha: float
    magnitude: Tensor | None = None

    @property
    def rank(self) -> int:
        """The r of it."""
        return self.down.shape[0]


LoraWeights = Mapping[str, Mapping[str, LoraPair]]
"""By component (``unet``, ``text_encoder``, ``text_encoder_2``) and by diffusers' or transformers'
name of the module in it."""


def write_kohya(
    path: Path,
    weights: LoraWeights,
    *,
    family: Family,
    unet_config: Mapping[str, Any],
    metadata: Mapping[str, str],
    dtype: torch.dtype | None = None,
) -> None:
    """Write a LoRA as kohya's sd-scripts do.

    SDXL's UNet goes by its original names there, which is what programs look for.

    Args:
        path: The file, ``.safetensors``.
        weights: The LoRA.
        family: Of the model that it is for.
        unet_config: That of the model's UNet; its blocks tell the original names.
        metadata: What the file says of itself; see ``kohya_metadata``. The hashes are added.
        dtype: Number format of the file, the alphas' excepted; None leaves it as it is.

    Raises:
        SaveFailed: Naming the folder and the reason; what was there is unchanged.
        Unsupported: If a module has no original name.
    """
    is_xl = family in (Family.SDXL, Family.SDXL_REFINER)
    prefixes = {
        UNET: "lora_unet_",
        TEXT: "lora_te1_" if is_xl else "lora_te_",
        TEXT_2: "lora_te2_",
    }
    names = UnetNames.of(unet_config) if is_xl else None
    tensors: dict[str, Tensor] = {}
    for part, pairs in weights.items():
        for name, pair in pairs.items():
            if part != UNET:
                module = text_name(name)
            else:
                module = name if names is None else names.module(name)
            stem = prefixes[part] + module.replace(".", "_")
            tensors[f"{stem}.lora_down.weight"] = _cast(pair.down, dtype)
            tensors[f"{stem}.lora_up.weight"] = _cast(pair.up, dtype)
            tensors[f"{stem}.alpha"] = torch.tensor(float(pair.alpha))
            if pair.magnitude is not None:
                sides = (-1, *(1 for _ in pair.down.shape[1:]))
                tensors[f"{stem}.dora_scale"] = _cast(pair.magnitude.reshape(sides), dtype)
    _write(path, tensors, metadata)


def write_peft(
    path: Path,
    weights: LoraWeights,
    *,
    metadata: Mapping[str, str],
    dtype: torch.dtype | None = None,
) -> None:
    """Write a LoRA as diffusers does, with the settings from which it makes peft's layers.

    Args:
        path: The file; diffusers looks for ``pytorch_lora_weights.safetensors`` in a folder.
        weights: The LoRA.
        metadata: What the file says of itself; see ``kohya_metadata``. The hashes are added.
        dtype: Number format of the file; None leaves it as it is.

    Raises:
        SaveFailed: Naming the folder and the reason; what was there is unchanged.
        ExportFailed: If some modules of a component have DoRA's lengths and others have not.
    """
    tensors: dict[str, Tensor] = {}
    settings: dict[str, Any] = {}
    for part, pairs in weights.items():
        if not pairs:
            continue
        settings |= {f"{part}.{key}": value for key, value in _peft_settings(part, pairs).items()}
        for name, pair in pairs.items():
            stem = f"{part}.{name if part == UNET else text_name(name)}"
            tensors[f"{stem}.lora_A.weight"] = _cast(pair.down, dtype)
            tensors[f"{stem}.lora_B.weight"] = _cast(pair.up, dtype)
            if pair.magnitude is not None:
                # Peft's convolutions have their outputs on the second side. It leaves the end
                # ".weight" out itself, without which transformers 5 finds no lengths.
                sides = (-1,) if pair.down.ndim == 2 else (1, -1, 1, 1)
                lengths = _cast(pair.magnitude.reshape(sides), dtype)
                tensors[f"{stem}.lora_magnitude_vector.weight"] = lengths
    told = json.dumps(settings, sort_keys=True)
    _write(path, tensors, {"format": "pt", **metadata, "lora_adapter_metadata": told})


def _peft_settings(part: str, pairs: Mapping[str, LoraPair]) -> dict[str, Any]:
    """Give the keywords of peft's ``LoraConfig`` that make exactly these layers.

    A text encoder's modules go without the outer ``text_model`` there, which transformers has left
    out of late; peft takes the end of a name for all of it.
    """
    decomposed = {name for name, pair in pairs.items() if pair.magnitude is not None}
    if decomposed and (plain := pairs.keys() - decomposed):
        raise ExportFailed(
            f"Of the {part}, {min(decomposed)} is weight-decomposed (DoRA) and {min(plain)} is "
            "not, which diffusers' layout cannot say; save the LoRA in kohya's layout."
        )
    inner = {name.removeprefix("text_model."): pair for name, pair in pairs.items()}
    ranks = {name: pair.rank for name, pair in inner.items()}
    alphas = {name: _plain(pair.alpha) for name, pair in inner.items()}
    rank, alpha = _usual(ranks.values()), _usual(alphas.values())
    return {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {name: r for name, r in ranks.items() if r != rank},
        "alpha_pattern": {name: a for name, a in alphas.items() if a != alpha},
        "target_modules": sorted(inner),
        "use_dora": bool(decomposed),
    }


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write the file with the hashes that sd-scripts write, by which web UIs know it."""
    contents = Contents(tensors)
    sha256 = contents.sha256()
    told = {name: text for name, text in metadata.items() if name.startswith("ss_")}
    hashes = {
        "sshs_model_hash": sha256,
        "sshs_legacy_hash": contents.legacy_hash(told),
        "modelspec.hash_sha256": f"0x{sha256}",
    }
    contents.write(path, {**metadata, **hashes})


def _cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    return tensor.detach().to(dtype or tensor.dtype)


def _usual(values: Iterable[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]


def _plain(alpha: float) -> float:
    """Write a whole number as one, as peft's own settings have it."""
    return int(alpha) if float(alpha).is_integer() else float(alpha)
