"""Embeddings that travel as pictures, as AUTOMATIC1111's web UI saves them.

One stands in a PNG's texts, and once more in the pixels beside the picture, where it outlives
programs that drop texts, and as a WebP (``modules/textual_inversion/image_embedding.py`` of
https://github.com/AUTOMATIC1111/stable-diffusion-webui). Imports no torch.
"""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import CoreError, ModelInvalid, Unsupported
from core.images.png_text import read_texts
from core.images.reading import read_picture
from core.models.safetensors_header import Header, TensorInfo

KEYWORD = "sd-ti-embedding"


_LONGEST = 16 << 20
"""Bytes of an embedding's JSON, unpacked, and of the pixels that may hold it."""


def is_card(path: Path) -> bool:
    """Whether a file is called a picture of a kind in which an embedding may be."""
    return path.suffix.lower() in (".png", ".webp") and path.is_file()


def read_card(path: Path) -> dict[str, list[Any]]:
    """Read the embedding in a picture's texts or pixels: JSON, with lists for tensors.

    Returns:
        Its rows of numbers by the names of its parameters, which are not looked at.

    Raises:
        Unsupported: If there is none.
        ModelInvalid: If it is damaged.
    """
    text = read_texts(path).get(KEYWORD)
    data = _in_pixels(path) if text is None else None
    if text is None and data is None:
        raise Unsupported(
            f"{path} carries no embedding, neither in its texts nor in its pixels; get the "
            "embedding as safetensors or .pt."
        )
    try:
        values = json.loads(base64.b64decode(text) if text is not None else data or b"")
        found = {n: v["TORCHTENSOR"] for n, v in values["string_to_param"].items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise damaged_card(path, error) from error
    return found


def _in_pixels(path: Path) -> bytes | None:
    """Read the JSON in the strips left and right of a card's picture; None if there is none.

    A column whose pixels have no low half-bytes parts each strip from the picture. The low
    half-bytes of the strips' numbers, unmasked, are the low and the high halves of packed bytes.
    """
    try:
        with read_picture(path, field="embedding") as picture:
            pixels = np.asarray(picture)  # (H, W, 3) uint8
    except CoreError:
        return None
    halves = _without_border(pixels) & 0x0F
    (dark,) = np.nonzero(halves.sum(axis=(0, 2)) == 0)
    if len(dark) < 2:
        return None
    low, high = halves[:, : dark[0]].ravel(), halves[:, dark[-1] + 1 :].ravel()
    if not 0 < len(low) == len(high) <= _LONGEST:
        return None
    mask = _mask(len(low))
    packed = ((high ^ mask) << 4 | (low ^ mask)).tobytes()
    try:
        # What fills the strips up follows the packed bytes, and is no part of them.
        return zlib.decompressobj().decompress(packed, _LONGEST)
    except zlib.error:
        return None


def _without_border(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut off rows and columns at the edges that have no pixel bright in all its colours."""
    rows, columns = np.nonzero(pixels.all(axis=2))
    if not len(rows):
        return pixels
    return pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def _mask(length: int) -> NDArray[np.uint8]:
    """Give the half-bytes that the numbers of a strip are masked with.

    They are of the generator of *Numerical Recipes*, s' = 1664525 s + 1013904223 mod 2^32 from 0
    on, modulo 255. It is run for many numbers at once by doubling: n steps are one of the form
    s' = a s + c too.
    """
    states = np.array([1013904223], dtype=np.uint32)
    factor, summand = 1664525, 1013904223
    while len(states) < length:
        later = states * np.uint32(factor) + np.uint32(summand)
        states = np.concatenate((states, later))
        factor, summand = factor * factor % 2**32, (factor + 1) * summand % 2**32
    return (states[:length] % 255 & 0x0F).astype(np.uint8)


def card_header(path: Path) -> Header:
    """Read which tensors a card holds, as of a file of tensors.

    Raises:
        Unsupported: If it holds none.
        ModelInvalid: If it is damaged.
    """
    tensors = {}
    for name, rows in read_card(path).items():
        if not isinstance(rows, list) or not rows or not isinstance(rows[0], list):
            raise damaged_card(path, "it holds no rows of numbers")
        shape = (len(rows), len(rows[0]))
        tensors[f"string_to_param.{name}"] = TensorInfo("F32", shape)
    return Header(tensors, {})


def damaged_card(path: Path, why: object) -> ModelInvalid:
    """Say that a card cannot be read."""
    return ModelInvalid(f"{path} has an embedding that cannot be read ({why}); get it again.")
