"""Which tensors a weight file says it holds, whatever its form. Imports no torch."""

from __future__ import annotations

import codecs
from pathlib import Path

from core.errors import ModelInvalid, ModelMissing, Unsupported
from core.models.pickle_header import read_pickle_header
from core.models.safetensors_header import Header, read_with_metadata

PICKLES = (".bin", ".ckpt", ".pt", ".pth")
SUFFIXES = (".safetensors", ".sft", *PICKLES)

_MISLABELLED = (
    (b"GGUF", "a GGUF file of quantized weights, as stable-diffusion.cpp and llama.cpp use"),
    (b"version https://git-lfs", "a pointer of Git LFS and not the file itself"),
    (b"<!DOCTYPE", "a web page"),
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"RIFF", "a WebP picture"),
    (b"<?xml", "an XML text, most likely a website's message that it refuses the file"),
    (b"%PDF", "a PDF"),
)
_REFUSAL = "a website's message that it refuses the file, most likely for want of a login"
_CARDS = {"a PNG picture": ".png", "a WebP picture": ".webp"}
"""Pictures in which embeddings travel, by their names."""

_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""A zip archive, and the first two bytes of a pickle of protocol 2 to 5."""


def read_tensors(path: Path) -> Header:
    """Read the list of a file's tensors, from its header only.

    What the file is goes by its first bytes; its name only helps where they say nothing.

    Raises:
        ModelMissing: If there is no such file.
        ModelInvalid: If it is damaged or is no file of weights.
        Unsupported: If it is sound and of a form that is not read.
        UnsafeFile: If it is a pickle that asks for more than tensors.
    """
    start = _first_bytes(path)
    for magic, what in _MISLABELLED:
        if start.startswith(magic):
            if magic == b"GGUF":
                raise Unsupported(f"{path} is {what}; get the model as safetensors.")
            raise _no_model(path, what)
    if (text := _kind_of_text(path, start)) is not None:
        raise _no_model(path, text)
    if is_pickle(path):
        return read_pickle_header(path)
    return read_with_metadata(path)


def _kind_of_text(path: Path, start: bytes) -> str | None:
    """Say what text a file is; None if it is none, or may be a pickle of the first protocols."""
    try:
        # A character may be cut at the end.
        words = codecs.getincrementaldecoder("utf-8-sig")().decode(start).lstrip()
    except UnicodeDecodeError:
        return None
    # A safetensors file may begin with a brace too, as the length of its header.
    if not words or any(character < " " and not character.isspace() for character in words):
        return None
    if words.startswith("{"):
        return _REFUSAL if '"error"' in words else "a JSON text"
    if words.startswith("<"):
        return "a web page"
    return None if path.suffix.lower() in PICKLES else "a text"


def _no_model(path: Path, what: str) -> ModelInvalid:
    if path.name == "model_index.json":
        return ModelInvalid(f"{path} is a part of a model's folder; give the folder itself.")
    if what in _CARDS:
        return ModelInvalid(
            f"{path} is {what}, not a model; if it carries an embedding, rename it to "
            f"{path.with_suffix(_CARDS[what]).name}, else download the file again."
        )
    return ModelInvalid(f"{path} is {what}, not a model; download the file again.")


def is_pickle(path: Path) -> bool:
    """Whether a file is a pickle, by its first bytes and not by its name.

    Raises:
        ModelMissing: If there is no such file.
        ModelInvalid: If it cannot be read.
    """
    start = _first_bytes(path)
    # A safetensors file begins with the length of its header, and then an opening brace.
    if start[8:9] == b"{":
        return False
    # The first two protocols begin with no mark, and may run code as well as the later ones.
    return start.startswith(_PICKLE_STARTS) or (bool(start) and path.suffix.lower() in PICKLES)


def _first_bytes(path: Path) -> bytes:
    try:
        if not (path.is_file() or path.is_dir()) and path.exists():
            raise ModelInvalid(f"{path} is neither a file nor a folder; give one that is.")
        with path.open("rb") as file:
            return file.read(64)
    except FileNotFoundError:
        raise ModelMissing(f"{path} is not there; check its name.") from None
    except OSError as error:
        raise ModelInvalid(
            f"{path} cannot be read ({error.strerror or error}); copy it again."
        ) from error
