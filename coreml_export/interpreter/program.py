"""A saved ML program, read back from its package and executed with torch, one operation at a time.

It tells what a package computes without Core ML, on any system: the graph as it was written, with
the weights as they were written. How a Mac's compute units round within an operation it cannot
tell.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import torch
from torch import Tensor

from core.errors import ModelInvalid, Unsupported
from coreml_export.interpreter import compressed, elementwise, layers, reductions, shapes
from coreml_export.interpreter.arguments import Arguments
from coreml_export.interpreter.element_types import ElementType
from coreml_export.interpreter.graph import (
    Function,
    Literal,
    Operation,
    TensorDescription,
    Value,
    read_function,
)
from coreml_export.interpreter.package import Package


class Arithmetic(Enum):
    """What a program computes in."""

    FP32 = "fp32"
    """Every number in fp32, whatever the program declares: what the graph and its weights mean."""

    FP16 = "fp16"
    """Each result that is declared as fp16 is rounded to it; inside an operation it is fp32."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant of a program.

    Attributes:
        name: Its name.
        shape: Its sides, once it is decompressed.
        operation: ``"const"``, or the operation that decompresses it.
        stored_bytes: Bytes that it takes in the package, tables and scales included.
    """

    name: str
    shape: tuple[int | None, ...]
    operation: str
    stored_bytes: int


@dataclass(slots=True)
class Execution:
    """What came of running a program.

    Attributes:
        outputs: The results by name; floating-point ones are fp32.
        ranges: The smallest and the largest number of each floating-point value that was computed
            or given, by its name; no constants, and nothing that is not finite.
        first_non_finite: The first operation, if any, that gave something infinite or not a
            number; a mask of minus infinities is one.
    """

    outputs: dict[str, Tensor] = field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    first_non_finite: str | None = None

    def note(self, name: str, result: Tensor, operation: Operation | None = None) -> None:
        """Look at one value, which an operation gave, or nobody."""
        if not result.is_floating_point() or not result.numel():
            return
        low, high = map(float, result.aminmax())
        if math.isfinite(low) and math.isfinite(high):
            self.ranges[name] = (low, high)
        elif operation is not None:
            self.first_non_finite = self.first_non_finite or str(operation)


class Program:
    """One function of a saved ML program."""

    def __init__(self, package: Package, function: Function) -> None:
        """Use ``Program.read`` instead."""
        self._package = package
        self._function = function
        self._constants = {
            output.name: operation
            for operation in function.operations
            if operation.is_constant
            for output in operation.outputs
        }
        self._steps = _with_last_uses(function)
        self._declared = {item.name: item for item in function.inputs}
        for operation in function.operations:
            self._declared |= {item.name: item for item in operation.outputs}
        self._refuse_undefined_values()

    @classmethod
    def read(cls, path: Path, function: str | None = None) -> Program:
        """Read a package; weights are read when they are needed, and only then.

        Args:
            path: The ``.mlpackage``.
            function: Which of its functions; its default one if None.

        Raises:
            ModelMissing: If there is no package.
            ModelInvalid: If it is damaged.
            Unsupported: If it holds no ML program, or no such function.
        """
        package = Package(path)
        specification = package.specification
        if specification.WhichOneof("Type") != "mlProgram":
            raise Unsupported(f"The Core ML package {path} holds no ML program; export it as one.")
        functions = specification.mlProgram.functions
        name = function or specification.description.defaultFunctionName or "main"
        if name not in functions:
            there = ", ".join(sorted(functions))
            raise Unsupported(f"The Core ML package {path} has no function {name!r}, but {there}.")
        return cls(package, read_function(functions[name], package.weight_file))

    @property
    def inputs(self) -> tuple[TensorDescription, ...]:
        """What the program takes; a side that may vary is None."""
        return self._function.inputs

    @property
    def outputs(self) -> tuple[TensorDescription, ...]:
        """What the program gives; a side that may vary is None."""
        return tuple(self._declared[name] for name in self._function.outputs)

    @property
    def metadata(self) -> Mapping[str, str]:
        """What its maker wrote beside it (``user_defined_metadata``)."""
        return dict(self._package.specification.description.metadata.userDefined)

    @property
    def specification_version(self) -> int:
        """Which Core ML it needs: 7 for iOS 16 and macOS 13, 8 for iOS 17, 9 for iOS 18."""
        return int(self._package.specification.specificationVersion)

    @property
    def op_types(self) -> Counter[str]:
        """How many operations of each type there are, plain constants left out."""
        types = Counter(operation.type for operation in self._function.operations)
        del types["const"]
        return types

    def constants(self) -> Iterator[Constant]:
        """Go through its constants, those that are stored compressed as what they stand for."""
        for name, operation in self._constants.items():
            (declared,) = (item for item in operation.outputs if item.name == name)
            stored = sum(literal.stored_bytes for literal in operation.literals)
            yield Constant(name, declared.shape, operation.type, stored)

    def run(
        self, inputs: Mapping[str, Tensor], *, arithmetic: Arithmetic = Arithmetic.FP32
    ) -> dict[str, Tensor]:
        """Execute the program.

        Args:
            inputs: What it takes, by name.
            arithmetic: What to compute in.

        Returns:
            What it gives, by name; floating-point results are fp32.

        Raises:
            ModelInvalid: If the weights are damaged, or an operation gives something other than
                the program declares.
            Unsupported: If an operation is not known, or the inputs are not what is taken.
        """
        return self.execute(inputs, arithmetic=arithmetic).outputs

    @torch.no_grad()
    def execute(
        self, inputs: Mapping[str, Tensor], *, arithmetic: Arithmetic = Arithmetic.FP32
    ) -> Execution:
        """Execute the program as ``run`` does, and tell between what its numbers were."""
        self._refuse_unknown_operations()
        execution = Execution()
        values = self._accepted(inputs, arithmetic)
        for name, given in values.items():
            execution.note(name, given)
        for operation, last_used in self._steps:
            results = self._perform(operation, values, arithmetic)
            for declared, result in zip(operation.outputs, results, strict=True):
                execution.note(declared.name, result, operation)
                values[declared.name] = result
            for name in last_used:
                del values[name]
        for name in self._function.outputs:
            output = self._value(name, values, arithmetic)
            assert isinstance(output, Tensor)
            execution.outputs[name] = output
        return execution

    def _refuse_undefined_values(self) -> None:
        used = {name for operation in self._function.operations for name in operation.names}
        for name in {*used, *self._function.outputs} - set(self._declared):
            raise ModelInvalid(
                f"The Core ML package {self._package.path} uses {name}, which nothing in it "
                "makes; copy or export the package anew."
            )

    def _refuse_unknown_operations(self) -> None:
        for operation in self._function.operations:
            if operation.type not in KERNELS and operation.type != "const":
                raise Unsupported(
                    f"The Core ML package {self._package.path} has an operation that cannot be "
                    f"interpreted: {operation}."
                )

    def _accepted(self, inputs: Mapping[str, Tensor], arithmetic: Arithmetic) -> dict[str, Tensor]:
        """Hold the inputs against what the program takes."""
        wanted = {item.name for item in self.inputs}
        if wanted != set(inputs):
            raise Unsupported(
                f"The Core ML package {self._package.path} takes {', '.join(sorted(wanted))}, "
                f"and was given {', '.join(sorted(inputs)) or 'nothing'}."
            )
        for declared in self.inputs:
            given = inputs[declared.name]
            if not declared.admits(tuple(given.shape)) or not _same_kind(declared.dtype, given):
                raise Unsupported(
                    f"The Core ML package {self._package.path} takes {declared.name} as "
                    f"{_form(declared.shape, declared.dtype)}, and was given "
                    f"{_form(given.shape, given.dtype)}."
                )
        return {item.name: _fitted(inputs[item.name], item, arithmetic) for item in self.inputs}

    def _perform(
        self, operation: Operation, values: Mapping[str, Tensor], arithmetic: Arithmetic
    ) -> list[Tensor]:
        """Compute an operation and hold what it gives against what it declares."""
        given = Arguments(operation.arguments, lambda bound: self._value(bound, values, arithmetic))
        try:
            made = KERNELS[operation.type](given)
        except (RuntimeError, IndexError, ValueError, TypeError) as error:
            error.add_note(f"while computing {operation} of {self._package.path}")
            raise
        results = [made] if isinstance(made, Tensor) else list(made)
        for declared, result in zip(operation.outputs, results, strict=True):
            if not declared.admits(tuple(result.shape)) or not _same_kind(declared.dtype, result):
                raise ModelInvalid(
                    f"In the Core ML package {self._package.path} {operation} declares "
                    f"{_form(declared.shape, declared.dtype)} and gives "
                    f"{_form(result.shape, result.dtype)}; export it anew."
                )
        return [
            _fitted(result, declared, arithmetic)
            for declared, result in zip(operation.outputs, results, strict=True)
        ]

    def _value(
        self, bound: str | Literal, values: Mapping[str, Tensor], arithmetic: Arithmetic
    ) -> Value:
        """Give what a parameter is bound to.

        A constant is read, and decompressed, each time it is asked for: nearly all are used once,
        and so no more than a few of them are in memory at a time.
        """
        if isinstance(bound, Literal):
            return bound.load()
        if bound in values:
            return values[bound]
        operation = self._constants[bound]
        if operation.type == "const":
            (literal,) = operation.arguments["val"]
            return self._value(literal, values, arithmetic)
        results = self._perform(operation, values, arithmetic)
        names = [output.name for output in operation.outputs]
        return results[names.index(bound)]


KERNELS = {
    **elementwise.KERNELS,
    **shapes.KERNELS,
    **reductions.KERNELS,
    **layers.KERNELS,
    **compressed.KERNELS,
}
"""What computes each operation that is known, by MIL's name."""


