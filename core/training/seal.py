"""A verdict written into what it is about. Imports no torch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from core.files import replace_file, replacing
from core.models.safetensors_header import read_with_metadata

KEY = "stepwise.verdict"
"""The name of the verdict in a file's metadata."""

FAULT = "The self-check found a fault: "
"""How the verdict on what is not sound begins."""

FILE_NAME = "training.json"
"""The file of a folder that has it."""


def seal(made: Path, verdict: str) -> None:
    """Write a verdict into a safetensors file's metadata, or into a model's folder.

    Raises:
        SaveFailed: If the file system refuses.
        ModelInvalid: If the file cannot be read.
    """
    if made.is_dir():
        replace_file(made / FILE_NAME, json.dumps({KEY: verdict}, indent=2).encode())
        return
    with made.open("rb") as source:
        length = int.from_bytes(source.read(8), "little")
        header = json.loads(source.read(length))
        header["__metadata__"] = {**header.get("__metadata__", {}), KEY: verdict}
        text = json.dumps(header, separators=(",", ":")).encode()
        # The numbers begin at a multiple of 8 bytes.
        text += b" " * (-len(text) % 8)
        with replacing(made) as file:
            file.write(len(text).to_bytes(8, "little") + text)
            shutil.copyfileobj(source, file)


def verdict_of(made: Path) -> str:
    """Read the verdict on what a training made; empty if it has none.

    Raises:
        ModelInvalid: If the file cannot be read.
    """
    if not made.is_dir():
        return read_with_metadata(made).metadata.get(KEY, "")
    try:
        values = json.loads((made / FILE_NAME).read_text(encoding="utf-8"))
        return str(values[KEY])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def is_sound(verdict: str) -> bool:
    """Whether a verdict finds nothing wrong."""
    return not verdict.startswith(FAULT)
