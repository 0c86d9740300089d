"""The upscaler's file that a request names, before its weights are read. Imports no torch."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

from core.errors import ModelInvalid, Unsupported
from core.models.fingerprint import Fingerprints
from core.models.names import Resolver, locate
from core.models.verdict import Kind, judge
from core.request import Request, Upscale, enlarger_of, is_upscaler_file
from core.request_checks import check_unchanged

LIBRARY = "spandrel"
INSTALL = 'pip install "stepwise-diffusion[upscalers]"'
"""What brings the library, for sentences."""


def find_upscaler(
    request: Request, *, fingerprints: Fingerprints, find: Resolver
) -> tuple[Request, Path | None]:
    """Find the upscaler's file that a request names, if it names one.

    Args:
        request: What to make.
        fingerprints: The memory of hashes.
        find: Gives the file of an upscaler's name.

    Returns:
        The request with the place and hash of the file recorded, and the file.

    Raises:
        ModelMissing: If it is not there.
        ModelInvalid: If it is damaged or something else.
        Unsupported: If it makes no picture larger, or the library that runs it is not installed.
        UnsafeFile: If it is a pickle that asks for more than tensors.
        InvalidRequest: If it is another file than the request was made with.
    """
    part = enlarger_of(request)
    if part is None or not is_upscaler_file(part.upscaler):
        return request, None
    path = locate(part.upscaler, find, "upscaler")
    found = judge(path)
    if found.kind is not Kind.UPSCALER:
        raise ModelInvalid(f"{path} is no upscaler ({found.title}); choose another file.")
    check_installed(path)
    sha256 = fingerprints.of_file(path)
    field = "upscaler" if isinstance(part, Upscale) else "second_pass.upscaler"
    check_unchanged(field, path, part.upscaler_sha256, sha256)
    changes: dict[str, Any] = {"upscaler": str(path), "upscaler_sha256": sha256}
    if not isinstance(part, Upscale):
        changes = {"second_pass": dataclasses.replace(part, **changes)}
    return dataclasses.replace(request, **changes), path


def check_installed(path: Path) -> None:
    """Make sure that the library that runs upscalers is there.

    Raises:
        Unsupported: Naming the command that brings it.
    """
    if importlib.util.find_spec(LIBRARY) is None:
        raise Unsupported(
            f"{path.name} needs the library {LIBRARY}, which is not installed; run {INSTALL}, or "
            "take the upscaler lanczos."
        )
