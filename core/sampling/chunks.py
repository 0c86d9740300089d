"""Prompts cut into the chunks that a text encoder takes, each token with its weight.

Imports no torch. The cutting is that of AUTOMATIC1111's web UI: 75 tokens a chunk, and where a
chunk is full, what follows its last comma moves to the next one if that is no more than 20 tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from core.errors import Unsupported
from core.sampling.prompt_syntax import parse

COMMA_REACH = 20
"""Tokens after a comma that are kept together at a chunk's end."""

Tokenize = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True)
class Token:
    """One place of a chunk.

    Attributes:
        number: Of the token in the vocabulary; any, where an embedding's vector takes the place.
        weight: 1 as it stands.
        vector: The embedding's word and which of its vectors, or None.
    """

    number: int
    weight: float
    vector: tuple[str, int] | None = None


Chunk = list[Token]


@dataclass(slots=True)
class _Cutter:
    """Fills chunks token by token."""

    size: int
    comma: int
    done: list[Chunk] = field(default_factory=list)
    chunk: Chunk = field(default_factory=list)
    after_comma: int = 0

    def close(self) -> None:
        """End the chunk; the next begins empty."""
        self.done.append(self.chunk)
        self.chunk = []
        self.after_comma = 0

    def add(self, token: Token) -> None:
        """Put a token into the chunk, or where it is full into the next."""
        if token.number == self.comma and token.vector is None:
            if len(self.chunk) == self.size:
                self.close()
            self.chunk.append(token)
            self.after_comma = len(self.chunk)
            return
        if len(self.chunk) == self.size:
            rest: Chunk = []
            if self.after_comma and self.size - self.after_comma < COMMA_REACH:
                rest = self.chunk[self.after_comma :]
                del self.chunk[self.after_comma :]
            self.close()
            self.chunk = rest
        self.chunk.append(token)

    def add_together(self, tokens: Chunk) -> None:
        """Put tokens into one chunk, the next one if this has no room for all."""
        if len(self.chunk) + len(tokens) > self.size:
            self.close()
        self.chunk += tokens


def cut(prompt: str, *, tokenize: Tokenize, size: int, words: Mapping[str, int]) -> list[Chunk]:
    """Cut a prompt.

    Args:
        prompt: In the notation of ``core.sampling.prompt_syntax``.
        tokenize: Gives a text's tokens, without those for begin and end.
        size: Tokens of a chunk.
        words: The embeddings' words and how many vectors each has.

    Returns:
        At least one chunk of at most ``size`` tokens.

    Raises:
        Unsupported: If an embedding has more vectors than a chunk has places.
    """
    cutter = _Cutter(size, tokenize(",")[0])
    finder = _finder(words)
    for number, part in enumerate(parse(prompt)):
        if number:
            cutter.close()
        for segment in part:
            for text, word in _pieces(segment.text, finder):
                for token in tokenize(text):
                    cutter.add(Token(token, segment.weight))
                if word is not None:
                    _check_room(word, words[word], size)
                    cutter.add_together(
                        [Token(0, segment.weight, (word, i)) for i in range(words[word])]
                    )
    if cutter.chunk or not cutter.done:
        cutter.close()
    return cutter.done


def words_used(prompt: str, words: Collection[str]) -> frozenset[str]:
    """Say which of the embeddings' words stand in a prompt, in small or capital letters."""
    if (finder := _finder(words)) is None:
        return frozenset()
    pattern, names = finder
    return frozenset(names[(m["a"] or m["b"]).lower()] for m in pattern.finditer(prompt))


def _finder(words: Collection[str]) -> tuple[re.Pattern[str], dict[str, str]] | None:
    """Find any of the words, alone, in angle brackets or after ``embedding:``."""
    if not words:
        return None
    # Of two words that begin alike the longer one is meant.
    names = sorted(words, key=len, reverse=True)
    any_name = "|".join(re.escape(name) for name in names)
    pattern = re.compile(
        rf"<(?P<a>{any_name})>|(?<!\w)(?:embedding:)?(?P<b>{any_name})(?!\w)", re.IGNORECASE
    )
    return pattern, {name.lower(): name for name in names}


def pieces(text: str, words: Collection[str]) -> list[tuple[str, str | None]]:
    """Part a plain text into stretches, each with the one of ``words`` that ends it."""
    return _pieces(text, _finder(words))


def _pieces(
    text: str, finder: tuple[re.Pattern[str], dict[str, str]] | None
) -> list[tuple[str, str | None]]:
    """Part a text into stretches, each with the embedding's word that ends it."""
    if finder is None:
        return [(text, None)]
    pattern, names = finder
    pieces: list[tuple[str, str | None]] = []
    position = 0
    for found in pattern.finditer(text):
        word = names[(found["a"] or found["b"]).lower()]
        pieces.append((text[position : found.start()], word))
        position = found.end()
    return [*pieces, (text[position:], None)]


def _check_room(word: str, vectors: int, size: int) -> None:
    if vectors > size:
        raise Unsupported(
            f"The embedding {word!r} has {vectors} vectors and the text encoder takes {size} at "
            "once; leave it out of the prompt."
        )
