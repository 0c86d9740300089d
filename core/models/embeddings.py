"""Textual-inversion embeddings: vectors that stand for a word of their own.

Gal et al. 2022, arXiv:2208.01618. Programs have saved them in many forms; all become one here. The
text encoder's own table of words is never written to: see ``core.sampling.text``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.errors import ModelInvalid, Unsupported
from core.models.adapter_names import (
    ENCODERS,
    NO_WORDS,
    OUTPUTS,
    is_words,
    only_outputs,
    several_words,
)
from core.models.embedding_card import damaged_card, is_card, read_card
from core.models.lora_keys import TEXT
from core.models.reading import check_finite
from core.models.tensor_file import read_tensor_file

_FAMILIES = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 1280: "SDXL"}


_NAMELESS = ("final", "usable")
"""What a training calls its files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """A word and its vectors.

    Attributes:
        token: The word in the prompt.
        path: Its file.
        vectors: ``(n, D)`` fp32 on the CPU for each text encoder.
        unused: Names of the file's tensors for a text encoder's output, which are not used.
    """

    token: str
    path: Path
    unused: tuple[str, ...] = ()
    vectors: Mapping[str, Tensor] = field(compare=False, repr=False)


def read_embedding(path: Path, token: str = "") -> Embedding:
    """Read an embedding.

    Args:
        path: A ``.safetensors``, a pickle, or a picture that carries one.
        token: The word for it; otherwise the one in the file, or else the file's name. Where a
            training has given it a name that says nothing, what the file calls its trigger phrase.

    Raises:
        ModelMissing: If there is no such file.
        ModelInvalid: If it is damaged.
        UnsafeFile: If it is a pickle that asks for more than tensors.
        Unsupported: If it is no embedding.
    """
    values, notes = (_card_tensors(path), {}) if is_card(path) else read_tensor_file(path)
    word, vectors = _vectors(path, values)
    phrase = notes.get("modelspec.trigger_phrase", "").split()
    called = phrase[0] if len(phrase) == 1 and path.stem in _NAMELESS else path.stem
    made = make_embedding(path, token or word or called, vectors)
    return dataclasses.replace(made, unused=tuple(sorted(values.keys() & set(OUTPUTS))))


def make_embedding(path: Path, token: str, vectors: Mapping[str, Any]) -> Embedding:
    """Check vectors, by text encoder, and give them one form: ``(D,)`` becomes ``(1, D)``.

    Raises:
        ModelInvalid: If they are no finite vectors.
    """
    checked: dict[str, Tensor] = {}
    for name, tensor in vectors.items():
        is_vectors = isinstance(tensor, Tensor) and tensor.ndim in (1, 2) and tensor.numel() > 0
        if not is_vectors or not tensor.is_floating_point():
            raise ModelInvalid(f"{path} holds no vectors for {token!r}; get it again.")
        check_finite(path, [(token, tensor)])
        checked[name] = torch.atleast_2d(tensor.detach()).float()
    if len({len(tensor) for tensor in checked.values()}) != 1:
        raise ModelInvalid(
            f"{path} has not as many vectors for one text encoder as for the other; get it again."
        )
    return Embedding(token=token, path=path, vectors=checked)


def check_widths(embedding: Embedding, widths: Mapping[str, int]) -> None:
    """Refuse an embedding made for text encoders of other widths.

    Args:
        embedding: The embedding.
        widths: Of the model's text encoders, by name.

    Raises:
        Unsupported: Saying the widths and what it looks made for.
    """
    found = {name: tensor.shape[1] for name, tensor in embedding.vectors.items()}
    if found == dict(widths):
        return
    has, wants = (" and ".join(map(str, sorted(w.values()))) for w in (found, dict(widths)))
    family = "SDXL" if len(found) > 1 else _FAMILIES.get(next(iter(found.values())), "")
    raise Unsupported(
        f"{embedding.path} does not fit this model: its vectors are {has} wide and the model's "
        f"are {wants}; " + (f"it looks made for {family}." if family else "choose another.")
    )


def _vectors(path: Path, values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Find the vectors, by text encoder, and the word that the file gives them, if any."""
    outputs = sorted(values.keys() & set(OUTPUTS))
    values = {name: value for name, value in values.items() if name not in OUTPUTS}
    if outputs and not values:
        raise only_outputs(path, outputs)
    if "string_to_param" in values:
        return "", {TEXT: _named_parameter(path, values["string_to_param"])}
    if found := {ENCODERS[name]: value for name, value in values.items() if name in ENCODERS}:
        if len(found) < len(values):
            raise _no_embedding(path, sorted(values.keys() - ENCODERS.keys())[0])
        return "", found
    shapes = [v.shape for v in values.values() if isinstance(v, Tensor) and v.ndim in (1, 2)]
    fit = len(shapes) == len(values) and {shape[-1] for shape in shapes} <= _FAMILIES.keys()
    if fit and is_words(values):
        raise several_words(path, values)
    if len(values) != 1:
        raise _no_embedding(path, next(iter(values), "nothing"))
    ((word, value),) = values.items()
    # Anything else with one tensor would be taken for a word with vectors.
    if not isinstance(value, Tensor) or value.ndim > 2 or word.endswith(NO_WORDS):
        raise _no_embedding(path, word)
    return word, {TEXT: value}


def _named_parameter(path: Path, parameters: Any) -> Any:
    """Give the one tensor of AUTOMATIC1111's form, whose name is ``*``."""
    if isinstance(parameters, torch.nn.ParameterDict):
        parameters = parameters._parameters
    if isinstance(parameters, dict) and len(parameters) > 1:
        raise several_words(path, parameters)
    if not isinstance(parameters, dict) or not parameters:
        raise _no_embedding(path, "string_to_param")
    return next(iter(parameters.values()))


def _no_embedding(path: Path, name: str) -> Unsupported:
    return Unsupported(f"{path} is no embedding (it holds {name}); choose another file.")


def _card_tensors(path: Path) -> dict[str, Any]:
    rows = read_card(path)
    try:
        parameters = {name: torch.tensor(v, dtype=torch.float32) for name, v in rows.items()}
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged_card(path, error) from error
    return {"string_to_param": parameters}
