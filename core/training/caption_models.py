"""Which model writes captions, by name or path. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import core.starter
from core.errors import InvalidRequest, ModelInvalid, ModelMissing
from core.models.hub_cache import cache_folder, find_cached
from core.models.names import Resolver, no_names
from core.paths import exists, expanded, is_dir

STARTER = "starter"
"""The name of the captioner that ships; it knows the starter model's pictures."""

SHIPPED = Path(core.starter.__path__[0]) / "captioner_weights"
"""Where that lies."""


def find_captioner(name: str, named: Resolver = no_names) -> Path:
    """Find the folder of a captioner; no network is used.

    Args:
        name: ``starter``, the path of a folder, a name in the library, or ``owner/name`` in the
            Hugging Face cache.
        named: Knows the names of the library.

    Raises:
        InvalidRequest: If nothing is named.
        ModelMissing: If it is not on this machine.
        ModelInvalid: If it is a file, or the list of the library is damaged.
    """
    if not name.strip():
        raise InvalidRequest("model", "is empty; give a name or a path.")
    if name.casefold() == STARTER:
        if not is_dir(SHIPPED):
            raise ModelMissing(
                f"The captioner {STARTER} is not installed at {SHIPPED}; install the package again."
            )
        return SHIPPED
    path = expanded(Path(name))
    if is_dir(path):
        return path.absolute()
    if exists(path):
        raise ModelInvalid(f"{path} is a file; give the folder that a BLIP model was saved in.")
    found = named(name)
    if found is not None and is_dir(found):
        return found.absolute()
    try:
        return find_cached(name).path
    except ModelMissing:
        how = f"`hf download {name}` gets it" if name.count("/") == 1 else "give a folder's path"
        raise ModelMissing(
            f"There is no captioner {name}, neither a folder nor in the library or "
            f"{cache_folder()}; {how}, and {STARTER} is always here."
        ) from None
