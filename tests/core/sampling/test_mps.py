"""A whole generation, held on the CPU to what an Apple GPU can do.

Everything that the engine sends to the device happens inside of a module (text encoder, UNet, VAE).
There, no operation may touch float64 or stand outside of the list of those that torch 2.6 has for
MPS. The schedulers compute on the CPU on every device and are free of both.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from core.engine import TorchEngine
from core.events import ImageReady, PreviewSettings, Step
from core.request import DeviceName, ImageToImage, PreviewDecoder, SchedulerName, TextToImage

# Of native_functions.yaml (torch 2.6): those with an MPS kernel, then those made of such ones.
# CPU's fused attention stands for the MPS one.
ON_MPS = frozenset(
    """
    _scaled_dot_product_flash_attention_for_cpu _local_scalar_dense _softmax _to_copy _unsafe_view
    add add_ addmm alias all any arange argmax bitwise_and bmm cat clamp clone constant_pad_nd
    convolution copy_ cos detach div embedding empty
    empty_like eq exp expand fill_ full full_like ge gelu gt
    index le lift_fresh lt masked_fill mean mm mul mul_ native_group_norm native_layer_norm ne neg
    ones permute pow relu repeat rsub scalar_tensor select sigmoid silu sin slice split sqrt squeeze
    sub sum t tanh transpose tril triu unbind unsqueeze upsample_nearest2d view where zeros
    zeros_like zero_

    chunk contiguous conv2d dropout flatten group_norm interpolate layer_norm linear matmul pad
    reshape scaled_dot_product_attention softmax split_with_sizes to type_as expand_as unflatten
    """.split()  # noqa: SIM905 - quoted names would fill the screen.
)


class AsOnMps(TorchDispatchMode):
    """Refuses inside of modules what MPS would refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0
        self.seen: set[str] = set()

    def enter(self, *_: Any) -> None:
        self.depth += 1

    def leave(self, *_: Any) -> None:
        self.depth -= 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.depth:
            name = func.overloadpacket.__name__
            self.seen.add(name)
            assert name in ON_MPS, f"MPS lacks {name}"
            for value in tree_flatten((args, kwargs, result))[0]:
                if isinstance(value, torch.Tensor):
                    assert value.dtype is not torch.float64, f"{name} has float64"
        return result


@pytest.fixture
def mps() -> Iterator[AsOnMps]:
    with AsOnMps() as mode:
        hooks = [
            register_module_forward_pre_hook(mode.enter),
            register_module_forward_hook(mode.leave, always_call=True),
        ]
        yield mode
        for hook in hooks:
            hook.remove()


class Doubles(torch.nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.double() * 2


class Decomposes(torch.nn.Module):
    def forward(self, values: torch.Tensor) -> Any:
        return torch.linalg.svd(values)


def test_the_check_can_fail(mps: AsOnMps) -> None:
    with pytest.raises(AssertionError, match="float64"):
        Doubles()(torch.ones(2))
    with pytest.raises(AssertionError, match="MPS lacks"):
        Decomposes()(torch.eye(3))


@pytest.mark.parametrize("scheduler", SchedulerName)
def test_every_scheduler(
    scheduler: SchedulerName, mps: AsOnMps, tiny_model: Path, tmp_path: Path, start_picture: Path
) -> None:
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)
    settings: dict[str, Any] = {
        "model": str(tiny_model),
        "prompts": ("a red circle",),
        "steps": 3,
        "scheduler": scheduler,
        "width": 64,
        "height": 64,
    }
    preview = PreviewSettings(decoder=PreviewDecoder.FULL, budget=float("inf"))
    for request in (
        TextToImage(**settings),
        ImageToImage(**settings, init_image=str(start_picture)),
    ):
        events = list(engine.generate(request, preview=preview))
        assert sum(isinstance(event, ImageReady) for event in events) == 1
        assert all(event.previews for event in events if isinstance(event, Step))
    assert {"conv2d", "group_norm", "embedding"} <= mps.seen
    assert mps.depth == 0
