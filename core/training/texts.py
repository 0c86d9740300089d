"""Captions as a model's text encoders read them: plainly, with gradients where they are wanted.

A caption is no prompt: brackets in it are brackets, and what does not fit into the encoder is cut
off.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from core.models.components import Components
from core.sampling.conditioning import Conditioning
from core.sampling.towers import check_finite, encode_tokens, side_by_side


def tokens_of(components: Components, caption: str) -> list[int]:
    """Give all of a caption's token numbers, without those for the begin and the end."""
    # All of a model's tokenizers cut words alike. Not verbose: transformers would warn of texts
    # longer than the encoder takes.
    tokenizer = components.text_towers[0].tokenizer
    return list(tokenizer(caption, add_special_tokens=False, verbose=False).input_ids)


def most_tokens(components: Components) -> int:
    """Give how many of a caption's tokens the encoders read."""
    return components.text_towers[0].tokenizer.model_max_length - 2


def encode(components: Components, captions: Sequence[str], *, check: bool = False) -> Conditioning:
    """Encode captions, all in one pass.

    Gradients are kept as the caller's context has it. What is said by an empty caption is what
    guidance leads away from, which is zeros where the model was taught so (SDXL).

    Args:
        components: The model.
        captions: B texts.
        check: Whether numbers that are not finite are refused.

    Returns:
        A batch of B, as long as the encoders are, on the model's device in its number format.

    Raises:
        ModelInvalid: If the encoders' answer is not finite and that is to be checked.
    """
    most = most_tokens(components)
    rows = [tokens_of(components, caption)[:most] for caption in captions]
    encoded = [encode_tokens(tower, components, rows) for tower in components.text_towers]
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
