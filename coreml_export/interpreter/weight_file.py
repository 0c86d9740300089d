"""The weight file of a package, mapped into memory and read number by number.

The file is a list of blobs, each with 64 bytes of header before it: four bytes ``0xDEADBEEF``, four
that tell the type, eight each for the size of the data and for its place, all little endian
(https://github.com/apple/coremltools/blob/main/mlmodel/src/MILBlob/Blob/StorageFormat.hpp). Types
of less than a byte are one stream of bits, the lowest bit of each byte first
(https://github.com/apple/coremltools/blob/main/mlmodel/src/MILBlob/SubByteTypes.cpp).
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.errors import ModelInvalid
from coreml_export.interpreter.element_types import BLOB_CODES, ElementType

Bytes = npt.NDArray[np.uint8]

_HEADER = struct.Struct("<IIQQ")
_SENTINEL = 0xDEADBEEF


class WeightFile:
    """A weight file; what is not asked for is not read."""

    def __init__(self, path: Path) -> None:
        """Map the file at ``path``.

        Raises:
            ModelInvalid: If it is not there or is empty.
        """
        self._path = path
        try:
            self._bytes: Bytes = np.memmap(path, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise self._damaged("cannot be read") from error

    def read(self, offset: int, element_type: ElementType, count: int) -> Bytes:
        """Give the bytes of the blob whose header is at ``offset``, as a view of the file.

        Args:
            offset: Where the header begins, as the program tells.
            element_type: What the program says the blob holds.
            count: How many numbers it says there are.

        Raises:
            ModelInvalid: If the file holds something else there or ends before.
        """
        header = self._bytes[offset : offset + _HEADER.size].tobytes()
        if len(header) < _HEADER.size:
            raise self._damaged(f"ends before byte {offset}, where a weight should begin")
        sentinel, code, size, start = _HEADER.unpack(header)
        if sentinel != _SENTINEL:
            raise self._damaged(f"has no weight at byte {offset}")
        found = BLOB_CODES.get(code)
        if found is not element_type or size != bytes_of(element_type, count):
            raise self._damaged(
                f"has {size} bytes of type {found or code} at byte {offset}, where the program "
                f"expects {count} numbers of type {element_type}"
            )
        data = self._bytes[start : start + size]
        if len(data) < size:
            raise self._damaged(f"ends within the weight at byte {offset}")
        return data

    def _damaged(self, reason: str) -> ModelInvalid:
        return ModelInvalid(
            f"The weights of a Core ML package, {self._path}, are damaged: the file {reason}; "
            "copy or export the package anew."
        )


def bytes_of(element_type: ElementType, count: int) -> int:
    """Bytes that ``count`` numbers take, whole bytes at the end."""
    return (element_type.bits * count + 7) // 8


def decode(data: Bytes, element_type: ElementType, shape: tuple[int, ...]) -> Tensor:
    """Turn bytes as they are stored into numbers.

    Args:
        data: The bytes.
        element_type: What they are.
        shape: The sides of the result.

    Returns:
        ``shape``, of the type that the interpreter computes in; a copy.
    """
    count = int(np.prod(shape, dtype=np.int64))
    if element_type.bits < 8:
        data = unpack(data, element_type.bits, count)
    # torch takes no memory that must not be written to.
    stored = torch.from_numpy(np.array(data)).view(element_type.stored_as)
    if element_type is ElementType.INT4:
        stored = (stored ^ 8).to(torch.int8) - 8
    return stored.to(element_type.computed_as).reshape(shape)


def unpack(data: Bytes, bits: int, count: int) -> Bytes:
    """Spread numbers of fewer than eight bits over a byte each.

    Args:
        data: ``(ceil(bits * count / 8),)``, the lowest bit of each byte first.
        bits: Bits of a number.
        count: How many there are.

    Returns:
        ``(count,)``, unsigned.
    """
    spread = np.unpackbits(data, count=bits * count, bitorder="little").reshape(count, bits)
    return np.packbits(spread, axis=1, bitorder="little").reshape(count)
