"""Small matrices beside a model's layers, put there by peft."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from core.errors import InvalidRequest
from core.models.components import Components
from core.models.writing.lora import LoraPair
from core.training.config_parts import AdapterSettings, Targets
from core.training.student import unread

_NAME = "default"
_TEXT = re.compile(r"\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)$")
_ATTENTION = re.compile(r"\.attn[12]\.(to_q|to_k|to_v|to_out\.0)$")
_TRANSFORMER = re.compile(r"\.attentions\.\d+\.")
_RESIDUAL = re.compile(r"\.resnets\.\d+\.|samplers\.\d+\.")


def add_adapters(
    components: Components, settings: AdapterSettings, *, text: bool
) -> dict[str, list[nn.Parameter]]:
    """Put adapters on a model's UNet and, if asked, on its text encoders.

    Args:
        components: The model; its own weights must not learn.
        settings: Their kind and size.
        text: Whether text encoders get some.

    Returns:
        Their weights, by the part that they are on.

    Raises:
        InvalidRequest: If the model has no such layers.
    """
    parts = _parts(components, text=text)
    chosen = {name: _chosen(components, name, part, settings) for name, part in parts.items()}
    return {name: _add(part, chosen[name], settings) for name, part in parts.items()}


def check_adapters(components: Components, settings: AdapterSettings, *, text: bool) -> None:
    """Look for layers that ``add_adapters`` would put adapters on.

    Raises:
        InvalidRequest: If a part of the model has none.
    """
    for name, part in _parts(components, text=text).items():
        _chosen(components, name, part, settings)


def _parts(components: Components, *, text: bool) -> dict[str, nn.Module]:
    towers = {tower.name: tower.encoder for tower in components.text_towers if text}
    return {"unet": components.unet} | towers


def _chosen(
    components: Components, name: str, part: nn.Module, settings: AdapterSettings
) -> dict[str, int]:
    """Choose a part's layers, and the rank of each one's adapter."""
    skipped = {tower.name: unread(components, tower) for tower in components.text_towers}.get(name)
    modules = (
        (key, module)
        for key, module in part.named_modules()
        if skipped is None or not skipped.search(f"{key}.")
    )
    ranks = dict(_ranks(modules, settings, is_unet=name == "unet"))
    if not ranks:
        raise InvalidRequest(
            "targets",
            f"the model's {name} has no layers of the kind {settings.targets}; choose others.",
        )
    return ranks


def _add(
    part: nn.Module, ranks: Mapping[str, int], settings: AdapterSettings
) -> list[nn.Parameter]:
    scale = (settings.alpha or settings.rank) / settings.rank
    others = {key: rank for key, rank in ranks.items() if rank != settings.rank}
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.rank * scale,  # type: ignore[arg-type]  # peft divides it; no integer
        target_modules=list(ranks),
        rank_pattern={re.escape(key): rank for key, rank in others.items()},
        alpha_pattern={re.escape(key): rank * scale for key, rank in others.items()},
        lora_dropout=settings.dropout,
        use_dora=settings.dora,
    )
    inject_adapter_in_model(config, part, _NAME)
    weights = [one for key, one in part.named_parameters() if ".lora_" in key]
    for one in weights:
        # Steps are smaller than half precision can tell apart.
        one.data = one.data.float()
        one.requires_grad = True
    return weights


def _ranks(
    modules: Iterable[tuple[str, nn.Module]], settings: AdapterSettings, *, is_unet: bool
) -> Iterable[tuple[str, int]]:
    """Choose layers, and the rank of each one's adapter."""
    for name, module in modules:
        dotted = "." + name
        if isinstance(module, nn.Linear) and not is_unet:
            if _TEXT.search(dotted):
                yield name, settings.rank
        elif isinstance(module, nn.Linear | nn.Conv2d) and is_unet:
            if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
                if settings.conv_rank and _RESIDUAL.search(dotted):
                    yield name, settings.conv_rank
            elif _wanted(dotted, settings.targets):
                yield name, settings.rank


def _wanted(name: str, targets: Targets) -> bool:
    match targets:
        case Targets.ATTENTION:
            return bool(_ATTENTION.search(name))
        case Targets.TRANSFORMER:
            return bool(_TRANSFORMER.search(name))
        case Targets.ALL:
            return bool(_TRANSFORMER.search(name) or _RESIDUAL.search(name))


def pairs_of(part: nn.Module, learned: Mapping[str, Tensor]) -> dict[str, LoraPair]:
    """Take a part's adapters out of it.

    Args:
        part: With adapters.
        learned: The values of its adapters' weights, by their names in it.

    Returns:
        Each layer's, by the name that it had without them.
    """
    pairs = {}
    for name, layer in part.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        adapter: Any = layer
        magnitude = learned.get(f"{name}.lora_magnitude_vector.{_NAME}.weight")
        pairs[name] = LoraPair(
            down=learned[f"{name}.lora_A.{_NAME}.weight"],
            up=learned[f"{name}.lora_B.{_NAME}.weight"],
            alpha=float(adapter.lora_alpha[_NAME]),
            magnitude=magnitude,
        )
    return pairs
