"""The conversion that an exported model needs for what it could not make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.coreml_folder import Manifest
from core.errors import ModelMissing, NeedsExport
from core.models.catalog import resolve
from core.models.listing import Listed
from core.request import Request
from coreml_export.again import again
from coreml_export.request import ExportRequest


def export_for(
    refused: Request, lack: NeedsExport, library: Sequence[Listed]
) -> tuple[Listed, ExportRequest]:
    """Give the model to convert again, and what to choose for it.

    Args:
        refused: What an exported model could not make.
        lack: Why.
        library: The models there are.

    Raises:
        ModelMissing: If what it was made from is not known, or not in the library any more, or a
            file that the request names is not there.
        ModelInvalid: If its manifest is missing or damaged.
    """
    manifest = Manifest.read(resolve(refused.model))
    if not manifest.request:
        raise ModelMissing(
            f"{refused.model} does not tell how it was made; convert {manifest.source} again on "
            "the Models page."
        )
    begun = ExportRequest.from_json(manifest.request)
    row = next((row for row in library if row.name == begun.model and not row.missing), None)
    if row is None:
        raise ModelMissing(
            f"{begun.model}, which {refused.model} was made from, is not in the library; add it on "
            "the Models page, and convert it there."
        )

    def find(name: str) -> Path | None:
        return next((row.path for row in library if row.name == name), None)

    return row, again(begun, refused, lack, find)
