"""The writer of Core AI models: a part exported by torch, converted, and saved as ``.aimodel``.

Core AI is what macOS has in the place of Core ML from version 27 on. Its packages are betas
(https://github.com/apple/coreai-torch): all that is known of them for writing stands here, and in
``core.coreai`` what runs such models.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.compute_units import ComputeUnits
from core.coreai import MAIN, open_part
from core.coreml_folder import SUFFIXES, ExportFormat, function_of
from core.errors import ExportFailed
from core.models.exported import Package
from coreml_export.check import Comparison, worst
from coreml_export.events import Stage
from coreml_export.package import Way, Written
from coreml_export.parts import Part

_EXACT = ("input_ids", "timestep", "time_ids")
"""Inputs that half precision would round: they become indices and sines, which are fp32."""


def write(
    parts: Iterator[Part], folder: Path, way: Way
) -> Generator[Stage, None, tuple[Written, ...]]:
    """Write a part, with a function for each of its sizes; see ``coreml_export.package.write``."""
    path = folder / f"{way.plan.name.rpartition('/')[2]}{SUFFIXES[ExportFormat.COREAI]}"
    converter = Converter()
    asked: tuple[tuple[Tensor, ...], tuple[Tensor, ...]] | None = None
    first: Part | None = None
    for size in way.sizes:
        yield Stage.LOAD
        part = next(parts)
        yield Stage.TRACE
        examples = part.examples()
        if first is None and Stage.CHECK in way.plan.stages:
            asked = typed(part, examples), _reference(part, examples)
        converter.add(part, examples, MAIN if first is None else function_of(*size))
        first = first or part
        del part
        way.release()
    assert first is not None
    yield Stage.CONVERT
    save(converter.convert(first), path, way.metadata)
    del converter
    made = Written(
        name=way.plan.name,
        path=path,
        inputs=first.inputs,
        outputs=first.outputs,
        comparison=None,
    )
    if asked is None:
        return (made,)
    yield Stage.CHECK
    return (replace(made, comparison=_compared(first, path, *asked)),)


def _compared(
    part: Part, path: Path, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> Comparison:
    """Run a model that was written, and hold what it gives against what torch does."""
    package = Package(part.name, path, None, part.inputs, part.outputs)
    told = {one.name: value.numpy() for one, value in zip(part.inputs, inputs, strict=True)}
    given = open_part(package, ComputeUnits.ALL, "").predict(told)
    answers = {name: torch.from_numpy(values) for name, values in given.items()}
    wanted = {one.name: value for one, value in zip(part.outputs, outputs, strict=True)}
    is_finite = all(value.isfinite().all() for value in answers.values())
    figure = {"fp32" if part.fp32 else "fp16": worst(wanted, answers)}
    return Comparison(figure, "" if is_finite else "an output")


@torch.no_grad()
def _reference(part: Part, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(value.float() for value in part.reference(*inputs))


class Converter:
    """Makes a Core AI model of a part: of one size, or with a function for each of several."""

    def __init__(self) -> None:
        """Prepare."""
        self._tools = _import("coreai_torch")
        # The other mode writes where in Python's files on this machine each operation stands.
        mode = self._tools.TorchConverter.Mode.RELEASE
        self._converter = self._tools.TorchConverter(mode=mode)

    def add(self, part: Part, inputs: Sequence[Tensor], function: str = MAIN) -> None:
        """Record what a part does, as a function of the model.

        It is in half precision unless the part has to be fp32. The weights that several functions
        have in common are in the model once.

        Args:
            part: The part.
            inputs: As it takes them, fp32.
            function: The function's name.

        Raises:
            ExportFailed: If it has an operation that cannot be converted.
        """
        module = part.module if part.fp32 else _Half(part)
        # Weights and inputs made in inference mode cannot be recorded.
        with _watched(part), torch.inference_mode(mode=False), torch.no_grad():
            recorded = torch.export.export(module, typed(part, inputs))
            self._converter.add_exported_program(
                recorded.run_decompositions(self._tools.get_decomp_table()),
                input_names=[tensor.name for tensor in part.inputs],
                output_names=[tensor.name for tensor in part.outputs],
                entrypoint_name=function,
            )

    def convert(self, part: Part) -> Any:
        """Make a model of the functions of a part.

        Raises:
            ExportFailed: If one of them cannot be converted.
        """
        with _watched(part):
            return self._converter.to_coreai()


def save(program: Any, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a model, over one that is there.

    Args:
        program: From ``convert``.
        path: A name that ends with ``.aimodel``.
        metadata: What the model says of itself: ``author``, ``license``, ``description``; all
            other names are kept as the user's.
    """
    described = _import("coreai.runtime").AIModelAssetMetadata()
    own = dict(metadata)
    described.author = own.pop("author", "")
    described.license = own.pop("license", "")
    described.model_description = own.pop("description", "")
    for name, value in own.items():
        described.set_custom(name, value)
    program.save_asset(path, described)


def typed(part: Part, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Give inputs in the number formats that a part takes."""
    return tuple(
        value.to(getattr(torch, tensor.dtype), copy=True)
        for tensor, value in zip(part.inputs, inputs, strict=True)
    )


class _Half(nn.Module):
    """A part that computes in half precision and answers in fp32."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.module = _in_half(part.module)
        self.exact = tuple(tensor.name in _EXACT for tensor in part.inputs)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        told = (
            value if exact else value.half()
            for value, exact in zip(inputs, self.exact, strict=True)
        )
        outputs = self.module(*told)
        if isinstance(outputs, Tensor):
            outputs = (outputs,)
        return tuple(output.float() for output in outputs)


def _in_half(module: nn.Module) -> nn.Module:
    """Copy a module in half precision, without a second copy of its weights in fp32."""
    rounded = {
        id(tensor): nn.Parameter(tensor.detach().half(), requires_grad=False)
        if isinstance(tensor, nn.Parameter)
        else tensor.half()
        for tensor in chain(module.parameters(), module.buffers())
        if tensor.is_floating_point()
    }
    return copy.deepcopy(module, rounded)


@contextmanager
def _watched(part: Part) -> Iterator[None]:
    """Say of a failure which part it was."""
    try:
        with _quietly():
            yield
    except (RuntimeError, ValueError, NotImplementedError, TypeError, LookupError) as error:
        why = str(error).strip().partition("\n")[0]
        raise ExportFailed(
            f"Core AI's converter cannot convert {part.name} ({why}); export the others with "
            "--parts, or choose the format coreml."
        ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the converter and torch from the terminal; what they warn of is known."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _import(module: str) -> Any:
    """Import a module of Core AI's, which has no types."""
    with _quietly():
        return importlib.import_module(module)
