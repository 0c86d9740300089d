"""The files of a component's folder, with one sentence for all that can be wrong with them.

Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import ModelInvalid, UnsafeFile, Unsupported

PICKLES = (".bin", ".ckpt", ".pt", ".pth")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelInvalid: If the file is missing, damaged or holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelInvalid(f"{path} is missing; download or save the model again.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelInvalid(
            f"{path} cannot be read ({error}); download or save the model again."
        ) from error
    if not isinstance(values, dict):
        raise ModelInvalid(f"{path} holds no JSON object; download or save the model again.")
    return values


def weight_file(folder: Path, stem: str) -> Path:
    """Find a component's weights: ``stem.safetensors``, or else its fp16 variant.

    Raises:
        ModelInvalid: If there are none.
        UnsafeFile: If they are pickles only.
        Unsupported: If they are split into parts.
    """
    for name in (f"{stem}.safetensors", f"{stem}.fp16.safetensors"):
        if (folder / name).is_file():
            return folder / name
    if (folder / f"{stem}.safetensors.index.json").is_file():
        raise Unsupported(
            f"The weights in {folder} are split into parts; save the model again with a larger "
            "max_shard_size."
        )
    pickles = sorted(p.name for p in folder.glob("*") if p.suffix in PICKLES)
    if pickles:
        raise UnsafeFile(
            f"{folder} has its weights only as {pickles[0]}, a pickle, which can run code; get the "
            "model's safetensors files."
        )
    raise ModelInvalid(f"{folder} has no {stem}.safetensors; download the model again.")


def value_of(folder: Path, config: Mapping[str, Any], key: str, kind: type) -> Any:
    """Take a value from a folder's ``config.json``; a list has at least one item.

    Raises:
        ModelInvalid: If it is not there or not of that kind.
    """
    value = config.get(key)
    if not isinstance(value, kind) or (kind is list and not value):
        raise bad_config(folder, key, value)
    return value


def numbers_of(folder: Path, key: str, value: Any) -> list[int]:
    """Read a value of a folder's ``config.json``: a whole number above 0, or a list of such.

    Raises:
        ModelInvalid: If it is none.
    """
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(type(number) is int and number > 0 for number in numbers):
        raise bad_config(folder, key, value)
    return numbers


def bad_config(folder: Path, key: str, value: Any) -> ModelInvalid:
    """Say in one sentence that a folder's ``config.json`` makes no sense."""
    return ModelInvalid(
        f"{folder / 'config.json'} has {value!r} as {key}; put back the file that belongs to these "
        "weights."
    )
