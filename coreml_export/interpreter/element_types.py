"""The number types of ML programs: how many bits each has and how torch holds it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch


class ElementType(StrEnum):
    """A number type, by the name that MIL's own ``cast`` has for it."""

    BOOL = "bool"
    STRING = "string"
    FP16 = "fp16"
    FP32 = "fp32"
    FP64 = "fp64"
    BF16 = "bf16"
    FP8_E4M3FN = "fp8e4m3fn"
    FP8_E5M2 = "fp8e5m2"
    INT4 = "int4"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT1 = "uint1"
    UINT2 = "uint2"
    UINT3 = "uint3"
    UINT4 = "uint4"
    UINT6 = "uint6"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"

    @property
    def bits(self) -> int:
        """Bits that one number takes in a file."""
        return _FORMS[self].bits

    @property
    def stored_as(self) -> torch.dtype:
        """What torch calls these numbers in a file; for less than a byte, once they are unpacked.

        ``int4`` is unpacked to unsigned bytes, as its sign is a matter of the decoding.
        """
        return _FORMS[self].stored

    @property
    def computed_as(self) -> torch.dtype:
        """What the interpreter computes in: every floating-point type is widened to fp32."""
        return _FORMS[self].computed

    @property
    def is_float(self) -> bool:
        """Whether it is a floating-point type."""
        return self.computed_as.is_floating_point

    @property
    def is_integer(self) -> bool:
        """Whether it is a type of whole numbers."""
        return not self.is_float and self not in {ElementType.BOOL, ElementType.STRING}


@dataclass(frozen=True, slots=True)
class _Form:
    bits: int
    stored: torch.dtype
    computed: torch.dtype


_FORMS = {
    ElementType.BOOL: _Form(8, torch.bool, torch.bool),
    # Texts are parameters of operations; no tensor holds them.
    ElementType.STRING: _Form(8, torch.uint8, torch.uint8),
    ElementType.FP16: _Form(16, torch.float16, torch.float32),
    ElementType.FP32: _Form(32, torch.float32, torch.float32),
    ElementType.FP64: _Form(64, torch.float64, torch.float32),
    ElementType.BF16: _Form(16, torch.bfloat16, torch.float32),
    ElementType.FP8_E4M3FN: _Form(8, torch.float8_e4m3fn, torch.float32),
    ElementType.FP8_E5M2: _Form(8, torch.float8_e5m2, torch.float32),
    ElementType.INT4: _Form(4, torch.uint8, torch.int8),
    ElementType.INT8: _Form(8, torch.int8, torch.int8),
    ElementType.INT16: _Form(16, torch.int16, torch.int16),
    ElementType.INT32: _Form(32, torch.int32, torch.int32),
    ElementType.INT64: _Form(64, torch.int64, torch.int64),
    ElementType.UINT1: _Form(1, torch.uint8, torch.uint8),
    ElementType.UINT2: _Form(2, torch.uint8, torch.uint8),
    ElementType.UINT3: _Form(3, torch.uint8, torch.uint8),
    ElementType.UINT4: _Form(4, torch.uint8, torch.uint8),
    ElementType.UINT6: _Form(6, torch.uint8, torch.uint8),
    ElementType.UINT8: _Form(8, torch.uint8, torch.uint8),
    # torch computes little in the wider unsigned types.
    ElementType.UINT16: _Form(16, torch.uint16, torch.int32),
    ElementType.UINT32: _Form(32, torch.uint32, torch.int64),
    ElementType.UINT64: _Form(64, torch.uint64, torch.int64),
}

MIL_CODES = {
    1: ElementType.BOOL,
    2: ElementType.STRING,
    10: ElementType.FP16,
    11: ElementType.FP32,
    12: ElementType.FP64,
    13: ElementType.BF16,
    21: ElementType.INT8,
    22: ElementType.INT16,
    23: ElementType.INT32,
    24: ElementType.INT64,
    25: ElementType.INT4,
    31: ElementType.UINT8,
    32: ElementType.UINT16,
    33: ElementType.UINT32,
    34: ElementType.UINT64,
    35: ElementType.UINT4,
    36: ElementType.UINT2,
    37: ElementType.UINT1,
    38: ElementType.UINT6,
    39: ElementType.UINT3,
    40: ElementType.FP8_E4M3FN,
    41: ElementType.FP8_E5M2,
}
"""The numbers of ``DataType`` in a program's specification
(https://github.com/apple/coremltools/blob/main/mlmodel/format/MIL.proto)."""

BLOB_CODES = {
    1: ElementType.FP16,
    2: ElementType.FP32,
    3: ElementType.UINT8,
    4: ElementType.INT8,
    5: ElementType.BF16,
    6: ElementType.INT16,
    7: ElementType.UINT16,
    8: ElementType.INT4,
    9: ElementType.UINT1,
    10: ElementType.UINT2,
    11: ElementType.UINT4,
    12: ElementType.UINT3,
    13: ElementType.UINT6,
    14: ElementType.INT32,
    15: ElementType.UINT32,
    16: ElementType.FP8_E4M3FN,
    17: ElementType.FP8_E5M2,
}
"""The numbers of ``BlobDataType`` in a weight file
(https://github.com/apple/coremltools/blob/main/mlmodel/src/MILBlob/Blob/BlobDataType.hpp)."""
