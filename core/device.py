"""Where the engine computes, in which number format, and how much memory there is for it."""

from __future__ import annotations

import os
import platform

import psutil
import torch

from core.errors import OutOfMemory, Unsupported
from core.request import DeviceName, Precision

_DTYPES = {
    Precision.FP32: torch.float32,
    Precision.FP16: torch.float16,
    Precision.BF16: torch.bfloat16,
}

_OUT_OF_MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "invalid buffer size",
    "alloc_failed",
)
"""How torch's CUDA, CPU and MPS allocators say it, and CUDA's libraries with their own memory; only
torch's CUDA allocator has an exception of its own."""


def resolve_device(name: DeviceName) -> torch.device:
    """Give the device of that name; ``AUTO`` is CUDA if there is one, else MPS, else the CPU.

    Raises:
        Unsupported: If this machine has no such device.
    """
    has_cuda = torch.cuda.is_available()
    has_mps = torch.backends.mps.is_available()
    match name:
        case DeviceName.AUTO:
            return torch.device("cuda" if has_cuda else "mps" if has_mps else "cpu")
        case DeviceName.CUDA if not has_cuda:
            raise Unsupported("This machine has no CUDA device; choose auto or cpu.")
        case DeviceName.MPS if not has_mps:
            raise Unsupported("This machine has no Apple GPU (MPS); choose auto or cpu.")
        case _:
            return torch.device(name.value)


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """Give the number format to use; ``AUTO`` is fp32 on the CPU and fp16 on a GPU.

    Raises:
        Unsupported: If the device cannot compute in it.
    """
    if precision is Precision.AUTO:
        return Precision.FP32 if device.type == "cpu" else Precision.FP16
    if (
        precision is Precision.BF16
        and device.type == "cuda"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise Unsupported("This CUDA device cannot compute in bf16; choose fp16 or fp32.")
    if (
        precision is Precision.BF16
        and device.type == "mps"
        and not torch.backends.mps.is_macos_or_newer(14, 0)
    ):
        raise Unsupported("An Apple GPU computes in bf16 from macOS 14 on; choose fp16 or fp32.")
    return precision


def dtype_of(precision: Precision) -> torch.dtype:
    """Give torch's name of a resolved number format."""
    return _DTYPES[precision]


def free_memory(device: torch.device) -> int:
    """Count the bytes that a job may take on the device now.

    Apple GPUs share the machine's memory: the smaller of what Metal recommends and what the system
    has free counts.
    """
    available: int = psutil.virtual_memory().available
    match device.type:
        case "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            return free + cached
        case "mps":
            metal = torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
            return min(metal, available)
        case _:
            return available


def release_cached_memory(device: torch.device) -> None:
    """Give back what torch's allocator keeps for later."""
    match device.type:
        case "cuda":
            torch.cuda.empty_cache()
        case "mps":
            torch.mps.empty_cache()
        case _:
            pass


def describe(device: torch.device) -> str:
    """Name the machine in a few words, for reports."""
    gpu = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    return (
        f"{device.type}{gpu}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, "
        f"torch {torch.__version__} with {torch.get_num_threads()} threads, "
        f"Python {platform.python_version()}"
    )


def as_out_of_memory(
    error: RuntimeError | MemoryError, *, in_picture: bool = True
) -> OutOfMemory | None:
    """Read an allocator's complaint; give None for any other error.

    Args:
        error: What was raised.
        in_picture: Whether a picture was being made, or else its model made ready.
    """
    words = str(error).lower()
    kinds = (torch.OutOfMemoryError, MemoryError)
    if not isinstance(error, kinds) and not any(w in words for w in _OUT_OF_MEMORY_WORDS):
        return None
    when, remedy = "while the model was made ready", "memory low or a smaller model"
    if in_picture:
        when = "in the middle of a picture"
        remedy = "a smaller size or batch, or memory low"
    return OutOfMemory(
        f"The device ran out of memory {when}; choose {remedy}, or close other programs."
    )
