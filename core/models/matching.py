"""The user's own files that another program's picture was made with. Imports no torch.

Programs name models, LoRAs and embeddings by their files' names, and by hashes that begin the same
as ours do, or by one of a LoRA's tensors alone; see ``core.models.fingerprint``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from core.errors import CoreError, ModelInvalid
from core.images.foreign import Match, UsedEmbedding, UsedLora
from core.models.fingerprint import FIRST_HASH_DIGITS, first_hash
from core.models.library import Library
from core.models.library_file import Entry
from core.models.library_names import plain_name
from core.models.verdict import Kind

_HASH = re.compile(rf"[0-9a-f]{{{FIRST_HASH_DIGITS}}}|[0-9a-f]{{10,64}}")
"""The web UI's hashes have 10 digits or more; its first ones, of 8, are of a part of a model."""

TENSOR_HASH_DIGITS = 12

_CONVERTED = re.compile(r"(_lora)?(_f16|_q[0-9]p)+\Z")
"""What Draw Things puts behind the name of a file that it converts."""

_WEB_UI_UPSCALERS = {
    "R-ESRGAN 4x+": "RealESRGAN_x4plus",
    "R-ESRGAN 4x+ Anime6B": "RealESRGAN_x4plus_anime_6B",
    "R-ESRGAN 2x+": "RealESRGAN_x2plus",
    "R-ESRGAN General 4xV3": "realesr-general-x4v3",
    "R-ESRGAN AnimeVideo": "realesr-animevideov3",
}
"""What the web UI calls the files of Real-ESRGAN (``modules/realesrgan_model.py``)."""


class Matching:
    """Finds what another program's picture names in a library.

    A file of the same hash goes before one of the same name. A library whose list is damaged, or a
    file that is gone, counts as none: nothing here is worth ending over.
    """

    def __init__(self, library: Library) -> None:
        """Look in a library."""
        self._library = library

    def model(self, name: str, sha256: str) -> Match | None:
        """Find a model by its name and the beginning of its hash, either of which may be empty."""
        found = self._find(Kind.MODEL, name, sha256)
        # A model is asked for by its name; it stays right when the file is found elsewhere later.
        return None if found is None else found[0].named(found[1].name)

    def lora(self, used: UsedLora) -> Match | None:
        """Find a LoRA."""
        found = self._find(Kind.LORA, used.name, used.hash)
        return None if found is None else found[0]

    def vae(self, name: str, sha256: str) -> Match | None:
        """Find a VAE by its name and the beginning of its hash."""
        found = self._find(Kind.VAE, name, sha256)
        return None if found is None else found[0]

    def upscaler(self, name: str, sha256: str) -> Match | None:
        """Find an upscaler by its name, also one that the web UI gave it, and its hash."""
        found = self._find(Kind.UPSCALER, _WEB_UI_UPSCALERS.get(name.strip(), name), sha256)
        return None if found is None else found[0]

    def embedding(self, used: UsedEmbedding) -> Match | None:
        """Find an embedding."""
        found = self._find(Kind.EMBEDDING, used.name, used.hash)
        return None if found is None else found[0]

    def _find(self, kind: Kind, name: str, written: str) -> tuple[Match, Entry] | None:
        wanted, digits = _names(name), hash_digits(written)
        entries = sorted(self._entries(kind), key=lambda entry: _rank(entry, wanted))
        if digits:
            for entry in entries:
                if self._has_hash(entry, digits):
                    return _match(entry, is_sure=True), entry
        for entry in entries[:1]:
            if _rank(entry, wanted) < len(wanted):
                return _match(entry, is_sure=not digits), entry
        return None

    def _entries(self, kind: Kind) -> Iterator[Entry]:
        with contextlib.suppress(ModelInvalid):
            for entry in self._library.entries():
                if entry.kind is kind and not entry.missing():
                    yield entry

    def _has_hash(self, entry: Entry, digits: str) -> bool:
        if len(digits) == FIRST_HASH_DIGITS:
            return entry.kind is Kind.MODEL and entry.is_file and first_hash(entry.path) == digits
        if entry.sha256.startswith(digits):
            return True
        if entry.kind is not Kind.LORA or len(digits) < TENSOR_HASH_DIGITS or not entry.is_file:
            return False
        with contextlib.suppress(CoreError):
            known = self._library.fingerprints.of_tensors(entry.path)
            return known.startswith(digits)
        return False


def hash_digits(written: str) -> str:
    """Give the digits of a SHA-256 as programs write it; empty if it is another kind of hash."""
    digits = written.strip().lower().removeprefix("sha256:").removeprefix("0x")
    return digits if _HASH.fullmatch(digits) else ""


def _names(name: str) -> tuple[str, ...]:
    """Give what the file may be called here: the name, then it without Draw Things' endings."""
    plain = plain_name(name)
    return tuple(filter(None, dict.fromkeys((plain, _CONVERTED.sub("", plain)))))


def _rank(entry: Entry, wanted: tuple[str, ...]) -> int:
    """Give which of the names a file has; as many as there are if it has none."""
    own = (entry.name.casefold(), plain_name(entry.path.name))
    return next((i for i, name in enumerate(wanted) if name in own), len(wanted))


def _match(entry: Entry, *, is_sure: bool) -> Match:
    return Match(path=str(entry.path), family=entry.family, is_sure=is_sure)
