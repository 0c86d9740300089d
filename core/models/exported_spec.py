"""What a Core ML package takes and gives, read without Core ML. Imports no torch.

A package keeps that in a protobuf message (``mlmodel/format/Model.proto`` and
``FeatureTypes.proto`` of https://github.com/apple/coremltools), a compiled model in the
``metadata.json`` that Core ML's compiler writes beside it.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

from core.coreml_folder import MANIFEST, SUFFIXES, ExportFormat, Tensor
from core.errors import ModelInvalid

SPEC = Path("Data", "com.apple.CoreML", "model.mlmodel")
COMPILED_SPEC = "metadata.json"

_DESCRIPTION, _INPUT, _OUTPUT, _NAME, _TYPE, _ARRAY, _SHAPE, _NUMBERS = 2, 1, 10, 1, 3, 5, 1, 2
"""Numbers of the messages' fields, each within the one before, the outer ones first."""

_DTYPES = {65552: "float16", 65568: "float32", 131104: "int32"}
_COMPILED_DTYPES = {"Float16": "float16", "Float32": "float32", "Int32": "int32"}

_SKIPPED = {1: 8, 5: 4}
"""Bytes of the values of fixed width, which none of these fields has."""

Described = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
"""Inputs and outputs."""


def describe(package: Path) -> Described:
    """Read what a ``.mlpackage`` or a ``.mlmodelc`` takes and gives.

    Raises:
        ModelInvalid: If it is incomplete or damaged, takes something else than tensors, or is a
            ``.aimodel``, which says that in a form of its own.
    """
    if package.suffix == SUFFIXES[ExportFormat.COREAI]:
        raise ModelInvalid(
            f"What {package} takes and gives is told by the {MANIFEST} of the folder that it was "
            "exported to; put it back there, or export it again."
        )
    try:
        if package.suffix == ".mlmodelc":
            return _of_compiled(json.loads((package / COMPILED_SPEC).read_bytes()))
        return _of_spec((package / SPEC).read_bytes())
    except (OSError, ValueError, LookupError, TypeError, SyntaxError) as error:
        raise ModelInvalid(
            f"{package} does not tell what it takes and gives ({error}); export or download it "
            "again."
        ) from error


def has_einsum(package: Path) -> bool:
    """Whether a part is laid out for the Neural Engine, which nothing but its operations tell."""
    try:
        if package.suffix == ".mlmodelc":
            histogram = json.loads((package / COMPILED_SPEC).read_bytes())[0].get(
                "mlProgramOperationTypeHistogram", {}
            )
            return any(name.endswith(".einsum") for name in histogram)
        return b"einsum" in (package / SPEC).read_bytes()
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _of_compiled(values: list[dict[str, list[dict[str, str]]]]) -> Described:
    def read(side: str) -> tuple[Tensor, ...]:
        return tuple(
            Tensor(
                one["name"],
                tuple(int(length) for length in ast.literal_eval(one["shape"])),
                _COMPILED_DTYPES[one["dataType"]],
            )
            for one in values[0][side]
        )

    return read("inputSchema"), read("outputSchema")


def _of_spec(message: bytes) -> Described:
    description = b"".join(_parts(message, _DESCRIPTION))
    sides = (_parts(description, field) for field in (_INPUT, _OUTPUT))
    inputs, outputs = (tuple(_tensor(feature) for feature in side) for side in sides)
    if not inputs or not outputs:
        raise ValueError("its model.mlmodel describes no inputs and outputs")
    return inputs, outputs


def _tensor(feature: bytes) -> Tensor:
    name = b"".join(_parts(feature, _NAME)).decode()
    array = b"".join(_parts(b"".join(_parts(feature, _TYPE)), _ARRAY))
    shape: list[int] = []
    dtype = ""
    for field, value in _fields(array):
        if field == _SHAPE:
            shape += [value] if isinstance(value, int) else list(_varints(value))
        elif field == _NUMBERS and isinstance(value, int):
            dtype = _DTYPES[value]
    if not dtype:
        raise ValueError(f"its {name!r} is no tensor")
    return Tensor(name, tuple(shape), dtype)


def _parts(message: bytes, wanted: int) -> Iterator[bytes]:
    """Give the messages and texts of a field; one given in pieces is to be joined."""
    for field, value in _fields(message):
        if field == wanted and isinstance(value, bytes):
            yield value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Give a message's fields as https://protobuf.dev/programming-guides/encoding has them."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        field, kind = key >> 3, key & 7
        match kind:
            case 0:
                value, at = _varint(message, at)
                yield field, value
            case 2:
                length, at = _varint(message, at)
                if at + length > len(message):
                    raise ValueError("its model.mlmodel is cut short")
                yield field, message[at : at + length]
                at += length
            case _:
                at += _SKIPPED[kind]


def _varints(packed: bytes) -> Iterator[int]:
    at = 0
    while at < len(packed):
        value, at = _varint(packed, at)
        yield value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
