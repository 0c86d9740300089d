"""Prompts as the hidden states of a model's text encoders, each text encoded once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from core.models.components import Components, TextTower
from core.sampling.chunks import Chunk, Token, cut
from core.sampling.conditioning import Conditioning, joined
from core.sampling.towers import (
    Encoded,
    Vectors,
    check_finite,
    encode_tokens,
    side_by_side,
    vectors_in_place,
)

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
    Where there are two encoders, both read the same text and their states lie side by side.
    """

    def __init__(self, components: Components, vectors: Vectors | None = None) -> None:
        """Use a loaded model's tokenizers and text encoders.

        Args:
            components: The model.
            vectors: The embeddings.
        """
        self._components = components
        self._vectors = dict(vectors or {})
        exported = components.identity.exported
        # Words that an export has put into its text encoders' own tables.
        self._numbers = {} if exported is None else exported.words
        self._kept: OrderedDict[str, Conditioning] = OrderedDict()
        # All of a model's tokenizers cut words alike.
        self._tokenizer = components.text_towers[0].tokenizer
        self._size = self._tokenizer.model_max_length - 2  # without the begin and the end

    def of(self, texts: Sequence[str], *, chunks: int | None = None) -> Conditioning:
        """Encode texts.

        Args:
            texts: The texts.
            chunks: How many chunks each is filled up to with empty ones, at least as many as any
                has; None for as many as the longest of them has.

        Returns:
            A batch of as many, ``chunks * T`` tokens long, on the model's device in its number
            format.

        Raises:
            ModelInvalid: If the encoder's answer is not finite.
            Unsupported: If an embedding has more vectors than a chunk has places.
        """
        embeddings = [self._embedding(text) for text in texts]
        length = self._tokenizer.model_max_length
        longest = max(embedding.text.shape[1] for embedding in embeddings)
        wanted = longest if chunks is None else chunks * length
        return joined([self._filled(embedding, wanted) for embedding in embeddings])

    def negative_of(self, text: str, *, chunks: int) -> Conditioning:
        """Encode what is to be led away from.

        Stable Diffusion has learned to draw nothing in particular from an empty text, SDXL from
        zeros (Podell et al. 2023, arXiv:2307.01952, as its published pipeline is configured).

        Args:
            text: The text.
            chunks: See ``of``.

        Returns:
            A batch of one.
        """
        embedding = self.of([text], chunks=chunks)
        if not text and self._components.identity.zeros_for_empty:
            return embedding.map(torch.zeros_like)
        return embedding

    def chunks_of(self, text: str) -> int:
        """Count the chunks that a text takes."""
        return len(self._cut(text))

    def count(self, text: str) -> int:
        """Count the tokens of a text, those that the encoder adds aside."""
        return sum(len(chunk) for chunk in self._cut(text))

    def _cut(self, text: str) -> list[Chunk]:
        words = {word: len(next(iter(of.values()))) for word, of in self._vectors.items()}
        words |= {word: len(numbers) for word, numbers in self._numbers.items()}
        chunks = cut(text, tokenize=self._tokens, size=self._size, words=words)
        return [[self._numbered(token) for token in chunk] for chunk in chunks]

    def _numbered(self, token: Token) -> Token:
        """Give the number of a word that the text encoders know by one."""
        if token.vector is None or token.vector[0] not in self._numbers:
            return token
        word, place = token.vector
        return Token(self._numbers[word][place], token.weight)

    def _tokens(self, text: str) -> list[int]:
        # Not verbose: transformers would warn of texts longer than the encoder takes.
        return list(self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids)

    def _embedding(self, text: str) -> Conditioning:
        if text not in self._kept:
            chunks = [_encode(self._components, c, self._vectors) for c in self._cut(text)]
            # What is read as one vector is the first chunk, as in AUTOMATIC1111's web UI.
            states = torch.cat([chunk.text for chunk in chunks], dim=1)
            self._kept[text] = Conditioning(text=states, pooled=chunks[0].pooled)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(text)
        return self._kept[text]

    def _filled(self, embedding: Conditioning, length: int) -> Conditioning:
        """Follow an embedding with empty chunks until it is ``length`` tokens long."""
        missing = (length - embedding.text.shape[1]) // self._tokenizer.model_max_length
        if not missing:
            return embedding
        states = torch.cat([embedding.text, *[self._embedding("").text] * missing], dim=1)
        return Conditioning(text=states, pooled=embedding.pooled)


def _encode(components: Components, chunk: Chunk, vectors: Vectors) -> Conditioning:
    """Encode one chunk with every text encoder that there is.

    Returns:
        A batch of one. Its states are the encoders', side by side; its pooled text is that of the
        encoder that gives any.
    """
    encoded = [_encode_by(tower, components, chunk, vectors) for tower in components.text_towers]
    check_finite(components, encoded)
    weighted = [(_weighted(states, chunk), pooled) for states, pooled in encoded]
    return side_by_side(components, weighted)


@torch.inference_mode()
def _encode_by(tower: TextTower, components: Components, chunk: Chunk, vectors: Vectors) -> Encoded:
    """Encode one chunk with one text encoder, a batch of one."""
    places = [(0, place, token.vector) for place, token in enumerate(chunk) if token.vector]
    with vectors_in_place(tower, places, vectors):
        return encode_tokens(tower, components, [[token.number for token in chunk]])


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
