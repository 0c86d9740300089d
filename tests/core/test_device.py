from __future__ import annotations

import pytest
import torch

from core.device import as_out_of_memory, dtype_of, free_memory, resolve_device, resolve_precision
from core.errors import OutOfMemory, Unsupported
from core.request import DeviceName, Precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device(DeviceName.AUTO).type == expected


def test_a_missing_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name, words in ((DeviceName.CUDA, "CUDA"), (DeviceName.MPS, "Apple GPU")):
        with pytest.raises(Unsupported, match=words):
            resolve_device(name)


def test_precision() -> None:
    assert resolve_precision(Precision.AUTO, CPU) is Precision.FP32
    assert resolve_precision(Precision.AUTO, torch.device("mps")) is Precision.FP16
    assert resolve_precision(Precision.BF16, CPU) is Precision.BF16
    assert dtype_of(Precision.BF16) is torch.bfloat16


def test_bf16_needs_a_recent_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    mps = torch.device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, minor: False)
    with pytest.raises(Unsupported, match="macOS 14"):
        resolve_precision(Precision.BF16, mps)
    assert resolve_precision(Precision.FP16, mps) is Precision.FP16
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, minor: major <= 14)
    assert resolve_precision(Precision.BF16, mps) is Precision.BF16


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_the_libraries_of_cuda_run_out_of_memory_too(words: str) -> None:
    assert isinstance(as_out_of_memory(RuntimeError(words)), OutOfMemory)


def test_memory() -> None:
    assert free_memory(CPU) > 10**8
    assert as_out_of_memory(RuntimeError("shapes differ")) is None
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert isinstance(as_out_of_memory(caught.value), OutOfMemory)
