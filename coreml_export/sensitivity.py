"""How much each layer's weights may be rounded, measured on what the model computes.

The weights of one group of layers at a time are given palettes, and the change of the part's
outputs is measured. Changes of several groups add up as independent noise does, and one bit more
quarters that of a group, as for any uniform error. From there bits are dealt out one group at a
time, always to the one that gains most for its size, until the target is met; the same greedy rule
is in Shoham & Gersho 1988 (https://doi.org/10.1109/29.90373).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from coreml_export.compress import SMALLEST
from coreml_export.parts import Part
from coreml_export.request import Compression

CHOICES = (4, 6, 8)
"""Bits that a palette may have."""

_MEASURED = CHOICES[0]
"""Bits at which the groups are measured."""

_ROUNDS = 40
_GROUP = re.compile(r".+?\.\d+(?:\.[^.]+\.\d+)?(?=\.)")
"""A layer's block: up to the first number in its name, and the next if that follows at once."""


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that get as many bits as each other.

    Attributes:
        name: What their weights' names begin with.
        weights: The names of these, as the part's module has them.
        count: How many numbers they are.
        error: Mean square that the part's outputs change by when they have the fewest bits.
    """

    name: str
    weights: tuple[str, ...]
    count: int
    error: float

    def error_at(self, bits: int) -> float:
        """Give the mean square with another palette."""
        return self.error * 4.0 ** (_MEASURED - bits)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a part.

    Attributes:
        groups: Its layers.
        peak: Largest magnitude of its outputs.
    """

    groups: tuple[Group, ...]
    peak: float


@torch.no_grad()
def measure(part: Part, samples: Sequence[tuple[Tensor, ...]]) -> Measured:
    """Measure how much a part's outputs change when layers' weights are rounded.

    Args:
        part: The part; its weights are the same again afterwards.
        samples: Inputs of it.
    """
    wanted = [_outputs(part.module, inputs) for inputs in samples]
    peak = max(float(value.abs().max()) for values in wanted for value in values)
    groups = []
    for name, weights in _groups(part.module).items():
        before = {key: tensor.clone() for key, tensor in weights.items()}
        for tensor in weights.values():
            tensor.copy_(palettized(tensor, _MEASURED))
        error = sum(
            float((value - right).square().mean())
            for inputs, values in zip(samples, wanted, strict=True)
            for value, right in zip(_outputs(part.module, inputs), values, strict=True)
        ) / len(samples)
        for key, tensor in weights.items():
            tensor.copy_(before[key])
        count = sum(tensor.numel() for tensor in weights.values())
        groups.append(Group(name, tuple(weights), count, error))
    return Measured(tuple(groups), peak)


def deal(measured: Measured, target: Compression) -> dict[str, int]:
    """Deal out bits.

    Args:
        measured: What was measured.
        target: Bits a weight on average, or decibels of the whole.

    Returns:
        The bits of each weight, by its name in the part's module.
    """
    bits = {group.name: CHOICES[0] for group in measured.groups}
    total = sum(group.count for group in measured.groups)
    while _falls_short(measured, bits, target):
        steps = [step for group in measured.groups if (step := _step_up(group, bits[group.name]))]
        if target.bits is not None:
            room = target.bits * total - sum(bits[g.name] * g.count for g in measured.groups)
            steps = [step for step in steps if step.cost <= room]
        if not steps:
            break
        best = max(steps, key=lambda step: step.gain / step.cost)
        bits[best.group.name] = best.bits
    return {weight: bits[group.name] for group in measured.groups for weight in group.weights}


def palettized(weights: Tensor, bits: int) -> Tensor:
    """Give each number the nearest of ``2 ** bits`` values, found by k-means.

    Lloyd's rounds on sorted numbers (Lloyd 1982, https://doi.org/10.1109/TIT.1982.1056489): a
    cluster is a stretch of them, so that its mean is a difference of running sums.
    """
    ordered = weights.flatten().double().sort().values
    sums = torch.cat([ordered.new_zeros(1), ordered.cumsum(0)])
    places = torch.linspace(0, len(ordered) - 1, 2**bits, dtype=torch.double).round().long()
    # Between the quantiles, which are sparse at the ends, and even steps, which are so everywhere.
    even = torch.linspace(float(ordered[0]), float(ordered[-1]), 2**bits, dtype=torch.double)
    values = ((ordered[places] + even) / 2).unique()
    for _ in range(_ROUNDS):
        edges = torch.searchsorted(ordered, (values[1:] + values[:-1]) / 2)
        edges = torch.cat([edges.new_zeros(1), edges, edges.new_tensor([len(ordered)])])
        sizes = edges.diff()
        means = (sums[edges[1:]] - sums[edges[:-1]]) / sizes.clamp(min=1)
        values = torch.where(sizes > 0, means, values)
    middles = ((values[1:] + values[:-1]) / 2).to(weights.dtype)
    chosen = torch.bucketize(weights, middles)
    palette: Tensor = values.to(weights.dtype)
    return palette[chosen]


@dataclass(frozen=True, slots=True)
class _Step:
    """More bits for a group: what it gains and what it costs, in numbers' bits."""

    group: Group
    bits: int
    gain: float
    cost: int


def _step_up(group: Group, bits: int) -> _Step | None:
    more = next((choice for choice in CHOICES if choice > bits), None)
    if more is None:
        return None
    gain = group.error_at(bits) - group.error_at(more)
    return _Step(group, more, gain, (more - bits) * group.count)


def _falls_short(measured: Measured, bits: Mapping[str, int], target: Compression) -> bool:
    if target.decibels is None:
        return True
    error = sum(group.error_at(bits[group.name]) for group in measured.groups)
    return error > measured.peak**2 * 10 ** (-target.decibels / 10)


def _outputs(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    values = module(*inputs)
    return values if isinstance(values, tuple) else (values,)


def _groups(module: nn.Module) -> dict[str, dict[str, Tensor]]:
    """Gather the weights that are worth packing, by block: each is measured as a whole."""
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in _large(module):
        found = _GROUP.match(name)
        groups.setdefault(found[0] if found else name, {})[name] = tensor
    return groups


def _large(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in module.named_parameters():
        if tensor.ndim > 1 and tensor.numel() >= SMALLEST:
            yield name, tensor.data
