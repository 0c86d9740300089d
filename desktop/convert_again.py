"""The conversion that an exported model needs for what it could not make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from core.coreml_folder import MANIFEST, Manifest
from core.errors import InvalidRequest, ModelMissing, NeedsExport
from core.models.catalog import resolve
from core.models.listing import Listed
from core.models.names import Resolver
from core.models.verdict import Kind
from core.paths import expanded, is_file
from core.request import Request
from coreml_export.again import again
from coreml_export.request import ExportRequest


def export_for(
    refused: Request,
    lack: NeedsExport,
    library: Sequence[Listed],
    finder: Callable[[Kind], Resolver],
) -> tuple[Listed, ExportRequest]:
    """Give the model to convert again, and what to choose for it.

    Args:
        refused: What an exported model could not make.
        lack: Why.
        library: The models there are.
        finder: Gives what knows files of a kind by their names, as for ``refused``.

    Raises:
        ModelMissing: If what it was made from is not known, or not in the library any more, or a
            file that the request names is not there.
        ModelInvalid: If its manifest is damaged.
        InvalidRequest: If what is asked for cannot be exported.
    """
    begun = _begun(refused.model)
    path = expanded(Path(begun.model)).absolute()
    models = (row for row in library if row.kind is Kind.MODEL and not row.missing)
    row = next((row for row in models if row.name == begun.model or row.path == path), None)
    if row is None:
        raise ModelMissing(
            f"{begun.model}, which {refused.model} was made from, is not in the library; add it on "
            "the Models page, and convert it there."
        )
    return row, again(begun, refused, lack, finder)


def _begun(model: str) -> ExportRequest:
    """Give what an exported model was asked for by."""
    folder = resolve(model)
    # Other converters leave no manifest.
    manifest = Manifest.read(folder) if is_file(folder / MANIFEST) else None
    try:
        return ExportRequest.from_json({} if manifest is None else manifest.request)
    except InvalidRequest as error:
        source = "the model that it was made from" if manifest is None else manifest.source
        raise ModelMissing(
            f"{model} does not tell how it was made; convert {source} again on the Models page."
        ) from error
