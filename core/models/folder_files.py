"""The files of a component's folder, with one sentence for all that can be wrong with them.

Imports no torch.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import ModelInvalid, UnsafeFile

VARIANTS = ("", "fp16", "bf16", "fp32", "ema", "non_ema")
"""What stands in weight files' names between the stem and the end, the likeliest first."""


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


_SETTINGS = ("model_index.json", "config.json", "scheduler_config.json", "stepwise.json")
_NEUTRAL = ("torch_dtype", "dtype", "transformers_version")
"""What configurations note of how they were saved, and that changes no picture."""


def settings_in(folder: Path) -> dict[str, dict[str, Any]]:
    """Give what the configurations in a model's folder say of how it is built and run.

    Two folders of the same weights are one model only if they say the same. A file that cannot be
    read says nothing.
    """
    found = {}
    for file in (path for name in _SETTINGS for path in (folder / name, *folder.glob(f"*/{name}"))):
        with contextlib.suppress(ModelInvalid):
            found[file.relative_to(folder).as_posix()] = {
                key: value
                for key, value in read_json(file).items()
                if key not in _NEUTRAL and (key == "_class_name" or not key.startswith("_"))
            }
    return found


def weight_files(folder: Path, stem: str) -> tuple[Path, ...]:
    """Find a component's weights: those of the first of ``VARIANTS`` that is there, whole or split.

    Pickles are taken where there is no safetensors file, as older folders have nothing else; what
    reads them runs nothing of them.

    Raises:
        ModelInvalid: If there are none, or a part of them is missing.
        UnsafeFile: If an index leads out of the folder.
    """
    names = [(stem, "safetensors"), (stem, "bin")]
    if stem == "model":
        names.append(("pytorch_model", "bin"))  # what transformers calls a pickle
    for name, ending in names:
        for variant in VARIANTS:
            infix = f".{variant}" if variant else ""
            whole = folder / f"{name}{infix}.{ending}"
            index = folder / f"{name}.{ending}.index{infix}.json"
            if whole.is_file():
                return (whole,)
            if index.is_file():
                return _split_files(index)
    raise ModelInvalid(f"{folder} has no {stem}.safetensors; download the model again.")


def _split_files(index: Path) -> tuple[Path, ...]:
    """Read which files weights are split into."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ModelInvalid(f"{index} names no files; download it again.")
    names = sorted(set(map(str, places.values())))
    if any(Path(name).name != name for name in names):
        raise UnsafeFile(f"{index} names files outside of its folder; get the model elsewhere.")
    for name in names:
        if not (index.parent / name).is_file():
            raise ModelInvalid(f"{index.parent / name} is missing; download the model again.")
    return tuple(index.parent / name for name in names)


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
