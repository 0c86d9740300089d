"""Runs Core AI's models through Apple's runtime; nothing else in ``core`` imports it.

Core AI is the system's from macOS 27 on, with its GPU and its Neural Engine. For macOS 26 and for
Linux the same package brings a runtime of its own, which has the CPU alone. It is a beta
(https://github.com/apple/coreai-torch): all that is known of it stands here, and in
``coreml_export.coreai`` what writes such models.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
from pathlib import Path
from typing import Any, assert_never

import numpy as np

from core.compute_units import ComputeUnits
from core.errors import ModelInvalid, PartNotLoaded
from core.models.exported import Package
from core.models.exported_parts import Arrays, Predictor

MAIN = "main"
"""The function of a model that has no other, or that is taken where none is asked for."""


def open_part(package: Package, units: ComputeUnits, function: str) -> Predictor:
    """Bring a part to the processors that are to run it.

    Nothing has to be compiled before: the system does it when a model is first opened, and keeps
    what it made.

    Args:
        package: The part.
        units: The processors, where there is a choice.
        function: Which of its functions; empty for the usual one.

    Raises:
        ModelInvalid: If it is damaged.
        PartNotLoaded: If Core AI's packages are missing.
    """
    _check_whole(package.path)
    return _Opened(package.path, units, function or MAIN)


def _check_whole(path: Path) -> None:
    """Refuse a damaged model, over which the runtime would end the process."""
    try:
        with (path / "main.mlirb").open("rb") as program:
            found = hashlib.file_digest(program, "sha256").digest()
        is_whole = found == (path / "main.hash").read_bytes()
    except OSError as error:
        raise ModelInvalid(
            f"{path} cannot be read ({error.strerror}: {error.filename}); export the model again."
        ) from error
    if not is_whole:
        raise ModelInvalid(
            f"{path} is damaged: its program is not the one that was written; copy it again, or "
            "export the model again."
        )


class _Opened:
    """A part in the hands of Core AI; see ``Predictor``."""

    def __init__(self, path: Path, units: ComputeUnits, function: str) -> None:
        self._runtime = _import("coreai.runtime")
        self._model = asyncio.run(_specialized(path, _options(self._runtime, units)))
        self._function = self._model.load_function(function)

    def predict(self, inputs: Arrays) -> Arrays:
        return asyncio.run(self._answers(inputs))

    async def _answers(self, inputs: Arrays) -> Arrays:
        told = {name: self._runtime.NDArray(values) for name, values in inputs.items()}
        answers = await self._function(told)
        # A copy: an answer may lie where the next one will.
        return {name: np.array(values.numpy()) for name, values in answers.items()}


async def _specialized(path: Path, options: Any) -> Any:
    """Make a model ready for the processors of this machine."""
    asset = _import("coreai.authoring").AIModelAsset.load(path)
    async with asset.executable(options) as model:
        # It stays when this ends; what ends is a folder of files that it has read.
        return model


def _options(runtime: Any, units: ComputeUnits) -> Any:
    """Say which processors are meant, in Core AI's words; None where there is no choice."""
    options = runtime.SpecializationOptions
    if not options.is_supported():
        return None
    match units:
        case ComputeUnits.ALL:
            return options.default()
        case ComputeUnits.CPU_GPU:
            return options.from_preferred_compute_unit_kind(runtime.ComputeUnitKind.gpu())
        case ComputeUnits.CPU_ANE:
            kind = runtime.ComputeUnitKind.neural_engine()
            return options.from_preferred_compute_unit_kind(kind)
        case ComputeUnits.CPU:
            return options.cpu_only()
    assert_never(units)


def _import(module: str) -> Any:
    """Import a module of Core AI's."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "coreai":
            raise
        raise PartNotLoaded(
            "Running a Core AI model needs Apple's coreai-core, which there is for macOS 26 and "
            "later and for Linux on x86-64: pip install 'stepwise-diffusion[coreai]'."
        ) from error
