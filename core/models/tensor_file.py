"""The tensors of a file, safetensors or a pickle, of which nothing is ever run.

Which of the two a file is goes by its bytes and not by its name.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from core.errors import ModelInvalid, ModelMissing
from core.models.reading import Readable
from core.models.tensor_list import is_pickle, read_tensors


def read_tensor_file(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Read a small file whole.

    Args:
        path: A safetensors file or a pickle.

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
    if is_pickle(path):
        return read_pickle(path), {}
    read_tensors(path)
    with Readable(path), safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def read_pickle(path: Path) -> dict[str, Any]:
    """Read a pickle; what it wraps in a ``state_dict`` is taken out.

    Returns:
        What it holds by name, on the CPU; tensors are mapped from the disk where its form allows.

    Raises:
        ModelInvalid: If it is damaged or holds something else.
        UnsafeFile: If it asks for more than tensors.
    """
    read_tensors(path)  # Looked through before torch opens it, by rules of our own.
    # Torch takes every name of that end for a safetensors file, and maps files by name only.
    mapped = zipfile.is_zipfile(path) and not path.name.endswith(".safetensors")
    # Embeddings of torch 1.11's time hold a ParameterDict, a plain container of torch's own.
    trusted = torch.serialization.safe_globals([nn.ParameterDict])
    with Readable(path), path.open("rb") as file, trusted:
        content = torch.load(
            path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped or None
        )
    while isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise ModelInvalid(f"{path} holds no named tensors; choose another file.")
    return {str(name): value for name, value in content.items()}
