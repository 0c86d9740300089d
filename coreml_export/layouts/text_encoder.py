"""A text encoder as a part: token numbers in, states and pooled text out."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

HIDDEN = -1e4
"""What is added to the attention that is not to be. Its exponential is 0 in every precision, and
half precision holds twice of it, which the usual smallest number of fp32 is too large for."""

_UNKNOWN_END = 2
"""The end's number in the configurations of OpenAI's first release, where it is another; see
https://github.com/huggingface/transformers/pull/24773."""


class TextEncoder(nn.Module):
    """One of transformers' CLIP text towers, read as ``core.sampling.towers`` reads it."""

    def __init__(
        self, encoder: Any, *, end: int, length: int, uses_mask: bool, before_last: bool
    ) -> None:
        """Share the weights of a tower.

        Args:
            encoder: A ``CLIPTextModel``, with or without a projection.
            end: The number of the token that ends a text; see ``end_of``.
            length: T, of all texts.
            uses_mask: Whether what follows the end is not attended to.
            before_last: Whether the states are those before the last layer, as SDXL reads them, or
                those after the final norm.
        """
        super().__init__()
        body = body_of(encoder)
        self.embeddings = body.embeddings
        self.layers = body.encoder.layers
        self.final_norm = body.final_layer_norm
        self.projection = getattr(encoder, "text_projection", None)
        self.end = end
        self.uses_mask = uses_mask
        self.before_last = before_last
        causal = torch.full((length, length), HIDDEN).triu(1)[None, None]  # (1, 1, T, T)
        self.causal = nn.Buffer(causal, persistent=False)
        self.places = nn.Buffer(torch.arange(length), persistent=False)

    def forward(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Encode texts.

        Args:
            input_ids: ``(B, T)``, whole numbers.

        Returns:
            The states ``(B, T, D)``, and the state at the end of each text after the final norm,
            projected where the tower has a projection, ``(B, P)``.
        """
        ids = input_ids.to(torch.int32)
        ends = (ids == self.end).int().argmax(dim=-1)  # (B,), the first of each text
        mask: Tensor = self.causal
        if self.uses_mask:
            mask = mask + HIDDEN * (self.places > ends[:, None]).to(mask.dtype)[:, None, None]
        states = before = self.embeddings(ids)
        for layer in self.layers:
            before, states = states, layer(states, mask)
        states = self.final_norm(states)
        pooled = states[torch.arange(len(states)), ends]
        if self.projection is not None:
            pooled = self.projection(pooled)
        return before if self.before_last else states, pooled


def body_of(encoder: Any) -> Any:
    """Give the transformer in a text tower."""
    return cast(Any, getattr(encoder, "text_model", encoder))


def end_of(encoder: Any, usual: int) -> int:
    """Give the number of the token at which a text tower finds the end of a text.

    Args:
        encoder: The tower.
        usual: What its tokenizer writes there, for towers whose configuration does not know.
    """
    configured = int(body_of(encoder).eos_token_id)
    return usual if configured == _UNKNOWN_END else configured
