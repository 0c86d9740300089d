"""How many tokens a prompt has for a model, counted without loading it. Imports no torch.

In plain Python, which lets a window go on meanwhile: building a tokenizer of the ``tokenizers``
library holds the interpreter's lock for longer than a window may stand still.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

from core.errors import InvalidRequest
from core.models.clip_tokenizer.vocabulary import (
    END,
    MAX_LENGTH,
    START,
    WORD_END,
    bundled_merges,
    byte_letters,
)
from core.sampling.chunks import cut
from core.sampling.prompt_syntax import choose, take_loras

_APART = re.compile(rf"({re.escape(START)}|{re.escape(END)})|('s|'t|'re|'ve|'m|'ll|'d)")
"""What is a word wherever it stands: the special tokens, and the ends of English contractions."""

_FOLDERS = ("tokenizer", "tokenizer_2")

Merges = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The length of a prompt.

    Attributes:
        tokens: Those that the encoder adds aside.
        blocks: How many times the encoder is asked for them.
    """

    tokens: int
    blocks: int


class TokenCounter:
    """Cuts prompts into tokens as a model's text encoder takes them.

    That is CLIP's byte-pair encoding (https://github.com/openai/CLIP, ``simple_tokenizer.py``).
    """

    def __init__(self, model: Path) -> None:
        """Read a model's merges.

        Args:
            model: Its folder, or a single file, which has CLIP's own.

        Raises:
            OSError: They cannot be read.
            ValueError: They are none.
        """
        self._ranks = {pair: rank for rank, pair in enumerate(_merges(model))}
        self._letters = byte_letters()
        self._numbers: dict[str, int] = {}

    def count(self, prompt: str) -> TokenCount:
        """Count a prompt; of options that the seed chooses among, any; embeddings as words."""
        try:
            text, _ = take_loras(choose(prompt, 0), "prompts")
        except InvalidRequest:
            text = prompt
        chunks = cut(text, tokenize=self._tokenize, size=MAX_LENGTH - 2, words={})
        return TokenCount(sum(map(len, chunks)), len(chunks))

    def tokens(self, text: str) -> list[str]:
        """Cut a plain text."""
        found: list[str] = []
        for word in _words(unicodedata.normalize("NFC", text).lower()):
            found += [word] if word in (START, END) else self._pieces(word)
        return found

    def _tokenize(self, text: str) -> list[int]:
        # Which number a token has does not matter here, only that it is the same every time.
        return [self._numbers.setdefault(t, len(self._numbers)) for t in self.tokens(text)]

    def _pieces(self, word: str) -> list[str]:
        """Merge a word's bytes, the pair that comes first in the list first."""
        pieces = [self._letters[byte] for byte in word.encode(errors="replace")]
        pieces[-1] += WORD_END
        while len(pieces) > 1:
            last = len(self._ranks)
            best = min(pairwise(pieces), key=lambda pair: self._ranks.get(pair, last))
            if best not in self._ranks:
                break
            pieces = _joined(pieces, best)
        return pieces


def _words(text: str) -> Iterator[str]:
    """Part a text into runs of letters, single digits, and runs of other signs."""
    for apart, end, between in _parted(text):
        if apart or end:
            yield apart or end
            continue
        for kind, letters in groupby(between, _kind):
            if kind == "N":
                yield from letters
            elif kind:
                yield "".join(letters)


def _parted(text: str) -> Iterator[tuple[str, str, str]]:
    position = 0
    for mark in _APART.finditer(text):
        yield "", "", text[position : mark.start()]
        yield mark[1] or "", mark[2] or "", ""
        position = mark.end()
    yield "", "", text[position:]


def _kind(letter: str) -> str:
    """Give ``L`` for a letter, ``N`` for a number, nothing for a space and ``S`` for the rest."""
    if letter.isspace():
        return ""
    kind = unicodedata.category(letter)[0]
    return kind if kind in "LN" else "S"


def _joined(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """Join every pair of neighbours that are these two."""
    joined: list[str] = []
    left = iter(range(len(pieces)))
    for at in left:
        if tuple(pieces[at : at + 2]) == pair:
            joined.append(pieces[at] + pieces[at + 1])
            next(left, None)
        else:
            joined.append(pieces[at])
    return joined


def _merges(model: Path) -> Merges:
    """Give a model's merges, CLIP's own if it brings none."""
    folder = next((place for name in _FOLDERS if (place := model / name).is_dir()), None)
    if folder is None:
        return bundled_merges()
    try:
        if (folder / "merges.txt").is_file():
            text = (folder / "merges.txt").read_text(encoding="utf-8")
            rows = [line.split() for line in text.splitlines() if not line.startswith("#version")]
        else:
            whole = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
            given = whole["model"]["merges"]
            rows = [row.split(" ") if isinstance(row, str) else row for row in given]
        return [(str(left), str(right)) for left, right in filter(None, rows)]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{folder} holds no merges") from error