def _with_last_uses(function: Function) -> list[tuple[Operation, list[str]]]:
    """Pair each operation that depends on the inputs with the values that nothing after it uses."""
    steps = [operation for operation in function.operations if not operation.is_constant]
    computed = {item.name for item in function.inputs}
    computed |= {output.name for operation in steps for output in operation.outputs}
    needed = set(function.outputs)
    last_uses: list[list[str]] = []
    for operation in reversed(steps):
        touched = {*operation.names, *(output.name for output in operation.outputs)} & computed
        last_uses.append(sorted(touched - needed))
        needed |= touched
    return list(zip(steps, reversed(last_uses), strict=True))


def _same_kind(declared: ElementType, given: Tensor) -> bool:
    """Tell whether both are floating-point, or whole numbers, or truths, however wide."""
    if declared is ElementType.BOOL:
        return given.dtype is torch.bool
    return declared.is_float == given.is_floating_point() and given.dtype is not torch.bool


def _fitted(value: Tensor, declared: TensorDescription, arithmetic: Arithmetic) -> Tensor:
    """Give a tensor the width that it is computed in, rounded as it is declared."""
    if arithmetic is Arithmetic.FP16 and declared.dtype is ElementType.FP16:
        value = value.half()
    return value.to(declared.dtype.computed_as)


def _form(shape: Sequence[int | None], dtype: ElementType | torch.dtype) -> str:
    sides = ", ".join("any" if side is None else str(side) for side in shape)
    return f"({sides}) {str(dtype).removeprefix('torch.')}"
