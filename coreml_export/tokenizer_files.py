"""``vocab.json`` and ``merges.txt`` as the Swift readers take them, learned words included.

Apple's reader (``BPETokenizer.swift`` in https://github.com/apple/ml-stable-diffusion) parts a text
at spaces alone, turns it into small letters, and merges each word's letters pair by pair, the
earliest line of ``merges.txt`` first; what it ends with is looked up in ``vocab.json``. A word of
its own therefore needs an entry and the pairs that lead to it, behind all others, so that other
words are cut as before. Two limits come with the form: a learned word has to stand between spaces,
and one of several vectors is as many words, ``word word_1 word_2``, as diffusers calls them too.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from core.models.clip_tokenizer.vocabulary import WORD_END

Pair = tuple[str, str]


@dataclass(slots=True)
class Vocabulary:
    """A byte-pair encoder that learns words.

    Attributes:
        numbers: Of the tokens.
        pairs: What is merged, the earliest first.
        rows: Rows of the text encoder's table: the next token gets the number after the last.
        words: The numbers of each learned word's vectors, in order.
        between: New tokens on the way to a word, by their numbers, which follow those of all words,
            each with the numbers of the two that it is made of; it means what these mean together.
    """

    numbers: dict[str, int]
    pairs: list[Pair]
    rows: int
    words: dict[str, tuple[int, ...]] = field(default_factory=dict)
    between: dict[int, tuple[int, int]] = field(default_factory=dict)

    def learn(self, words: Mapping[str, int]) -> None:
        """Take in words, each with its count of vectors.

        What the Swift readers cannot spell gets numbers alone.
        """
        spelled: list[tuple[str, int]] = []
        for word, count in words.items():
            first, self.rows = self.rows, self.rows + count
            self.words[word] = tuple(range(first, self.rows))
            spelled += zip(spellings(word, count), self.words[word], strict=True)
        for spelling, number in spelled:
            if can_be_spelled(spelling):
                self._spell(spelling.lower(), number)

    def _spell(self, word: str, number: int) -> None:
        """Have the pairs that merge a word's letters, and its number."""
        first, *rest = self.pieces(word)
        for piece in rest:
            self.pairs.append((first, piece))
            parts = (self.numbers[first], self.numbers[piece])
            first += piece
            if first not in self.numbers and not first.endswith(WORD_END):
                self.numbers[first] = self.rows
                self.between[self.rows] = parts
                self.rows += 1
        self.numbers[first] = number

    def pieces(self, word: str) -> list[str]:
        """Cut a word as the Swift reader does."""
        ranks = {pair: rank for rank, pair in enumerate(self.pairs)}
        pieces = [*word[:-1], word[-1] + WORD_END]
        while pairs := [pair for pair in pairwise(pieces) if pair in ranks]:
            pieces = _merged(pieces, min(pairs, key=ranks.__getitem__))
        return pieces


def _merged(pieces: Sequence[str], pair: Pair) -> list[str]:
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def spellings(word: str, count: int) -> list[str]:
    """Give what stands for each vector of a word, as diffusers names them."""
    return [word, *(f"{word}_{i}" for i in range(1, count))]


def can_be_spelled(word: str) -> bool:
    """Whether the Swift readers can find a word.

    They know printable ASCII, part at spaces, and pass over a line of ``merges.txt`` that begins
    with ``#``, as every pair of a word that does would.
    """
    return word.isascii() and word.isprintable() and " " not in word and not word.startswith("#")
