"""What a safetensors file is to hold: its header, its bytes, and the hashes it is known by.

The format is that of ``core.models.safetensors_header``. It is written here, tensor by tensor, so
that a model of several gigabytes is never copied as a whole, whatever its number format becomes,
and so that a disk that is full is told apart from everything else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from core.files import replacing
from core.models.fingerprint import FIRST_HASH_DIGITS
from core.models.safetensors_header import TensorInfo

_NAMES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
}
"""The format's names of number types, in the order in which the safetensors library writes them."""

_ORDER = {name: place for place, name in enumerate(_NAMES.values())}


@dataclass(frozen=True, slots=True)
class Contents:
    """Tensors on their way into a file.

    Attributes:
        tensors: By name, of any shape, on any device; none of them without data.
        dtype: What their floating-point numbers become; None leaves them as they are.
    """

    tensors: Mapping[str, Tensor]
    dtype: torch.dtype | None = None

    def infos(self) -> dict[str, TensorInfo]:
        """Give type and shape of each tensor, in the order of the file."""
        infos = {
            name: TensorInfo(_NAMES[self._dtype_of(tensor)], tuple(tensor.shape))
            for name, tensor in self.tensors.items()
        }
        return dict(sorted(infos.items(), key=lambda item: (_ORDER[item[1].dtype], item[0])))

    def write(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the file, whole or not at all, over an older one if there is one.

        Args:
            path: The file.
            metadata: What it says of itself.

        Raises:
            SaveFailed: Naming the folder and the reason; what was there is unchanged.
        """
        with replacing(path) as file:
            file.write(self._header(metadata))
            for piece in self._pieces():
                file.write(piece)

    def sha256(self) -> str:
        """Hash the file without its header.

        AUTOMATIC1111's web UI and Civitai know a LoRA by it, as ``sshs_model_hash``, and Stability
        AI's ModelSpec (https://github.com/Stability-AI/ModelSpec) has it as ``hash_sha256``.

        Returns:
            64 hex digits.
        """
        digest = hashlib.sha256()
        for piece in self._pieces():
            digest.update(piece)
        return digest.hexdigest()

    def legacy_hash(self, metadata: Mapping[str, str]) -> str:
        """Hash the 64 KiB behind the first MiB of the file as it would be with these notes alone.

        The rule is that of ``precalculate_safetensors_hashes`` in kohya's sd-scripts, where
        ``metadata`` are the notes whose names begin with ``ss_``.

        Returns:
            8 hex digits.
        """
        digest, begin = hashlib.sha256(), -(1 << 20)
        for piece in chain((memoryview(self._header(metadata)),), self._pieces()):
            end = begin + len(piece)
            if end > 0:
                digest.update(piece[max(0, -begin) : max(0, (1 << 16) - begin)])
            begin = end
        return digest.hexdigest()[:FIRST_HASH_DIGITS]

    def _dtype_of(self, tensor: Tensor) -> torch.dtype:
        return self.dtype if self.dtype and tensor.is_floating_point() else tensor.dtype

    def _header(self, metadata: Mapping[str, str]) -> bytes:
        entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
        end = 0
        for name, info in self.infos().items():
            begin, end = end, end + self._size(name)
            entries[name] = {
                "dtype": info.dtype,
                "shape": info.shape,
                "data_offsets": (begin, end),
            }
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    def _size(self, name: str) -> int:
        return self.tensors[name].numel() * self._dtype_of(self.tensors[name]).itemsize

    def _pieces(self) -> Iterator[memoryview]:
        """Give the bytes of each tensor in turn."""
        for name in self.infos():
            tensor = self.tensors[name].detach()
            assert not tensor.is_meta, name
            plain = tensor.to("cpu", self._dtype_of(tensor)).contiguous().reshape(-1)
            yield plain.view(torch.uint8).numpy().data
