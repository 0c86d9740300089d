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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import ExportFailed, Unsupported
from coreml_export.parts import Part

MAIN = "main"

_EXACT = ("input_ids", "timestep", "time_ids")
"""Inputs that half precision would round: they become indices and sines, which are fp32."""


class Converter:
    """Makes a Core AI model of a part: of one size, or with a function for each of several."""

    def __init__(self) -> None:
        """Prepare.

        Raises:
            Unsupported: If Core AI's packages are missing.
        """
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
    try:
        with _quietly():
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("coreai"):
            raise
        raise Unsupported(
            "Core AI models are written by Apple's coreai-torch, which is not installed; there is "
            "one for macOS 26 and later and for Linux on x86-64: "
            "pip install 'stepwise-diffusion[coreai]'."
        ) from error
