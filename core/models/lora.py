"""LoRA files: read, matched with a model's modules, applied while it runs, or merged into it.

A low-rank change is computed beside its module, W x + s B (A x). The other forms have no such
shortcut: their modules compute with W + s delta(W), made anew at each call, so that neither a
second copy of the weights is held nor the first one written to. Removing a LoRA therefore leaves
the base weights bit-identical, and a new strength takes no time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.errors import ModelInvalid, Unsupported
from core.models.lora_file import LoraFile
from core.models.lora_keys import UNET, Role, Targets, family_of
from core.models.lora_math import Change, Difference, LowRank, gain_of
from core.models.lora_updates import make_update

Place = tuple[str, str]
"""A component's name and a module's name in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A LoRA matched with a model.

    Attributes:
        path: Its file.
        changes: What it does, by module.
        tensors: How many tensors of the file are applied, by ``changes`` or as words.
        unused: How many are not.
    """

    path: Path
    changes: Mapping[Place, Change]
    tensors: int
    unused: int = 0

    @property
    def summary(self) -> str:
        """Say whether anything was left out: ``264 of 264 tensors applied``."""
        return f"{self.tensors} of {self.tensors + self.unused} tensors applied"


@dataclass(frozen=True, slots=True)
class Strength:
    """How strongly a bound LoRA works, 1 as it was trained.

    Attributes:
        bound: The LoRA.
        weight: On the UNet.
        text_weight: On the text encoders.
    """

    bound: Bound
    weight: float
    text_weight: float

    def on(self, component: str) -> float:
        """Give the strength on a component."""
        return self.weight if component == UNET else self.text_weight


def bind(
    file: LoraFile,
    components: Mapping[str, nn.Module],
    bring: Callable[[str], None] | None = None,
) -> Bound:
    """Match a LoRA with a model.

    Args:
        file: The LoRA.
        components: ``unet``, ``text_encoder`` and, for SDXL, ``text_encoder_2``.
        bring: Called with a component's name before its weights are looked at.

    Raises:
        Unsupported: If any tensor has no place in the model; it names them and what they look like.
        ModelInvalid: If tensors that belong together do not fit each other.
    """
    modules = {name: dict(module.named_modules()) for name, module in components.items()}
    targets = Targets(modules)
    placed = {stem: targets.find(stem) for stem in file.groups}
    if unknown := [stem for stem, place in placed.items() if place is None]:
        raise _no_place(file, unknown)
    changes: dict[Place, Change] = {}
    at = ""
    for stem, place in sorted(placed.items(), key=lambda item: str(item[1])):
        assert place is not None
        if bring is not None and place[0] != at:
            at = place[0]
            bring(at)
        if place in changes:
            raise ModelInvalid(
                f"{file.path} changes {place[1]} of the {place[0]} twice, under two names; save it "
                "again with the program that made it."
            )
        changes[place] = _change(file, stem, modules[place[0]][place[1]])
    return Bound(path=file.path, changes=changes, tensors=file.tensors, unused=len(file.unused))


class AppliedLoras:
    """The LoRAs that a model runs with."""

    def __init__(self, components: Mapping[str, nn.Module]) -> None:
        """Use a model; nothing is applied yet."""
        self._components = components
        self._changed: list[nn.Module] = []

    def set(self, strengths: Sequence[Strength]) -> None:
        """Apply these, and no others any more; an empty sequence gives the base model back."""
        for module in self._changed:
            vars(module).pop("forward", None)
        self._changed = []
        for (component, name), parts in _by_place(strengths).items():
            module = self._components[component].get_submodule(name)
            # An attribute of the object goes before the method of its class.
            vars(module)["forward"] = _Adapted(module, parts)
            self._changed.append(module)


def merge_into(components: Mapping[str, nn.Module], strengths: Sequence[Strength]) -> None:
    """Write LoRAs into a model's weights for good, in fp32 and rounded once.

    Args:
        components: The model, to which none of the LoRAs is applied at the time, or parts of it;
            what is done to others is left out.
        strengths: The LoRAs.
    """
    with torch.no_grad():
        for (component, name), parts in _by_place(strengths).items():
            if component not in components:
                continue
            module = components[component].get_submodule(name)
            weight, bias = _changed_parameters(module, parts)
            module.get_parameter("weight").copy_(weight)
            if bias is not None:
                if getattr(module, "bias", None) is None:
                    module.bias = nn.Parameter(module.get_parameter("weight").new_zeros(len(bias)))
                module.get_parameter("bias").copy_(bias)


class _Adapted:
    """A module's forward with changes: what torch calls in place of its class's method."""

    def __init__(self, module: nn.Module, parts: Sequence[tuple[Change, float]]) -> None:
        self._module = module
        self._beside = [(c.low_rank, s) for c, s in parts if c.low_rank is not None]
        self._inside = [(c, s) for c, s in parts if c.low_rank is None]

    def __call__(self, values: Tensor) -> Tensor:
        output = self._base(values)
        for factors, strength in self._beside:
            output = output + strength * factors.output(self._module, values)
        return output

    def _base(self, values: Tensor) -> Tensor:
        module: Any = self._module
        if not self._inside:
            output: Tensor = type(module).forward(module, values)
            return output
        weight, bias = _changed_parameters(module, self._inside)
        weight = weight.to(values.dtype)
        bias = None if bias is None else bias.to(values.dtype)
        match module:
            case nn.Linear():
                return F.linear(values, weight, bias)
            case nn.Conv2d():
                return F.conv2d(values, weight, bias, module.stride, module.padding)
            case nn.GroupNorm():
                return F.group_norm(values, module.num_groups, weight, bias, module.eps)
            case _:
                return F.layer_norm(values, module.normalized_shape, weight, bias, module.eps)


def _by_place(strengths: Sequence[Strength]) -> dict[Place, list[tuple[Change, float]]]:
    """Gather what is done to each module; what has no strength does nothing."""
    gathered: dict[Place, list[tuple[Change, float]]] = {}
    for strength in strengths:
        for place, change in strength.bound.changes.items():
            if factor := strength.on(place[0]):
                gathered.setdefault(place, []).append((change, factor))
    return gathered


def _changed_parameters(
    module: nn.Module, parts: Sequence[tuple[Change, float]]
) -> tuple[Tensor, Tensor | None]:
    """Give a module's weight and bias with changes, in fp32."""
    base = module.get_parameter("weight")
    weight = base.float()
    own = getattr(module, "bias", None)
    bias: Tensor | None = None if own is None else own.float()
    for change, strength in parts:
        added = change.added_weight(base)
        if added is not None:
            weight = weight + strength * added
        if change.bias is not None:
            bias = (0.0 if bias is None else bias) + strength * change.bias.float()
    return weight, bias


