"""Hashes of weight files, remembered so that gigabytes are read once. Imports no torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from core.errors import ModelInvalid, SaveFailed
from core.files import replace_file


class Fingerprints:
    """SHA-256 of files, kept by path, size and time of change.

    The memory is one JSON file. A lost or damaged one costs a new reading and nothing else, so what
    goes wrong with it is let pass.
    """

    def __init__(self, file: Path) -> None:
        """Use ``file``, which need not exist, as the memory."""
        self._file = file

    @classmethod
    def kept_in(cls, cache: Path) -> Fingerprints:
        """Use the memory in a cache folder, which need not exist."""
        return cls(cache / "fingerprints.json")

    def of_file(self, path: Path) -> str:
        """Hash a file, or remember its hash.

        Returns:
            SHA-256, 64 hex digits.

        Raises:
            ModelInvalid: If it cannot be read.
        """
        try:
            status = path.stat()
            key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
            known = self._known()
            if key not in known:
                with path.open("rb") as file:
                    known[key] = hashlib.file_digest(file, "sha256").hexdigest()
                self._remember(known)
        except OSError as error:
            reason = error.strerror or error
            raise ModelInvalid(f"{path} cannot be read ({reason}); download it again.") from error
        return known[key]

    def of_model(self, weights: Mapping[str, Path]) -> str:
        """Hash a model: the hash of its components' names and hashes, in order of name.

        A model that is one file has that file's hash, by which other programs know it too.

        Args:
            weights: The weight file of each component.

        Raises:
            ModelInvalid: If a file cannot be read.
        """
        files = set(weights.values())
        if len(files) == 1:
            return self.of_file(files.pop())
        lines = (f"{name} {self.of_file(path)}\n" for name, path in sorted(weights.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _known(self) -> dict[str, str]:
        try:
            values = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(values, dict):
            return {}
        return {key: value for key, value in values.items() if isinstance(value, str)}

    def _remember(self, known: Mapping[str, str]) -> None:
        with contextlib.suppress(SaveFailed):
            replace_file(self._file, json.dumps(known, indent=1).encode())
