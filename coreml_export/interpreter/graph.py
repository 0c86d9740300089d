"""A saved ML program as plain data: functions, operations, and constants that are read when needed.

The forms are those of the program's specification
(https://github.com/apple/coremltools/blob/main/mlmodel/format/MIL.proto), less what no program of
ours has: nested blocks are left out, so that an operation with some is one that nobody knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.errors import ModelInvalid, Unsupported
from coreml_export.interpreter.element_types import MIL_CODES, ElementType
from coreml_export.interpreter.weight_file import WeightFile, bytes_of, decode

Value = Tensor | str
"""What a name of a program stands for while it runs; texts are parameters such as ``"valid"``."""

WeightFiles = Callable[[str], WeightFile]
"""Gives a weight file by the name that the program has for it."""


@dataclass(frozen=True, slots=True)
class TensorDescription:
    """What a program declares of one of its values.

    Attributes:
        name: Its name.
        shape: Its sides; None where the program leaves one open.
        dtype: Its number type.
        any_rank: Whether even the number of sides is open.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: ElementType
    any_rank: bool = False

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Tell whether a tensor of these sides is what is declared."""
        return self.any_rank or (
            len(shape) == len(self.shape)
            and all(
                declared in {None, side} for declared, side in zip(self.shape, shape, strict=True)
            )
        )


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant as it lies in a package.

    Attributes:
        shape: Its sides.
        dtype: Its number type.
        stored_bytes: Bytes that its numbers take in the package.
        load: Reads it.
    """

    shape: tuple[int, ...]
    dtype: ElementType
    stored_bytes: int
    load: Callable[[], Value]


@dataclass(frozen=True, slots=True)
class Operation:
    """One step of a program.

    Attributes:
        type: What it does, such as ``"conv"``.
        arguments: Each parameter with what it is bound to: names of values, or constants.
        outputs: What it makes.
    """

    type: str
    arguments: Mapping[str, tuple[str | Literal, ...]]
    outputs: tuple[TensorDescription, ...]

    @property
    def is_constant(self) -> bool:
        """Whether it makes the same of every input: a constant, or one that is decompressed."""
        return self.type == "const" or self.type.startswith("constexpr_")

    @property
    def literals(self) -> Iterator[Literal]:
        """The constants that are bound to its parameters."""
        for bound in self.arguments.values():
            yield from (item for item in bound if isinstance(item, Literal))

    @property
    def names(self) -> Iterator[str]:
        """The values that are bound to its parameters."""
        for bound in self.arguments.values():
            yield from (item for item in bound if isinstance(item, str))

    def __str__(self) -> str:
        """Say what it is and what it makes, for messages."""
        made = ", ".join(output.name for output in self.outputs) or "nothing"
        return f"{self.type} (which makes {made})"


@dataclass(frozen=True, slots=True)
class Function:
    """One entry of a program.

    Attributes:
        inputs: What it takes.
        outputs: The names of what it gives.
        operations: Its steps in order.
    """

    inputs: tuple[TensorDescription, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]


def read_function(message: Any, files: WeightFiles) -> Function:
    """Read a function of a program's specification.

    Args:
        message: The protobuf message ``MILSpec.Function``.
        files: Where the weights lie.

    Raises:
        ModelInvalid: If it has no body.
        Unsupported: If a value is of a kind that no program of ours has.
    """
    block = message.block_specializations.get(message.opset)
    if block is None:
        raise ModelInvalid(
            f"A Core ML program has no operations for its own opset {message.opset!r}; "
            "export the package anew."
        )
    return Function(
        inputs=tuple(_description(item) for item in message.inputs),
        outputs=tuple(block.outputs),
        operations=tuple(_operation(item, files) for item in block.operations),
    )


def _operation(message: Any, files: WeightFiles) -> Operation:
    arguments: dict[str, tuple[str | Literal, ...]] = {
        name: tuple(_bound(binding, files) for binding in argument.arguments)
        for name, argument in message.inputs.items()
    }
    # Constants, and compressed ones up to iOS 17, have theirs as attributes.
    for name, value in message.attributes.items():
        if name != "name":
            arguments[name] = (_literal(value, files),)
    return Operation(message.type, arguments, tuple(_description(item) for item in message.outputs))


def _bound(binding: Any, files: WeightFiles) -> str | Literal:
    if binding.WhichOneof("binding") == "name":
        return str(binding.name)
    return _literal(binding.value, files)


def _description(message: Any) -> TensorDescription:
    kind = message.type.WhichOneof("type")
    if kind != "tensorType":
        raise Unsupported(
            f"{message.name} of a Core ML program is a {kind}, and only tensors are read here."
        )
    declared = message.type.tensorType
    return TensorDescription(
        name=message.name,
        shape=tuple(
            int(side.constant.size) if side.WhichOneof("dimension") == "constant" else None
            for side in declared.dimensions
        ),
        dtype=_element_type(declared.dataType),
        any_rank=declared.rank < 0 or any(side.unknown.variadic for side in declared.dimensions),
    )


def _element_type(code: int) -> ElementType:
    if code not in MIL_CODES:
        raise Unsupported(f"A Core ML program has numbers of a type that is not known: {code}.")
    return MIL_CODES[code]


def _literal(message: Any, files: WeightFiles) -> Literal:
    declared = message.type.tensorType
    dtype = _element_type(declared.dataType)
    shape = tuple(int(side.constant.size) for side in declared.dimensions)
    count = math.prod(shape)

    if message.WhichOneof("value") == "blobFileValue":
        name, offset = message.blobFileValue.fileName, message.blobFileValue.offset

        def load() -> Value:
            return decode(files(name).read(offset, dtype, count), dtype, shape)
    else:
        immediate = message.immediateValue.tensor

        def load() -> Value:
            return _immediate(immediate, dtype, shape)

    return Literal(shape, dtype, bytes_of(dtype, count), load)


def _immediate(message: Any, dtype: ElementType, shape: tuple[int, ...]) -> Value:
    """Read a constant that lies in the specification itself."""
    field = message.WhichOneof("value")
    if field == "bytes":
        return decode(np.frombuffer(message.bytes.values, dtype=np.uint8), dtype, shape)
    values = getattr(message, field).values
    if dtype is ElementType.STRING:
        return str(values[0])
    return torch.tensor(list(values), dtype=dtype.computed_as).reshape(shape)
