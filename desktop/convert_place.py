"""Where converted models lie, and what is there already."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from core.coreml_folder import MANIFEST, ExportFormat, Manifest, PartRecord
from core.errors import CoreError
from core.models.library_names import slug
from core.paths import exists, is_file
from coreml_export.request import ExportRequest


@dataclass(frozen=True, slots=True)
class Begun:
    """A conversion that was begun, as it tells of itself.

    Attributes:
        place: Its folder.
        request: What was asked for.
        parts: What is finished of it.
    """

    place: Path
    request: ExportRequest
    parts: tuple[PartRecord, ...]


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


def begun_at(place: Path, model: str) -> Begun | None:
    """Give what lies at a place of a conversion of a model, or None."""
    if not is_file(place / MANIFEST):
        return None
    try:
        manifest = Manifest.read(place)
        request = ExportRequest.from_json(manifest.request)
    except CoreError:
        return None
    return Begun(place, request, manifest.parts) if request.model == model else None


def last_stopped(models: Path, model: str, taken: Collection[Path]) -> Begun | None:
    """Find the conversion of a model that was stopped last, or None.

    Args:
        models: The folder of models.
        model: What the model is called.
        taken: The places of the models that the library has, whose conversions are finished.
    """
    begun = [
        (manifest.stat().st_mtime, found)
        for manifest in models.glob(f"*/{MANIFEST}")
        if manifest.parent not in taken and (found := begun_at(manifest.parent, model)) is not None
    ]
    return max(begun, key=lambda dated: dated[0])[1] if begun else None
