"""Hashes of weight files, remembered so that gigabytes are read once. Imports no torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

from core.errors import ModelInvalid, SaveFailed
from core.files import replace_file
from core.models.safetensors_header import read_with_metadata
from core.models.tensor_list import is_pickle

FIRST_HASH_DIGITS = 8
PIECE = 1 << 22
"""Bytes that are read at once."""

_TENSORS = "tensors|"
"""How the keys begin of hashes that leave a file's header out."""


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
        known = self.known(path)
        if known is not None:
            return known
        reading = self.reading(path)
        while True:
            try:
                next(reading)
            except StopIteration as finished:
                return str(finished.value)

    def known(self, path: Path) -> str | None:
        """Give a file's hash if it is remembered and the file has not changed since.

        Raises:
            ModelInvalid: If there is no such file.
        """
        try:
            return self._known().get(_key(path))
        except OSError as error:
            raise _unreadable(path, error) from error

    def of_tensors(self, path: Path) -> str:
        """Give the hash by which AUTOMATIC1111's web UI and Civitai know a LoRA.

        It is that of a safetensors file without its header, which leaves notes out of it. The
        trainer may have noted it in the header, where the web UI takes it from too
        (``extensions-builtin/Lora/network.py``). A pickle is hashed whole.

        Returns:
            64 hex digits, or those that were noted.

        Raises:
            ModelInvalid: If the file cannot be read or is damaged.
        """
        if is_pickle(path):
            return self.of_file(path)
        noted = read_with_metadata(path).metadata.get("sshs_model_hash", "")
        if re.fullmatch(r"[0-9a-f]{12,64}", noted):
            return noted
        key = _TENSORS + _key(path)
        if (known := self._known().get(key)) is not None:
            return known
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                file.seek(8 + int.from_bytes(file.read(8), "little"))
                while piece := file.read(PIECE):
                    digest.update(piece)
        except OSError as error:
            raise _unreadable(path, error) from error
        self._keep(key, digest.hexdigest())
        return digest.hexdigest()

    def reading(self, path: Path) -> Generator[int, None, str]:
        """Hash a file anew and remember its hash.

        Yields:
            How many bytes have been read.

        Returns:
            SHA-256, 64 hex digits.

        Raises:
            ModelInvalid: If it cannot be read.
        """
        digest, done = hashlib.sha256(), 0
        try:
            with path.open("rb") as file:
                while piece := file.read(PIECE):
                    digest.update(piece)
                    done += len(piece)
                    yield done
        except OSError as error:
            raise _unreadable(path, error) from error
        self.remember(path, digest.hexdigest())
        return digest.hexdigest()

    def remember(self, path: Path, sha256: str) -> None:
        """Keep a hash that was computed elsewhere, such as while the file arrived.

        Raises:
            ModelInvalid: If there is no such file.
        """
        try:
            key = _key(path)
        except OSError as error:
            raise _unreadable(path, error) from error
        self._keep(key, sha256)

    def _keep(self, key: str, sha256: str) -> None:
        with contextlib.suppress(SaveFailed):
            replace_file(self._file, json.dumps(self._known() | {key: sha256}, indent=1).encode())

    def of_model(self, weights: Mapping[str, Path]) -> str:
        """Hash a model: the hash of its components' names and hashes, in order of name.

        A model that is one file has that file's hash, by which other programs know it too.

        Args:
            weights: The weight file of each component.

        Raises:
            ModelInvalid: If a file cannot be read.
        """
        return combined_sha256(weights, self.of_file)

    def _known(self) -> dict[str, str]:
        try:
            values = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(values, dict):
            return {}
        return {key: value for key, value in values.items() if isinstance(value, str)}


def combined_sha256(weights: Mapping[str, Path], sha256_of: Callable[[Path], str]) -> str:
    """Hash a model from the hashes of its files; see ``Fingerprints.of_model``.

    Args:
        weights: The weight file of each component, as ``numbered`` names them.
        sha256_of: Gives the hash of a file.
    """
    files = set(weights.values())
    if len(files) == 1:
        return sha256_of(files.pop())
    lines = (f"{name} {sha256_of(path)}\n" for name, path in sorted(weights.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def numbered(name: str, files: Sequence[Path]) -> dict[str, Path]:
    """Name the files that a component is split into: ``unet``, ``unet.2`` and so on."""
    return {name if i == 1 else f"{name}.{i}": file for i, file in enumerate(files, 1)}


def _key(path: Path) -> str:
    status = path.stat()
    return f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"


def _unreadable(path: Path, error: OSError) -> ModelInvalid:
    reason = error.strerror or error
    return ModelInvalid(f"{path} cannot be read ({reason}); download it again.")


def first_hash(path: Path) -> str:
    """Give the hash by which the web UI of 2022 knew a model: of 64 KiB behind the first MiB.

    The rule is that of ``model_hash`` in kohya's ``library/train_util.py``.

    Returns:
        8 hex digits; empty if the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(1 << 20)
            return hashlib.sha256(file.read(1 << 16)).hexdigest()[:FIRST_HASH_DIGITS]
    except OSError:
        return ""
