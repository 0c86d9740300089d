"""Weights that several processes hold in parts, and what it takes to have them whole.

Zhao et al. 2023, arXiv:2304.11277, in torch's second form (``torch.distributed.fsdp.fully_shard``).
Every process has to come along wherever something is made whole.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor, nn

from core.errors import Unsupported
from core.training.config_parts import OptimiserName
from core.training.recipe import Recipe
from core.training.student import Student


def is_sharded(accelerator: Accelerator) -> bool:
    """Whether the processes hold the weights in parts."""
    return bool(accelerator.distributed_type is DistributedType.FSDP)


def check_sharding(accelerator: Accelerator, recipe: Recipe, optimiser: OptimiserName) -> None:
    """Refuse to share out what cannot be.

    Raises:
        Unsupported: Saying what would do.
    """
    if not is_sharded(accelerator):
        return
    from torch.distributed.fsdp import CPUOffloadPolicy

    plugin = accelerator.state.fsdp_plugin
    is_offloaded = isinstance(plugin.cpu_offload, CPUOffloadPolicy)
    if plugin.fsdp_version != 2 or plugin.activation_checkpointing or is_offloaded:
        raise Unsupported(
            "FSDP is served in its version 2, with the weights on the GPUs and gradient "
            "checkpointing as a setting of the training; say so in accelerate's configuration "
            "(--fsdp_version 2)."
        )
    if not recipe.in_full:
        raise Unsupported(
            "FSDP shares out the weights of a model, and this training leaves those as they are; "
            "choose multi-GPU (DDP) in accelerate's configuration."
        )
    if optimiser is not OptimiserName.ADAMW:
        raise Unsupported(
            f"{optimiser} does not work on weights that are shared out by FSDP; choose adamw, or "
            "multi-GPU (DDP) in accelerate's configuration."
        )
    if accelerator.scaler is not None:
        raise Unsupported("FSDP is served in bf16 and fp32; choose one of them.")


def whole(value: Tensor) -> Tensor:
    """Give all of a tensor of which this process may hold a part."""
    # Imported here: where nothing is shared out, it is not needed.
    from torch.distributed.tensor import DTensor

    if not isinstance(value, DTensor):
        return value
    full: Tensor = value.full_tensor()
    return full


def gathered(values: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Give whole tensors on the CPU, one after the other.

    Args:
        values: What the processes hold parts of.
        keep: Whether this process wants them; otherwise it only comes along.
    """
    rows = {}
    for name, value in values.items():
        full = whole(value)
        if keep:
            rows[name] = full.cpu()
    return rows


def gathered_optimiser(state: Mapping[str, Any], *, keep: bool) -> dict[str, Any]:
    """Give an optimiser's ``state_dict`` with whole tensors; see ``gathered``."""
    moments = {number: gathered(values, keep=keep) for number, values in state["state"].items()}
    return {**state, "state": moments}


def shared_out(values: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give this process's parts of whole tensors, as it holds others of the same names."""
    return {name: _part(value, like[name]) for name, value in values.items()}


def shared_out_optimiser(
    state: Mapping[str, Any], optimiser: torch.optim.Optimizer
) -> dict[str, Any]:
    """Give an optimiser's ``state_dict`` in this process's parts; counters stay as they are."""
    weights = [one for group in optimiser.param_groups for one in group["params"]]
    moments = {
        number: {
            name: _part(value, weights[number]) if value.dim() else value
            for name, value in values.items()
        }
        for number, values in state["state"].items()
    }
    return {**state, "state": moments}


def _part(value: Tensor, like: Tensor) -> Tensor:
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(
        value.to(like.device), like.device_mesh, like.placements, src_data_rank=None
    )


class WholeStudent:
    """A student of one piece beside one that is shared out; it takes no memory until it is used."""

    def __init__(self, student: Student) -> None:
        """Copy a student that is not shared out yet, all but the weights that learn."""
        learned = student.learned()
        blanks: dict[int, Any] = {
            id(one): nn.Parameter(torch.empty_like(one, device="meta")) for one in learned.values()
        }
        components = student.components
        towers = components.text_towers if student.learns_text else ()
        modules: dict[str, Any] = {tower.name: tower.encoder for tower in towers}
        modules["unet"] = components.unet
        copies = {name: copy.deepcopy(module, blanks) for name, module in modules.items()}
        copied = dataclasses.replace(components, **copies)
        self._student = Student(copied, learns_text=student.learns_text)

    @contextmanager
    def filled(self, values: Mapping[str, Tensor], device: torch.device) -> Iterator[Student]:
        """Have the student with these weights for as long as this is open."""
        blank = self._student.learned()
        self._put_in({name: value.to(device) for name, value in values.items()})
        try:
            yield self._student
        finally:
            self._put_in(blank)

    def _put_in(self, values: Mapping[str, Tensor]) -> None:
        self._student.load_state_dict(values, strict=False, assign=True)
