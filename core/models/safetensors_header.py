"""The header of a safetensors file: names, types and shapes of its tensors. Imports no torch.

The format is eight bytes of length, little endian, that many bytes of JSON, then the data
(https://github.com/huggingface/safetensors#format). Nothing of a header is believed before it is
held against the size of the file.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ModelInvalid

LONGEST = 100_000_000
"""Bytes of header that the format allows."""

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file, as its header tells of it.

    Attributes:
        dtype: The format's name of the number type, such as ``"F16"``.
        shape: Its sides.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself.

    Attributes:
        tensors: What it holds, by name.
        metadata: What its maker wrote beside them, such as ``modelspec.architecture``.
    """

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]


_PRECISIONS = {
    "F16": "fp16", "BF16": "bf16", "F32": "fp32", "F64": "fp64",
    "F8_E4M3": "fp8", "F8_E5M2": "fp8", "F8_E8M0": "fp8",
}  # fmt: skip


def precision_of(tensors: Iterable[TensorInfo]) -> str:
    """Name the number format that most of some tensors' numbers have; empty if they are no such.

    Returns:
        ``"fp16"``, ``"bf16"``, ``"fp32"``, ``"fp64"`` or ``"fp8"``.
    """
    counts: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.dtype in _PRECISIONS:
            counts[_PRECISIONS[tensor.dtype]] += tensor.count
    return max(counts, key=lambda name: counts[name], default="")


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Read which tensors a file holds; see ``read_with_metadata``."""
    return read_with_metadata(path).tensors


def read_with_metadata(path: Path) -> Header:
    """Read the header and hold it against the file.

    Raises:
        ModelInvalid: If the file is empty, cut short, no safetensors at all, or if its header
            contradicts itself or the file's size.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(LONGEST, size - 8):
                raise _damaged(path, f"{size} bytes cannot hold the header that it announces")
            text = file.read(length)
    except OSError as error:
        raise _damaged(path, str(error.strerror or error)) from error
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise _damaged(path, "its header is not JSON") from None
    if not isinstance(values, dict):
        raise _damaged(path, "its header is no JSON object")
    metadata = values.pop("__metadata__", None)
    tensors = {name: _tensor(path, name, entry) for name, entry in values.items()}
    _check_extents(path, values, size - 8 - length)
    notes = metadata if isinstance(metadata, dict) else {}
    return Header(tensors, {name: text for name, text in notes.items() if isinstance(text, str)})


def _tensor(path: Path, name: str, entry: Any) -> TensorInfo:
    """Read one entry and hold its shape against its extent."""
    if not isinstance(entry, dict):
        raise _damaged(path, f"the entry of {name} is no JSON object")
    dtype = entry.get("dtype")
    shape, extent = _sizes(entry.get("shape")), _sizes(entry.get("data_offsets"))
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise _damaged(path, f"{name} is of an unknown type {dtype!r}")
    if shape is None or extent is None or len(extent) != 2:
        raise _damaged(path, f"the entry of {name} makes no sense")
    if math.prod(shape) * _BITS[dtype] != (extent[1] - extent[0]) * 8:
        raise _damaged(path, f"the shape of {name} does not fit its bytes")
    return TensorInfo(dtype, shape)


def _sizes(values: Any) -> tuple[int, ...] | None:
    """Read a list of whole numbers from 0 on; give None for anything else."""
    if isinstance(values, list) and all(type(v) is int and v >= 0 for v in values):
        return tuple(values)
    return None


def _check_extents(path: Path, values: dict[str, Any], size: int) -> None:
    """The tensors must cover the data without gap or overlap."""
    end = 0
    for start, stop in sorted(tuple(entry["data_offsets"]) for entry in values.values()):
        if start != end:
            raise _damaged(path, "its tensors overlap or leave gaps")
        end = stop
    if end > size:
        raise _damaged(path, f"it is cut short, {end - size} bytes are missing")
    if end < size:
        raise _damaged(path, f"{size - end} bytes follow its last tensor")


def _damaged(path: Path, why: str) -> ModelInvalid:
    return ModelInvalid(f"{path} is damaged: {why}; download or copy it again.")
