"""The files of a Core ML package: its manifest, its specification and its weights."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from core.coreml import import_coremltools
from core.errors import ModelInvalid, ModelMissing
from coreml_export.interpreter.weight_file import WeightFile

_MODEL_PATH = "@model_path"
"""Stands for the folder of the specification in the names of weight files."""


class Package:
    """A package on the disk.

    Attributes:
        path: Its folder.
        specification: The protobuf message ``Model``.
    """

    def __init__(self, path: Path) -> None:
        """Read the specification of the package at ``path``, and no weights yet.

        Raises:
            ModelMissing: If there is no such package.
            ModelInvalid: If one of its files is missing or damaged.
            Unsupported: If coremltools is not installed.
        """
        if not path.is_dir():
            raise ModelMissing(f"There is no Core ML package at {path}.")
        self.path = path
        self._specification_path = self._find_specification()
        self.specification = self._read_specification()
        self.weight_file = cache(self._open_weights)

    def _find_specification(self) -> Path:
        try:
            manifest = json.loads((self.path / "Manifest.json").read_text(encoding="utf-8"))
            entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]
            return self._within(self.path / "Data", str(entry["path"]))
        except FileNotFoundError as error:
            raise self._damaged("has no Manifest.json") from error
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise self._damaged("has a Manifest.json that names no model") from error

    def _read_specification(self) -> Any:
        model = import_coremltools("coremltools.proto.Model_pb2").Model
        # It comes with coremltools: where there is none, this module must load without it.
        from google.protobuf.message import DecodeError

        try:
            return model.FromString(self._specification_path.read_bytes())
        except OSError as error:
            raise self._damaged(f"lacks {self._specification_path.name}") from error
        except DecodeError as error:
            raise self._damaged(f"has a damaged {self._specification_path.name}") from error

    def _open_weights(self, name: str) -> WeightFile:
        relative = name.removeprefix(_MODEL_PATH).lstrip("/")
        return WeightFile(self._within(self._specification_path.parent, relative))

    def _within(self, folder: Path, relative: str) -> Path:
        """Join a path that a file names, which must not lead out of the package."""
        parts = PurePosixPath(relative).parts
        if ".." in parts or relative.startswith("/"):
            raise self._damaged(f"names a file outside of it, {relative}")
        return folder.joinpath(*parts)

    def _damaged(self, reason: str) -> ModelInvalid:
        return ModelInvalid(
            f"The Core ML package {self.path} {reason}; copy or export the package anew."
        )
