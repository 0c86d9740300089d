"""Runs Core AI's models through Apple's runtime; nothing else in ``core`` imports it.

Core AI is the system's from macOS 27 on, with its GPU and its Neural Engine. For macOS 26 and for
Linux the same package brings a runtime of its own, which has the CPU alone. It is a beta
(https://github.com/apple/coreai-torch): all that is known of it stands here, and in
``coreml_export.coreai`` what writes such models.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import Unsupported

MAIN = "main"
"""The function of a model that has no other, or that is taken where none is asked for."""


Arrays = Mapping[str, npt.NDArray[Any]]


class CoreAIModel:
    """A model that is where it works."""

    def __init__(self, path: Path, function: str = MAIN) -> None:
        """Bring a model to the processors.

        Nothing has to be compiled before: the system does it when a model is first opened, and
        keeps what it made.

        Args:
            path: The ``.aimodel``.
            function: Which of its functions.

        Raises:
            Unsupported: If Core AI's packages are missing.
        """
        self._runtime = _import("coreai.runtime")
        self._model = asyncio.run(_specialized(path))
        self._function = self._model.load_function(function)

    def predict(self, inputs: Arrays) -> Arrays:
        """Compute.

        Args:
            inputs: By name, each of the shape and dtype that the model declares.

        Returns:
            Its outputs by name.
        """
        return asyncio.run(self._answers(inputs))

    async def _answers(self, inputs: Arrays) -> Arrays:
        told = {name: self._runtime.NDArray(values) for name, values in inputs.items()}
        answers = await self._function(told)
        # A copy: an answer may lie where the next one will.
        return {name: np.array(values.numpy()) for name, values in answers.items()}


async def _specialized(path: Path) -> Any:
    """Make a model ready for the processors of this machine."""
    asset = _import("coreai.authoring").AIModelAsset.load(path)
    async with asset.executable() as model:
        # It stays when this ends; what ends is a folder of files that it has read.
        return model


def _import(module: str) -> Any:
    """Import a module of Core AI's."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "coreai":
            raise
        raise Unsupported(
            "Running a Core AI model needs Apple's coreai-core, which there is for macOS 26 and "
            "later and for Linux on x86-64: pip install 'stepwise-diffusion[coreai]'."
        ) from error
