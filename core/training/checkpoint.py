"""All that a training needs to go on as if it had never stopped."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from core.errors import ModelInvalid
from core.files import new_folder, replace_file, replacing
from core.models.writing.contents import Contents

_LEARNED, _AVERAGE = "learned.safetensors", "average.safetensors"
_OPTIMISER, _STATE = "optimiser.pt", "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where a training stands. All chance is drawn anew from the seed and the step.

    Attributes:
        step: Steps done.
        learned: What learns, by name, fp32.
        average: Its moving average, or None.
        optimiser: The optimiser's ``state_dict``.
        scaler: The loss scaler's of half precision, or None.
        rate_factor: What the learning rates are multiplied with, below 1 after a divergence.
        processes: How many processes shared the steps.
    """

    step: int
    learned: Mapping[str, Tensor]
    average: Mapping[str, Tensor] | None
    optimiser: Mapping[str, Any]
    scaler: Mapping[str, Any] | None
    rate_factor: float
    processes: int

    @property
    def rate(self) -> float:
        """The learning rate that ``rate_factor`` is of, where there are several the first one."""
        rate: float = self.optimiser["param_groups"][0]["initial_lr"]
        return rate


def write_checkpoint(path: Path, state: State, usable: Callable[[Path], None] | None) -> None:
    """Write a checkpoint, a folder that is there whole or not at all.

    Args:
        path: The folder, which is not there yet.
        state: Where the training stands.
        usable: Writes into a folder what can be used for pictures as it is; None for nothing.

    Raises:
        SaveFailed: If the file system refuses.
    """
    with new_folder(path) as unfinished:
        _write_tensors(unfinished / _LEARNED, state.learned)
        if state.average is not None:
            _write_tensors(unfinished / _AVERAGE, state.average)
        kept = {"optimiser": state.optimiser, "scaler": state.scaler}
        with replacing(unfinished / _OPTIMISER) as file:
            _pickle(kept, file)
        numbers = {
            "step": state.step,
            "rate_factor": state.rate_factor,
            "processes": state.processes,
        }
        replace_file(unfinished / _STATE, json.dumps(numbers).encode())
        if usable is not None:
            usable(unfinished)


def read_checkpoint(path: Path) -> State:
    """Read a checkpoint.

    Raises:
        ModelInvalid: If a file of it is missing or damaged.
    """
    try:
        numbers = json.loads((path / _STATE).read_text(encoding="utf-8"))
        learned = safetensors.torch.load_file(path / _LEARNED)
        average = None
        if (path / _AVERAGE).exists():
            average = safetensors.torch.load_file(path / _AVERAGE)
        kept = torch.load(path / _OPTIMISER, map_location="cpu", weights_only=True)
        return State(
            step=int(numbers["step"]),
            learned=learned,
            average=average,
            optimiser=kept["optimiser"],
            scaler=kept["scaler"],
            rate_factor=float(numbers["rate_factor"]),
            processes=int(numbers["processes"]),
        )
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        RuntimeError,
        EOFError,
        SafetensorError,
        pickle.UnpicklingError,
    ) as error:
        raise ModelInvalid(
            f"The checkpoint {path} is damaged ({error}); its steps have to be learned anew."
        ) from error


def _pickle(values: Mapping[str, Any], file: BinaryIO) -> None:
    """Write values with tensors in them.

    Raises:
        OSError: As the file system says.
    """
    try:
        torch.save(values, file)
    except RuntimeError as error:
        # Where a write fails, torch fails once more as it closes its archive, and tells of that.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    Contents({name: tensor.detach() for name, tensor in tensors.items()}).write(path, {})
