"""Captions as a model's text encoders read them: plainly, with gradients where they are wanted.

A caption is no prompt: brackets in it are brackets, and what does not fit into the encoder is cut
off.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import torch

from core.models.components import Components
from core.sampling.chunks import pieces
from core.sampling.conditioning import Conditioning
from core.sampling.towers import (
    Vectors,
    check_finite,
    encode_tokens,
    side_by_side,
    vectors_in_place,
)


def tokens_of(components: Components, caption: str) -> list[int]:
    """Give all of a caption's token numbers, without those for the begin and the end."""
    # All of a model's tokenizers cut words alike. Not verbose: transformers would warn of texts
    # longer than the encoder takes.
    tokenizer = components.text_towers[0].tokenizer
    return list(tokenizer(caption, add_special_tokens=False, verbose=False).input_ids)


def most_tokens(components: Components) -> int:
    """Give how many of a caption's tokens the encoders read."""
    return components.text_towers[0].tokenizer.model_max_length - 2


def encode(
    components: Components,
    captions: Sequence[str],
    *,
    vectors: Vectors = MappingProxyType({}),
    check: bool = False,
) -> Conditioning:
    """Encode captions, all in one pass.

    Gradients are kept as the caller's context has it. What is said by an empty caption is what
    guidance leads away from, which is zeros where the model was taught so (SDXL).

    Args:
        components: The model.
        captions: B texts.
        vectors: Words in them that stand for vectors of their own.
        check: Whether numbers that are not finite are refused.

    Returns:
        A batch of B, as long as the encoders are, on the model's device in its number format.

    Raises:
        ModelInvalid: If the encoders' answer is not finite and that is to be checked.
    """
    most = most_tokens(components)
    marked = [_marked(components, caption, vectors)[:most] for caption in captions]
    rows = [[number for number, _ in row] for row in marked]
    places = [
        (text, place, vector)
        for text, row in enumerate(marked)
        for place, (_, vector) in enumerate(row)
        if vector is not None
    ]
    encoded = []
    for tower in components.text_towers:
        with vectors_in_place(tower, places, vectors):
            encoded.append(encode_tokens(tower, components, rows))
    if check:
        check_finite(components, encoded)
    together = side_by_side(components, encoded)
    if not components.identity.zeros_for_empty or all(rows):
        return together
    is_said = torch.tensor([bool(row) for row in rows], device=components.device)
    return together.map(
        lambda values: torch.where(
            is_said.view(-1, *[1] * (values.ndim - 1)), values, torch.zeros_like(values)
        )
    )


def _marked(
    components: Components, caption: str, vectors: Vectors
) -> list[tuple[int, tuple[str, int] | None]]:
    """Give a caption's token numbers, and the vectors that stand in the place of any."""
    if not vectors:
        return [(number, None) for number in tokens_of(components, caption)]
    row: list[tuple[int, tuple[str, int] | None]] = []
    for text, word in pieces(caption, vectors):
        row += [(number, None) for number in tokens_of(components, text)]
        if word is not None:
            count = len(next(iter(vectors[word].values())))
            row += [(0, (word, number)) for number in range(count)]
    return row
