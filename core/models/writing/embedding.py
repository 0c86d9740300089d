"""Textual-inversion files (Gal et al. 2022, arXiv:2208.01618) in the two forms that are read.

Neither is a pickle. The form of kohya's sd-scripts is the one that most programs read, where the
word is the file's name; diffusers' form names the word itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from core.models.lora_keys import TEXT, TEXT_2
from core.models.writing.contents import Contents

Vectors = Mapping[str, Tensor]
"""By text encoder, ``text_encoder`` and for SDXL ``text_encoder_2``: ``(n, D)``."""

_KOHYA_XL = {TEXT: "clip_l", TEXT_2: "clip_g"}


def write_kohya_embedding(path: Path, vectors: Vectors, *, metadata: Mapping[str, str]) -> None:
    """Write an embedding as kohya's sd-scripts do.

    Args:
        path: The file, ``.safetensors``, called by the word.
        vectors: The word's.
        metadata: What the file says of itself; see ``kohya_metadata``. The hash is added.

    Raises:
        SaveFailed: Naming the folder and the reason; what was there is unchanged.
    """
    if set(vectors) == {TEXT}:
        _write(path, {"emb_params": vectors[TEXT]}, metadata)
    else:
        _write(path, {_KOHYA_XL[name]: value for name, value in vectors.items()}, metadata)


def write_diffusers_embedding(
    path: Path, token: str, vectors: Vectors, *, metadata: Mapping[str, str]
) -> tuple[Path, ...]:
    """Write an embedding as diffusers' training scripts do, a file for each text encoder.

    Args:
        path: The first file; diffusers looks for ``learned_embeds.safetensors`` in a folder. That
            for SDXL's second text encoder has ``_2`` behind its name.
        token: The word.
        vectors: The word's.
        metadata: What the files say of themselves; see ``kohya_metadata``. The hash is added.

    Returns:
        The files, in the order of the text encoders.

    Raises:
        SaveFailed: Naming the folder and the reason; what was there is unchanged.
    """
    paths = {TEXT: path, TEXT_2: path.with_stem(f"{path.stem}_2")}
    for name, value in vectors.items():
        _write(paths[name], {token: value}, {"format": "pt", **metadata})
    return tuple(paths[name] for name in paths if name in vectors)


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    contents = Contents(tensors)
    contents.write(path, {**metadata, "modelspec.hash_sha256": f"0x{contents.sha256()}"})
