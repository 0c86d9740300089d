"""Embeddings that travel as pictures: AUTOMATIC1111's web UI keeps one in a PNG's texts.

Imports no torch.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from core.errors import ModelInvalid, Unsupported
from core.images.png_text import read_texts
from core.models.safetensors_header import Header, TensorInfo

KEYWORD = "sd-ti-embedding"


def is_card(path: Path) -> bool:
    """Whether a file is called a PNG picture, in which an embedding may be."""
    return path.suffix.lower() == ".png" and path.is_file()


def read_card(path: Path) -> dict[str, list[Any]]:
    """Read the embedding in a PNG's texts: JSON in base64, with lists for tensors.

    Returns:
        Its rows of numbers by the names of its parameters, which are not looked at.

    Raises:
        Unsupported: If there is none.
        ModelInvalid: If it is damaged.
    """
    text = read_texts(path).get(KEYWORD)
    if text is None:
        raise Unsupported(
            f"{path} carries no embedding in its texts; get the embedding as safetensors or .pt."
        )
    try:
        values = json.loads(base64.b64decode(text))
        found = {n: v["TORCHTENSOR"] for n, v in values["string_to_param"].items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise damaged_card(path, error) from error
    return found


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
