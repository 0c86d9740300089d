"""The models there are, with all that a list of them shows. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.errors import CoreError
from core.models import catalog, curated
from core.models.catalog import ModelCard
from core.models.copying import files_of_model
from core.models.exported_limits import refusal_here
from core.models.identify import identify
from core.models.library import Library
from core.models.library_file import Entry
from core.models.safetensors_header import read_with_metadata
from core.models.verdict import Kind

STARTER_LICENCE = "apache-2.0"
LICENCE_KEY = "modelspec.license"
"""Where makers of safetensors files note it, see https://github.com/Stability-AI/ModelSpec."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A model of the app or of the library.

    Attributes:
        name: What requests call it.
        title: What it is, for people.
        kind: What it is good for.
        family: The architecture it belongs to.
        path: Its file or folder.
        size: Bytes of its weights.
        licence: Where it is known, else empty.
        shipped: Whether it comes with the app.
        owned: Whether its files are deleted when it is removed.
        missing: Whether files of it are not where they were.
        refused: Why no pictures are made with it, one sentence; empty if they are, or if it is none
            that makes pictures.
        precision: The number format of most of its weights, or empty.
        card: What its controls should stand at; None for what makes no pictures, or cannot be read.
        source: Where it was downloaded from, or empty.
        autov2: The short hash of a single file, or empty.
        added: The day, ISO 8601, or empty.
    """

    name: str
    title: str
    kind: Kind
    family: str
    path: Path
    size: int
    licence: str = ""
    shipped: bool = False
    owned: bool = False
    missing: bool = False
    refused: str = ""
    precision: str = ""
    card: ModelCard | None = None
    source: str = ""
    autov2: str = ""
    added: str = ""


def listing(library: Library) -> Iterator[Listed]:
    """Give the models that ship, and then those of the library in the order of their being added.

    The small files of each are read, so that this takes its time with many.

    Raises:
        ModelInvalid: If the library's list is damaged; those that ship have come by then.
    """
    for name in catalog.SHIPPED:
        yield _shipped(name)
    for entry in library.entries():
        yield _listed(entry)


def _shipped(name: str) -> Listed:
    path = catalog.SHIPPED[name]
    files = [file for file in files_of_model(path) if file.suffix == ".safetensors"]
    card, refused = _card(name)
    return Listed(
        name=name,
        title=card.title if card else name,
        kind=Kind.MODEL,
        family=card.family if card else "custom",
        path=path,
        size=sum(file.stat().st_size for file in files),
        licence=STARTER_LICENCE,
        shipped=True,
        owned=True,
        missing=not files,
        refused=refused,
        precision=card.precision if card else "",
        card=card,
    )


def _listed(entry: Entry) -> Listed:
    missing = bool(entry.missing())
    known = curated.find(entry.source.partition("@")[0])
    card, refused = None, ""
    if entry.kind is Kind.MODEL and not missing:
        card, refused = _card(str(entry.path))
        if card is not None:
            card = dataclasses.replace(card, name=entry.name, title=entry.name)
            card = catalog.with_good_settings(card, known)
    return Listed(
        name=entry.name,
        title=entry.title,
        kind=entry.kind,
        family=entry.family,
        path=entry.path,
        size=entry.size,
        licence=known.licence if known else _own_licence(entry),
        owned=entry.owned,
        missing=missing,
        refused=refused,
        precision=card.precision if card else entry.precision,
        card=card,
        source=entry.source,
        autov2=entry.autov2,
        added=entry.added,
    )


def _card(model: str) -> tuple[ModelCard | None, str]:
    """Give what is known of a model, or why it cannot be used."""
    try:
        exported = identify(catalog.resolve(model)).exported
        return catalog.card(model), "" if exported is None else refusal_here(exported)
    except CoreError as error:
        return None, str(error)


def _own_licence(entry: Entry) -> str:
    """Give the licence that a single file names for itself."""
    if not entry.is_file or entry.path.suffix != ".safetensors":
        return ""
    try:
        return " ".join(read_with_metadata(entry.path).metadata.get(LICENCE_KEY, "").split())
    except CoreError:
        return ""
