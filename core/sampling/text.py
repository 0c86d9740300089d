"""Prompts as CLIP's hidden states, each text encoded once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import ModelInvalid
from core.models.components import Components
from core.sampling.chunks import Chunk, cut

KEPT = 64
"""Texts whose embeddings are kept; one is 231 KB for Stable Diffusion 1.x in fp32."""


SMALLEST_MEAN = 0.01
"""Share of the states' standard deviation below which their mean says nothing."""

LARGEST_RATIO = 10.0
"""Above it the weights have left next to nothing of the mean."""


class TextEmbeddings:
    """Encodes texts, in the notation of ``core.sampling.prompt_syntax``, and keeps the latest.

    Every text is encoded by itself, so that its embedding does not depend on its neighbours. A
    text of more tokens than the encoder takes is encoded in chunks, which follow one another.
    """

    def __init__(self, components: Components, vectors: Mapping[str, Tensor] | None = None) -> None:
        """Use a loaded model's tokenizer and text encoder.

        Args:
            components: The model.
            vectors: The words that stand for vectors ``(n, D)`` of their own.
        """
        self._components = components
        self._vectors = dict(vectors or {})
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        tokenizer = components.tokenizer
        self._size = tokenizer.model_max_length - 2  # without the begin and the end

    def of(self, texts: Sequence[str], *, chunks: int | None = None) -> Tensor:
        """Encode texts.

        Args:
            texts: The texts.
            chunks: How many chunks each is filled up to with empty ones, at least as many as any
                has; None for as many as the longest of them has.

        Returns:
            ``(len(texts), chunks * T, D)``, on the model's device in its number format.

        Raises:
            ModelInvalid: If the encoder's answer is not finite.
            Unsupported: If an embedding has more vectors than a chunk has places.
        """
        embeddings = [self._embedding(text) for text in texts]
        length = self._components.tokenizer.model_max_length
        longest = max(embedding.shape[1] for embedding in embeddings)
        wanted = longest if chunks is None else chunks * length
        return torch.cat([self._filled(embedding, wanted) for embedding in embeddings])

    def chunks_of(self, text: str) -> int:
        """Count the chunks that a text takes."""
        return len(self._cut(text))

    def count(self, text: str) -> int:
        """Count the tokens of a text, those that the encoder adds aside."""
        return sum(len(chunk) for chunk in self._cut(text))

    def _cut(self, text: str) -> list[Chunk]:
        words = {word: len(vectors) for word, vectors in self._vectors.items()}
        return cut(text, tokenize=self._tokens, size=self._size, words=words)

    def _tokens(self, text: str) -> list[int]:
        # Not verbose: transformers would warn of texts longer than the encoder takes.
        tokenizer = self._components.tokenizer
        return list(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)

    def _embedding(self, text: str) -> Tensor:
        if text not in self._kept:
            chunks = [_encode(self._components, c, self._vectors) for c in self._cut(text)]
            self._kept[text] = torch.cat(chunks, dim=1)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(text)
        return self._kept[text]

    def _filled(self, embedding: Tensor, length: int) -> Tensor:
        """Follow an embedding with empty chunks until it is ``length`` tokens long."""
        missing = (length - embedding.shape[1]) // self._components.tokenizer.model_max_length
        if not missing:
            return embedding
        return torch.cat([embedding, *[self._embedding("")] * missing], dim=1)


@torch.inference_mode()
def _encode(components: Components, chunk: Chunk, vectors: Mapping[str, Tensor]) -> Tensor:
    """Encode one chunk.

    Returns:
        ``(1, T, D)``: the last hidden states after the final norm, as Stable Diffusion 1.x and 2.x
        were trained on, weighted.
    """
    tokenizer = components.tokenizer
    frame: Any = tokenizer(
        "", padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt"
    )
    # The begin, the end, then padding; the chunk goes between the first two.
    begin, *rest = frame.input_ids[0].tolist()
    numbers = [begin, *(token.number for token in chunk), *rest][: tokenizer.model_max_length]
    ids = torch.tensor([numbers], device=components.device)
    mask = None
    if components.text_uses_mask:
        mask = torch.zeros_like(ids)
        mask[:, : len(chunk) + 2] = 1
    with _in_place(components.text_encoder, chunk, vectors):
        embedding: Tensor = components.text_encoder(ids, attention_mask=mask)[0]
    if not torch.isfinite(embedding).all():
        raise ModelInvalid(
            f"The text encoder of {components.identity.path} gives numbers that are not finite; "
            "choose precision fp32, or copy its weights again."
        )
    return _weighted(embedding, chunk).to(components.dtype)


def _weighted(embedding: Tensor, chunk: Chunk) -> Tensor:
    """Multiply each token's state by its weight, and all so that their mean stays what it was.

    That is how AUTOMATIC1111's web UI does it, except that a mean of nearly nothing, as some text
    encoders have, is left alone: restoring it would multiply by chance.

    Args:
        embedding: ``(1, T, D)``.
        chunk: The tokens, the first of which is at place 1.
    """
    if all(token.weight == 1 for token in chunk):
        return embedding
    weights = torch.ones(embedding.shape[1], 1)
    weights[1 : 1 + len(chunk), 0] = torch.tensor([token.weight for token in chunk])
    plain = embedding.float()
    weighted = plain * weights.to(plain.device)
    ratio = float(plain.mean() / weighted.mean())
    has_mean = float(plain.mean().abs()) > SMALLEST_MEAN * float(plain.std())
    return weighted * ratio if has_mean and 0 < ratio < LARGEST_RATIO else weighted


@contextmanager
def _in_place(encoder: nn.Module, chunk: Chunk, vectors: Mapping[str, Tensor]) -> Iterator[None]:
    """Let an encoder see embeddings' vectors at their places; its own table is not written to."""
    places = [(1 + i, token.vector) for i, token in enumerate(chunk) if token.vector is not None]
    if not places:
        yield
        return

    def put(_module: nn.Module, _ids: Any, table_rows: Tensor) -> Tensor:
        rows = table_rows.clone()  # (1, T, D)
        for place, (word, number) in places:
            rows[:, place] = vectors[word][number].to(rows.device, rows.dtype)
        return rows

    handle = encoder.get_submodule(_word_table(encoder)).register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


def _word_table(encoder: nn.Module) -> str:
    """Find the module that turns token numbers into vectors."""
    names: list[str] = [
        name for name, _ in encoder.named_modules() if name.endswith("token_embedding")
    ]
    assert len(names) == 1, f"{len(names)} tables of words"
    return names[0]
