"""Words in the names of model files, for what nothing inside of them tells. Imports no torch."""

from __future__ import annotations

import re
from pathlib import Path

_WORD = re.compile(r"\d+|[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_REVISION = re.compile(r"[0-9a-f]{40}")
_NAMELESS = ("pytorch_lora_weights", "diffusion_pytorch_model")
"""What diffusers calls all files of a kind."""


def name_of(path: Path) -> str:
    """Give what a model's file or folder is called, without its ending.

    A file that is called like all of its kind goes by its folder, and a folder that Hugging Face's
    cache calls by a revision goes by its repository.
    """
    if path.stem in _NAMELESS:
        path = path.absolute().parent
    if _REVISION.fullmatch(path.name) and path.parent.name == "snapshots":
        path = path.parent.parent
    return path.name if path.is_dir() else path.stem


def words_of(path: Path) -> frozenset[str]:
    """Split a model's name into lower-case words, at signs, digits and capitals."""
    return words_in(name_of(path))


def words_in(text: str) -> frozenset[str]:
    """Split a text into lower-case words, at signs, digits and capitals."""
    return frozenset(words_in_order(text))


def words_in_order(text: str) -> tuple[str, ...]:
    """Split a text into lower-case words, as they follow each other."""
    return tuple(word.lower() for word in _WORD.findall(text))
