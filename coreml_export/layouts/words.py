"""Words of textual inversion in a text encoder's own table, where tokenizers can point to them.

While a model runs here, their vectors are put between those of the table (``core.sampling.text``);
an exported text encoder is told numbers alone, and so they get numbers of their own (Gal et al.
2022, arXiv:2208.01618).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from core.models.components import Components, TextTower
from core.sampling.towers import Vectors, word_table
from coreml_export.layouts.sharing import sharing_copy
from coreml_export.layouts.text_encoder import body_of


def numbers_of(components: Components, words: Vectors) -> dict[str, range]:
    """Give the numbers that words get: one after another for the vectors of each, after all others.

    They are the same for every text encoder of a model, whose tokenizers are one to the readers.
    """
    first = _first(components)
    numbers = {}
    for word, vectors in words.items():
        count = len(next(iter(vectors.values())))
        numbers[word] = range(first, first + count)
        first += count
    return numbers


def taught(tower: TextTower, components: Components, words: Vectors, *, end: int) -> nn.Module:
    """Give a text encoder that knows words by the numbers of ``numbers_of``.

    Args:
        tower: The encoder. All weights but its table are shared with it.
        components: The model that it is of.
        words: Their vectors.
        end: The number of the token that ends a text. Encoders that find it as the highest number
            would take a learned one for it.
    """
    made: Any = sharing_copy(tower.encoder)
    table = word_table(made)
    rows = [vectors[tower.name].to(table.weight) for vectors in words.values()]
    gap = table.weight.new_zeros(_first(components) - len(table.weight), table.embedding_dim)
    longer = torch.cat([table.weight.detach(), gap, *rows])
    table.weight = nn.Parameter(longer, requires_grad=False)
    body_of(made).eos_token_id = end
    return cast(nn.Module, made)


def _first(components: Components) -> int:
    """Give the first number that no text encoder knows yet."""
    return max(word_table(tower.encoder).num_embeddings for tower in components.text_towers)
