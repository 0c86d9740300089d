"""Copies of a module's structure that hold the very same weights."""

from __future__ import annotations

import copy
from itertools import chain
from typing import TypeVar

from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def sharing_copy(module: ModuleT) -> ModuleT:
    """Copy a module, whose parts can then be exchanged without a trace in the original.

    Its parameters and buffers are not copied: both modules have the same ones.
    """
    tensors = chain(module.parameters(), module.buffers())
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})
