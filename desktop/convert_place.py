"""Where converted models lie, and what is there already."""

from __future__ import annotations

from collections.abc import Collection
from itertools import count
from pathlib import Path

from core.coreml_folder import MANIFEST, ExportFormat, Manifest
from core.errors import CoreError
from core.models.library_names import slug
from core.paths import exists, is_file


def usual_place(models: Path, model: str, kind: ExportFormat, taken: Collection[Path]) -> Path:
    """Give a new folder for a conversion, or that of one that was stopped.

    Args:
        models: The folder of models.
        model: What the model is called that is converted.
        kind: What will run it.
        taken: The places of the models that the library has.
    """
    stem = f"{slug(model) or 'model'}-{kind}"
    for number in count(1):
        place = models / (stem if number == 1 else f"{stem}-{number}")
        if place not in taken and (not exists(place) or begun_at(place, model) is not None):
            return place
    raise AssertionError("There is always another number.")


def begun_at(place: Path, model: str) -> Manifest | None:
    """Give what lies at a place of a conversion of a model, or None."""
    if not is_file(place / MANIFEST):
        return None
    try:
        manifest = Manifest.read(place)
    except CoreError:
        return None
    return manifest if manifest.source == model else None
