"""Files that a picture was made with and that lie elsewhere now. Imports no torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from core.images.beside import Beside
from core.images.metadata import Recorded
from core.models import catalog
from core.models.library import Library
from core.paths import Profile, exists, expanded
from core.request import ControlUse, EmbeddingUse, LoraUse, Request

UseT = TypeVar("UseT", LoraUse, EmbeddingUse, ControlUse)


def found_again(found: Recorded, profile: Profile) -> Request:
    """Give a picture's request, with files that are gone taken from the library by their hashes."""
    request, library = found.request, Library(profile)

    def place(path: str, sha256: str) -> str:
        if not (path and sha256) or path in catalog.names() or exists(expanded(Path(path))):
            return path
        entries = (entry for entry in library.of_hash(sha256) if not entry.missing())
        return next((str(entry.path) for entry in entries), path)

    def placed(uses: tuple[UseT, ...]) -> tuple[UseT, ...]:
        return tuple(dataclasses.replace(use, path=place(use.path, use.sha256)) for use in uses)

    return dataclasses.replace(
        request,
        model=place(request.model, found.model_sha256),
        vae=place(request.vae, request.vae_sha256),
        refiner=place(request.refiner, request.refiner_sha256),
        loras=placed(request.loras),
        embeddings=placed(request.embeddings),
        controls=placed(request.controls),
    )


def with_pictures(request: Request, folder: Path) -> Request:
    """Give a request with the pictures that it begins from or follows as they lie in a folder now.

    What is not found stays as it is named.
    """
    here = Beside(folder)

    def place(path: str, sha256: str) -> str:
        found = here.find(sha256, Path(path)) if sha256 else None
        return path if found is None else str(found)

    changes: dict[str, Any] = {
        name: place(getattr(request, name), getattr(request, hash_name))
        for name, hash_name in (("init_image", "init_sha256"), ("mask_image", "mask_sha256"))
        if hasattr(request, name)
    }
    controls = (
        dataclasses.replace(use, image=place(use.image, use.image_sha256))
        for use in request.controls
    )
    return dataclasses.replace(request, controls=tuple(controls), **changes)
