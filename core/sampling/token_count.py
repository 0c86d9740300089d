"""How many tokens a prompt has for a model, counted without loading it. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from core.errors import InvalidRequest
from core.models.clip_tokenizer.vocabulary import (
    END,
    MAX_LENGTH,
    START,
    WORD_END,
    bundled_vocabulary,
)
from core.sampling.chunks import cut
from core.sampling.prompt_syntax import choose, take_loras

_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
"""What CLIP takes for a word (https://github.com/openai/CLIP, ``clip/simple_tokenizer.py``)."""

_FOLDERS = ("tokenizer", "tokenizer_2")


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
    """Counts tokens as a model's text encoder takes them."""

    def __init__(self, model: Path) -> None:
        """Read a model's vocabulary.

        Args:
            model: Its folder, or a single file, which has CLIP's own.

        Raises:
            OSError: The vocabulary cannot be read.
            ValueError: It is none.
        """
        self._tokenizer = _tokenizer(model)

    def count(self, prompt: str) -> TokenCount:
        """Count a prompt; of options that the seed chooses among, any; embeddings as words."""
        try:
            text, _ = take_loras(choose(prompt, 0), "prompts")
        except InvalidRequest:
            text = prompt
        chunks = cut(text, tokenize=self._tokens, size=MAX_LENGTH - 2, words={})
        return TokenCount(sum(map(len, chunks)), len(chunks))

    def _tokens(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)


def _tokenizer(model: Path) -> Tokenizer:
    vocab, merges = _vocabulary(model)
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, end_of_word_suffix=WORD_END, unk_token=END)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.add_special_tokens([START, END])
    return tokenizer


_Vocabulary = tuple[dict[str, int], list[tuple[str, str]]]


def _vocabulary(model: Path) -> _Vocabulary:
    """Give a model's tokens and merges, CLIP's own if it brings none."""
    folder = next((place for name in _FOLDERS if (place := model / name).is_dir()), None)
    if folder is None:
        return bundled_vocabulary()
    try:
        if (folder / "vocab.json").is_file():
            vocab = _read_json(folder / "vocab.json")
            text = (folder / "merges.txt").read_text(encoding="utf-8")
            rows = [line.split() for line in text.splitlines() if not line.startswith("#version")]
        else:
            both = _read_json(folder / "tokenizer.json")["model"]
            vocab = both["vocab"]
            rows = [row.split(" ") if isinstance(row, str) else row for row in both["merges"]]
        merges = [(left, right) for left, right in filter(None, rows)]
        known = all({left, right, left + right} <= vocab.keys() for left, right in merges)
        known = known and all(isinstance(number, int) for number in vocab.values())
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{folder} holds no vocabulary") from error
    if not known:
        raise ValueError(f"{folder} holds no vocabulary")
    return vocab, merges


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
