"""Runs Core ML's packages, on macOS, through coremltools, which is imported here alone.

What a folder of them holds and what it can do is told by ``core.models.exported``; this is the seam
to the system alone.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.compute_units import ComputeUnits
from core.coreml_folder import COMPILED
from core.errors import PartNotLoaded, SaveFailed, Unsupported
from core.models.copying import check_room, discard
from core.models.exported import Package
from core.models.exported_parts import Arrays, Predictor
from core.models.fingerprint import Fingerprints, combined_sha256

_OF_NO_CONCERN = (
    # Its newest release was tested with an older torch; what it converts is run and compared here.
    "has not been tested with coremltools",
    # The converter of scikit-learn's models is not used.
    "Disabling scikit-learn conversion API",
    # Core ML itself is there on macOS alone.
    "Failed to load _ML",
)

FOLDER = "coreml"
"""Where in the cache lies what Core ML's compiler made."""

_PARTIAL = "partial-"
"""Begins the names of what is not whole yet."""

KEPT = 30 * 24 * 3600.0
"""Seconds for which a compiled model is kept that nobody opens; it has the size of its part."""

ABANDONED = 24 * 3600.0
"""Seconds after which nobody is at work any more on what is not whole: compiling takes minutes."""

_UNITS = {
    ComputeUnits.ALL: "ALL",
    ComputeUnits.CPU_GPU: "CPU_AND_GPU",
    ComputeUnits.CPU_ANE: "CPU_AND_NE",
    ComputeUnits.CPU: "CPU_ONLY",
}
"""What coremltools calls them."""


class CoreML:
    """Opens packages; each is compiled once, which takes minutes for a large one."""

    def __init__(self, cache: Path, fingerprints: Fingerprints) -> None:
        """Prepare.

        Args:
            cache: Folder of what can be computed again.
            fingerprints: The memory of hashes.
        """
        self._folder = cache / FOLDER
        self._fingerprints = fingerprints

    def open(self, package: Package, units: ComputeUnits, function: str) -> Predictor:
        """Bring a part to the processors that are to run it.

        Args:
            package: The part.
            units: The processors.
            function: Which of its functions; empty for the usual one.

        Raises:
            PartNotLoaded: If coremltools is missing.
            SaveFailed: If there is no room for what is compiled.
        """
        return _Compiled(self.compiled(package), units, function)

    def compiled(self, package: Package) -> Path:
        """Give what Core ML's compiler makes of a part: from its folder, the cache, or anew."""
        if package.compiled is not None:
            return package.compiled
        files = {file.relative_to(package.path).as_posix(): file for file in package.files}
        sha256 = combined_sha256(files, self._fingerprints.of_file)
        place = self._folder / f"{sha256}{COMPILED}"
        if not place.is_dir():
            self._compile(package, place)
        with contextlib.suppress(OSError):
            os.utime(place)
        return place

    def _compile(self, package: Package, place: Path) -> None:
        """Have a part compiled; what is not whole never lies at its place."""
        self._prune()
        check_room(self._folder, package.size)
        partial = self._folder / f"{_PARTIAL}{secrets.token_hex(8)}{COMPILED}"
        try:
            _coremltools().models.utils.compile_model(str(package.path), str(partial))
            # Else another process was quicker.
            if not place.is_dir():
                partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _prune(self) -> None:
        """Remove what has not been opened for long, and what processes left that were killed."""
        now = time.time()
        for path in self._folder.glob(f"*{COMPILED}"):
            kept = ABANDONED if path.name.startswith(_PARTIAL) else KEPT
            # Another process may be at it too, or have it open.
            with contextlib.suppress(OSError, SaveFailed):
                if now - path.stat().st_mtime > kept:
                    discard(path)


class _Compiled:
    """A compiled part in the hands of Core ML; see ``Predictor``."""

    def __init__(self, place: Path, units: ComputeUnits, function: str) -> None:
        tools = _coremltools()
        self._model = tools.models.CompiledMLModel(
            str(place),
            compute_units=getattr(tools.ComputeUnit, _UNITS[units]),
            function_name=function or None,
        )

    def predict(self, inputs: Arrays) -> Arrays:
        answers: Mapping[str, Any] = self._model.predict(dict(inputs))
        return answers


def _coremltools() -> Any:
    try:
        return import_coremltools()
    except Unsupported as error:
        raise PartNotLoaded(str(error)) from error


def import_coremltools(module: str = "coremltools") -> Any:
    """Import coremltools, or a module of it such as ``"coremltools.optimize.coreml"``.

    Returns:
        The module. It has no types, so neither has this.

    Raises:
        Unsupported: If it is not installed: there is none for Windows.
    """
    logging.getLogger("coremltools").addFilter(_is_of_concern)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "coremltools":
            raise
        raise Unsupported(
            "Core ML packages are written and read by coremltools, which is not installed; "
            "it exists for macOS and for Linux on x86-64: pip install 'coremltools>=9,<10'."
        ) from error


def _is_of_concern(record: logging.LogRecord) -> bool:
    return not any(words in record.getMessage() for words in _OF_NO_CONCERN)
