"""coremltools, imported in one place: without types, and without what it says while it loads."""

from __future__ import annotations

import importlib
import logging
from typing import Any

from core.errors import Unsupported

_OF_NO_CONCERN = (
    # Its newest release was tested with an older torch; what it converts is run and compared here.
    "has not been tested with coremltools",
    # The converter of scikit-learn's models is not used.
    "Disabling scikit-learn conversion API",
    # Core ML itself is there on macOS alone.
    "Failed to load _ML",
)


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
