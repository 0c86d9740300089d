"""What there is to add in a folder full of models. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from core.errors import ModelInvalid
from core.models.exported import is_exported
from core.models.folder_files import read_json
from core.models.lone_folder import CAPTIONER, adapter_file, class_of
from core.models.tensor_list import SUFFIXES
from core.paths import is_dir


def models_in(path: Path) -> Iterator[Path]:
    """Give the models at a path, each a file or a folder, in order of name.

    A file is one whatever it is called, and so is a folder that holds a model's parts. Any other
    folder is looked through for both, the folders below it included; what is hidden is passed over
    and links to folders are not followed.
    """
    if not is_dir(path) or _is_model(path):
        yield path
        return
    for where, below, files in os.walk(path):
        folder = Path(where)
        inside = sorted(name for name in below if not name.startswith("."))
        whole = [name for name in inside if _is_model(folder / name)]
        yield from (folder / name for name in whole)
        # What lies in a model's own folders are parts of it.
        below[:] = [name for name in inside if name not in whole]
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield folder / name


def _is_model(folder: Path) -> bool:
    """Whether a folder is a model as diffusers saves one, or a part that is used by itself."""
    try:
        whole = (folder / "model_index.json").is_file() or is_exported(folder)
        if whole or adapter_file(folder) is not None:
            return True
        # Other programs keep their settings under this name.
        config = read_json(folder / "config.json")
        return "_class_name" in config or class_of(config) == CAPTIONER
    except (ModelInvalid, OSError):
        return False
