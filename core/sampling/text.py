"""Prompts as CLIP's hidden states, each text encoded once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from core.errors import ModelInvalid
from core.models.components import Components

KEPT = 64
"""Texts whose embeddings are kept; one is 231 KB for Stable Diffusion 1.x in fp32."""


class TextEmbeddings:
    """Encodes texts and keeps the latest.

    Every text is encoded by itself, so that its embedding does not depend on its neighbours.
    """

    def __init__(self, components: Components) -> None:
        """Use a loaded model's tokenizer and text encoder."""
        self._components = components
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    def of(self, texts: Sequence[str]) -> Tensor:
        """Encode texts.

        Returns:
            ``(len(texts), T, D)``, on the model's device in its number format.

        Raises:
            ModelInvalid: If the encoder's answer is not finite.
        """
        return torch.cat([self._embedding(text) for text in texts])

    def cut_from(self, text: str) -> str:
        """Give the end of a text that does not fit the encoder's tokens, or an empty string."""
        tokenizer = self._components.tokenizer
        longest = tokenizer.model_max_length
        # Not verbose: transformers would warn that the text is too long, which is said otherwise.
        tokens: list[int] = list(tokenizer(text, verbose=False).input_ids)
        if len(tokens) <= longest:
            return ""
        return tokenizer.decode(tokens[longest - 1 : -1]).strip()

    def _embedding(self, text: str) -> Tensor:
        if text not in self._kept:
            self._kept[text] = _encode(self._components, text)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(text)
        return self._kept[text]


@torch.inference_mode()
def _encode(components: Components, text: str) -> Tensor:
    """Encode one text, padded and cut to the encoder's length.

    Returns:
        ``(1, T, D)``: the last hidden states after the final norm, as Stable Diffusion 1.x and 2.x
        were trained on.
    """
    tokenizer = components.tokenizer
    tokens: Any = tokenizer(
        text,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    mask = tokens.attention_mask.to(components.device) if components.text_uses_mask else None
    embedding: Tensor = components.text_encoder(
        tokens.input_ids.to(components.device), attention_mask=mask
    )[0]
    if not torch.isfinite(embedding).all():
        raise ModelInvalid(
            f"The text encoder of {components.identity.path} gives numbers that are not finite; "
            "choose precision fp32, or copy its weights again."
        )
    return embedding.to(components.dtype)
