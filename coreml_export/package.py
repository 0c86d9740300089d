"""The writer of Core ML packages: a part in all its sizes, converted, packed, compared, split."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from core.coreml import import_coremltools
from core.coreml_folder import COMPILED, SUFFIXES, ExportFormat, Tensor, function_of
from core.models.exported_spec import describe
from coreml_export.check import Comparison, compare
from coreml_export.convert import convert, quietly, trace
from coreml_export.events import Stage
from coreml_export.packer import Packer
from coreml_export.parts import Part, named
from coreml_export.plan import PartPlan

SUFFIX = SUFFIXES[ExportFormat.COREML]
HALVES = ("Chunk1", "Chunk2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a part is written.

    Attributes:
        plan: What is known of it.
        sizes: Of the pictures; a package has a function for each if there are several.
        target: The oldest system that is to run it.
        metadata: What the package says of itself.
        chunk: Whether it becomes two packages.
        check: Whether it is read back and compared.
        scheduler_config: Of the model's own scheduler, by which it is run where it is measured.
        release: Gives back the memory of the part's weights.
    """

    plan: PartPlan
    sizes: Sequence[tuple[int, int]]
    target: str
    metadata: Mapping[str, str]
    chunk: bool
    check: bool
    scheduler_config: Mapping[str, Any]
    release: Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A package that was made.

    Attributes:
        name: Of the part, or of its half.
        path: Where it lies.
        inputs: What it takes.
        outputs: What it gives.
        compiled: The same as macOS runs it, or None elsewhere.
        comparison: With torch, if it was made; of both halves together.
    """

    name: str
    path: Path
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    comparison: Comparison | None
    compiled: Path | None = None


def write(
    parts: Iterator[Part], folder: Path, way: Way
) -> Generator[Stage, None, tuple[Written, ...]]:
    """Write a part.

    Args:
        parts: The part in each size, made one after the other.
        folder: An empty folder.
        way: How.

    Yields:
        What is done next.

    Returns:
        The packages, in ``folder``.

    Raises:
        ExportFailed: If it cannot be converted.
    """
    stem = way.plan.name.rpartition("/")[2]
    plain: list[Path] = []
    packed: list[Path] = []
    packer = Packer(way.plan.compression, way.scheduler_config)
    asked: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]] | None = None
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    for size in way.sizes:
        yield Stage.LOAD
        part = next(parts)
        if Stage.MEASURE in way.plan.stages:
            yield Stage.MEASURE
            packer.look_at(part)
        yield Stage.TRACE
        examples = part.examples()
        if not plain:
            inputs, outputs = part.inputs, part.outputs
            if way.check:
                asked = named(inputs, examples), named(outputs, _reference(part, examples))
        traced = trace(part, examples)
        yield Stage.CONVERT
        model = convert(traced, part, target=way.target, metadata=way.metadata)
        del traced, part
        way.release()
        name = function_of(*size)
        plain.append(_save(model, folder / f"{name}{SUFFIX}"))
        if Stage.COMPRESS in way.plan.stages:
            yield Stage.COMPRESS
            model = packer.pack(model, plain[-1])
            packed.append(_save(model, folder / f"{name}-packed{SUFFIX}"))
        del model
    made = _joined(packed or plain, way, folder / f"{stem}{SUFFIX}")
    comparison = None
    if asked is not None:
        yield Stage.CHECK
        comparison = compare(made, plain[0] if packed else None, *asked)
    for path in filter(Path.exists, (*plain, *packed)):
        shutil.rmtree(path)
    written: tuple[Written, ...] = (
        Written(
            name=way.plan.name, path=made, inputs=inputs, outputs=outputs, comparison=comparison
        ),
    )
    if way.chunk:
        written = tuple(_halves(made, way, comparison))
    if Stage.COMPILE in way.plan.stages:
        yield Stage.COMPILE
        written = tuple(replace(one, compiled=_compiled(one.path)) for one in written)
    return written


@torch.no_grad()
def _reference(part: Part, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return tuple(value.float() for value in part.reference(*inputs))


def _save(model: Any, path: Path) -> Path:
    with quietly():
        model.save(str(path))
    return path


def _joined(packages: Sequence[Path], way: Way, path: Path) -> Path:
    """Make one package of those of each size."""
    if len(packages) == 1:
        return packages[0].rename(path)
    ct = import_coremltools()
    functions = ct.utils.MultiFunctionDescriptor()
    for package, size in zip(packages, way.sizes, strict=True):
        functions.add_function(str(package), "main", function_of(*size))
    functions.default_function_name = function_of(*way.sizes[0])
    with quietly():
        ct.utils.save_multifunction(functions, str(path))
    _say_again(path, ct.utils.load_spec(str(packages[0])))
    return path


def _say_again(package: Path, of: Any) -> None:
    """Let a package say of itself what the one that it was made from does; it was left out."""
    specification = import_coremltools().utils.load_spec(str(package))
    specification.description.metadata.CopyFrom(of.description.metadata)
    next(package.rglob("*.mlmodel")).write_bytes(specification.SerializeToString())


def _halves(whole: Path, way: Way, comparison: Comparison | None) -> Iterator[Written]:
    """Split a package in two of about a size, the second of which takes what the first gives."""
    ct = import_coremltools()
    with quietly():
        # Core ML itself, by which it would check what it did, is there on macOS alone.
        ct.models.utils.bisect_model(str(whole), str(whole.parent), check_output_correctness=False)
    before = ct.utils.load_spec(str(whole))
    shutil.rmtree(whole)
    for number, half in enumerate(HALVES, 1):
        path = whole.with_name(f"{whole.stem}_chunk{number}{SUFFIX}")
        path = path.rename(whole.with_name(f"{whole.stem}{half}{SUFFIX}"))
        _say_again(path, before)
        inputs, outputs = describe(path)
        yield Written(
            name=f"{way.plan.name}{half}",
            path=path,
            inputs=inputs,
            outputs=outputs,
            comparison=comparison,
        )


def _compiled(path: Path) -> Path:
    """Compile a package by the system's own framework, which takes no Xcode; on macOS alone."""
    place = path.with_suffix(COMPILED)
    with quietly():
        import_coremltools().models.utils.compile_model(str(path), str(place))
    return place
