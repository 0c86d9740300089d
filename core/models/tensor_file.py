"""The tensors of a small file, safetensors or pickle, of which nothing is ever run."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from core.errors import ModelInvalid, ModelMissing, UnsafeFile
from core.models.safetensors_header import read_header
from core.models.tensor_list import PICKLES

_DAMAGED = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)
"""What torch raises on files that are no pickle of tensors, by the look of them."""


def read_tensor_file(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Read a file whole.

    Args:
        path: ``.safetensors``, or one of the names that pickles have.

    Returns:
        What it holds by name, on the CPU (all of it tensors, if it is no pickle), and the texts
        that a safetensors file says of itself.

    Raises:
        ModelMissing: If it is not there.
        ModelInvalid: If it is damaged or holds something else.
        UnsafeFile: If it is a pickle that asks for more than tensors.
    """
    if not path.is_file():
        raise ModelMissing(f"{path} is not a file; give the path of the file itself.")
    if path.suffix.lower() in PICKLES:
        return _read_pickle(path), {}
    read_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error


def check_finite(path: Path, name: str, tensor: Tensor) -> None:
    """Refuse numbers that are none.

    Raises:
        ModelInvalid: Naming the tensor.
    """
    if not torch.isfinite(tensor.float()).all():
        raise ModelInvalid(
            f"{path} has numbers in {name} that are not finite; it is damaged or its training "
            "failed, get it again."
        )


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        # Embeddings of torch 1.11's time hold a ParameterDict, a plain container of torch's own.
        with torch.serialization.safe_globals([nn.ParameterDict]):
            values = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "global" not in str(error).lower():
            raise _damaged(path, error) from error
        raise UnsafeFile(
            f"{path} is a pickle that asks for more than tensors, which could run code; none of it "
            "was run. Get the file as safetensors."
        ) from error
    except _DAMAGED as error:
        raise _damaged(path, error) from error
    if not isinstance(values, dict):
        raise ModelInvalid(f"{path} holds no named tensors; choose another file.")
    return {str(name): value for name, value in values.items()}


def _damaged(path: Path, error: BaseException) -> ModelInvalid:
    reason = str(error).partition("\n")[0] or type(error).__name__
    return ModelInvalid(f"{path} cannot be read ({reason}); download or copy it again.")
