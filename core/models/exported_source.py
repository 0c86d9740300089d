"""The torch model that an exported one was made from, where it is needed. Imports no torch."""

from __future__ import annotations

from core.errors import CoreError, ModelInvalid, ModelMissing
from core.models.catalog import resolve
from core.models.exported_control import is_exported_control
from core.models.identify import Identity, identify
from core.request import Request


def source_of(identity: Identity, *, vae: str) -> Identity | None:
    """Find the model that gives the components which a folder of exported parts lacks.

    Args:
        identity: The exported model.
        vae: A VAE in the place of its own, or empty.

    Returns:
        None if it lacks nothing, or is not exported.

    Raises:
        ModelMissing: If that model is not there.
        ModelInvalid: If nothing tells which it is, or it is damaged.
        CoreError: If it is none that is run; see ``identify``.
    """
    exported = identity.exported
    if exported is None:
        return None
    names = ("unet", *identity.text_encoders, *(() if vae else ("vae",)))
    lacking = " and ".join(name.replace("_", " ") for name in exported.lacking(names))
    if not lacking:
        return None
    if not exported.source:
        raise ModelInvalid(
            f"{exported.folder} has no {lacking}, and does not tell which model has; export or "
            "download it again with all parts."
        )
    try:
        return identify(resolve(exported.source))
    except ModelMissing as error:
        raise ModelMissing(
            f"{exported.folder} has no {lacking} of its own and takes it from {exported.source}, "
            "which is not there; add that model to the library, or export all parts."
        ) from error


def stand_in_for(request: Request) -> str:
    """Name the torch model that makes the same pictures as a request's exported one.

    Returns:
        As a request calls it; empty if there is none: it is not known or not there, something was
        merged into the exported one, or what leads it is exported too.
    """
    exported = identify(resolve(request.model)).exported
    if exported is None or not exported.source or exported.changes:
        return ""
    if any(is_exported_control(use.path, exported) for use in request.controls):
        return ""
    try:
        source = identify(resolve(exported.source))
    except CoreError:
        return ""
    return exported.source if source.exported is None else ""