def _change(file: LoraFile, stem: str, module: nn.Module) -> Change:
    """Make one module's change, on its device in its number format."""
    if not isinstance(module, nn.Linear | nn.Conv2d | nn.GroupNorm | nn.LayerNorm) or (
        isinstance(module, nn.Conv2d) and (module.groups != 1 or set(module.dilation) != {1})
    ):
        raise Unsupported(
            f"{file.path} changes {stem}, a {type(module).__name__}; linear layers, convolutions "
            "and norms can be changed."
        )
    group = file.groups[stem]
    weight = module.get_parameter("weight")
    update = make_update(file, stem)
    bias = group.get(Role.DIFF_B)
    if update is not None:
        _check_sides(file, stem, update.sides(), weight)
        if weight.ndim == 1 and not isinstance(update, Difference):
            raise _misfit(file, stem, "factors", "a norm")
        if isinstance(update, LowRank):
            _check_kernel(file, stem, update, module)
        update = update.to(weight.device, weight.dtype)
    if bias is not None:
        if bias.numel() != weight.shape[0]:
            raise _misfit(file, stem, f"{bias.numel()} biases", f"{weight.shape[0]}")
        bias = bias.flatten().to(weight.device, weight.dtype)
    lengths = group.get(Role.DORA_SCALE, group.get(Role.MAGNITUDE))
    if lengths is None:
        return Change(update, bias=bias)
    # peft's lengths are the outputs' always; LyCORIS tells by the shape, (out, 1) or (1, in).
    by_output = Role.MAGNITUDE in group or lengths.ndim == 1 or lengths.shape[0] != 1
    wanted = weight.shape[0 if by_output else 1]
    if update is None or lengths.numel() != wanted:
        raise _misfit(file, stem, f"{lengths.numel()} DoRA lengths", f"{wanted}")
    return Change(update, gain_of(weight, update, lengths, by_output=by_output), bias)


def _check_sides(file: LoraFile, stem: str, sides: tuple[int, int], weight: Tensor) -> None:
    wanted = (weight.shape[0], weight[0].numel())
    if sides != wanted:
        raise _misfit(file, stem, f"{sides[1]} to {sides[0]}", f"{wanted[1]} to {wanted[0]}")


def _check_kernel(file: LoraFile, stem: str, update: LowRank, module: nn.Module) -> None:
    """The numbers may be as many and the kernel still be another."""
    wide = update.down if update.mid is None else update.mid
    kernel = tuple(wide.shape[2:]) or (1, 1)
    wanted = tuple(module.kernel_size) if isinstance(module, nn.Conv2d) else (1, 1)
    if kernel != wanted:
        raise _misfit(file, stem, f"a kernel of {list(kernel)}", f"{list(wanted)}")


def _misfit(file: LoraFile, stem: str, found: str, wanted: str) -> Unsupported:
    made_for = _made_for(file)
    return Unsupported(
        f"{file.path} does not fit this model: for {stem} it has {found} where the model has "
        f"{wanted}.{made_for or ' Choose a LoRA of this model family.'}"
    )


def _no_place(file: LoraFile, unknown: Sequence[str]) -> Unsupported:
    tensors = sum(len(file.groups[stem]) for stem in unknown)
    made_for = _made_for(file)
    return Unsupported(
        f"{file.path} does not fit this model: {tensors} of its {file.tensors} tensors have no "
        f"place in it, such as those of {min(unknown)}."
        f"{made_for or ' Choose a LoRA of this model family.'}"
    )


def _made_for(file: LoraFile) -> str:
    widths = [
        group[Role.DOWN].shape[1]
        for stem, group in file.groups.items()
        if Role.DOWN in group and stem.endswith(("attn2_to_k", "attn2.to_k"))
    ]
    family = family_of(file.groups, widths)
    return f" It looks made for {family}; use it with such a model." if family else ""
