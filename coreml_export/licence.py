"""Under which licence a model's weights are, as far as its files tell. Imports no torch."""

from __future__ import annotations

import contextlib
import re

from core.errors import CoreError
from core.models import catalog
from core.models.identify import Identity
from core.models.library import Library
from core.models.safetensors_header import read_with_metadata

_CARD_LINE = re.compile(r"^license:\s*['\"]?([^'\"\n]+)", re.MULTILINE)

OWN = "Apache-2.0"


def licence_of(identity: Identity, library: Library) -> str:
    """Give a model's licence: of our own list, the card of its folder, or the notes of its file.

    Returns:
        Its name; empty if nothing says it.
    """
    if identity.path in {path.resolve() for path in catalog.SHIPPED.values()}:
        return OWN
    with contextlib.suppress(CoreError):
        if (known := library.known(identity.path)) is not None:
            return known.licence
    with contextlib.suppress(CoreError, OSError, ValueError):
        if identity.single_file:
            return read_with_metadata(identity.path).metadata.get("modelspec.license", "")
        card = (identity.folder / "README.md").read_text(encoding="utf-8")
        if found := _CARD_LINE.search(card):
            return found[1].strip()
    return ""
