"""From what an exported model could not make to the export that could. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from core.errors import NeedsExport
from core.models.exported_limits import size_of_unet
from core.models.names import Resolver, locate
from core.models.verdict import Kind
from core.request import Request
from core.request_parts import EmbeddingUse, LoraUse
from core.sampling.settle import settled
from coreml_export.request import ExportRequest

UseT = TypeVar("UseT", LoraUse, EmbeddingUse)


def again(
    begun: ExportRequest, refused: Request, error: NeedsExport, finder: Callable[[Kind], Resolver]
) -> ExportRequest:
    """Ask for the export of before, with what it lacked.

    Args:
        begun: What the model was exported by.
        refused: What it could not make.
        error: Why.
        finder: Gives what knows the library's files of a kind by their names.

    Raises:
        ModelMissing: If a file that the request names is not there.
    """
    match error.field:
        case "loras":
            find = finder(Kind.LORA)
            loras = _located(settled(refused, find).loras, find, "LoRA")
            return replace(begun, loras=_with(begun.loras, loras))
        case "embeddings":
            words = _located(refused.embeddings, finder(Kind.EMBEDDING), "embedding")
            return replace(begun, embeddings=_with(begun.embeddings, words))
        case "controls":
            find = finder(Kind.CONTROLNET)
            nets = [
                str(locate(use.path, find, "ControlNet", folder_ok=True))
                for use in refused.controls
            ]
            return replace(begun, controls=tuple(dict.fromkeys((*begun.controls, *nets))))
        case "init_image":
            return replace(begun, parts=())
        case _:
            return _in_size(begun, size_of_unet(refused))


def _in_size(begun: ExportRequest, size: tuple[int, int]) -> ExportRequest:
    """Ask for another size: one more where there are several, which needs a newer system."""
    return replace(begun, sizes=(*begun.sizes, size) if len(begun.sizes) > 1 else (size,))


def _located(uses: tuple[UseT, ...], find: Resolver, what: str) -> tuple[UseT, ...]:
    return tuple(replace(use, path=str(locate(use.path, find, what))) for use in uses)


def _with(before: tuple[UseT, ...], more: tuple[UseT, ...]) -> tuple[UseT, ...]:
    """Add uses, each in the place of the one of the same file."""
    files = {use.path: use for use in before}
    files |= {use.path: use for use in more}
    return tuple(files.values())
