"""Tensors that are computed once and kept, in memory and on disk, under what they were made of."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from core.errors import ModelInvalid
from core.files import replace_file
from core.models.safetensors_header import read_with_metadata

Tensors = Mapping[str, Tensor]
"""Named tensors, on the CPU, all their numbers finite."""

Key = Mapping[str, object]
"""All that a result depends on, as plain JSON values."""

MEMORY = 1 << 28
"""Bytes of tensors that are kept in memory."""

_VERSION = 1
"""Of the way in which results are computed; a change makes all files foreign."""


class TensorCache:
    """Keeps results on disk, if it is given a folder, and the latest of them in memory.

    A file that is damaged, cut short, made of something else or written by anything else is
    replaced by a new result.
    """

    def __init__(self, folder: Path | None, *, memory: int = MEMORY) -> None:
        """Keep results in a folder, which need not exist.

        Args:
            folder: Where; None for nowhere on the disk.
            memory: Bytes that are kept in memory.
        """
        self._folder = folder
        self._memory = memory
        self._held = 0
        self._kept: OrderedDict[str, dict[str, Tensor]] = OrderedDict()

    def get(
        self, key: Key, compute: Callable[[], Tensors], *, on_disk: bool = True
    ) -> dict[str, Tensor]:
        """Give what a key stands for, computed if it is not there.

        Args:
            key: What the result depends on.
            compute: Makes it; its numbers are finite.
            on_disk: Whether it is worth a file.

        Raises:
            SaveFailed: If the folder takes no file.
        """
        name = _name(key)
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        path = None
        if self._folder is not None and on_disk:
            path = self._folder / name[:2] / f"{name}.safetensors"
        tensors = None if path is None else _read(path, name)
        if tensors is None:
            # Copied: what was made in inference mode could not take part in learning.
            tensors = {part: values.clone().contiguous() for part, values in compute().items()}
            assert all(bool(torch.isfinite(values).all()) for values in tensors.values())
            if path is not None:
                notes = {"key": name, "sha256": _sum(tensors)}
                replace_file(path, safetensors.torch.save(tensors, notes))
        self._keep(name, tensors)
        return tensors

    def _keep(self, name: str, tensors: dict[str, Tensor]) -> None:
        self._kept[name] = tensors
        self._held += _bytes(tensors)
        while self._held > self._memory and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._held -= _bytes(oldest)


def _name(key: Key) -> str:
    text = json.dumps({"version": _VERSION, **key}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path, name: str) -> dict[str, Tensor] | None:
    """Read a result; None if there is none that can be trusted."""
    try:
        notes = read_with_metadata(path).metadata
        tensors = safetensors.torch.load(path.read_bytes())
    except (ModelInvalid, OSError, SafetensorError, ValueError, KeyError):
        return None
    is_whole = notes.get("key") == name and notes.get("sha256") == _sum(tensors)
    return tensors if is_whole else None


def _sum(tensors: Tensors) -> str:
    """Hash tensors with their names, shapes and number formats."""
    digest = hashlib.sha256()
    for part, values in sorted(tensors.items()):
        digest.update(f"{part} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _bytes(tensors: Tensors) -> int:
    return sum(values.nbytes for values in tensors.values())
