"""The starter model's CLIP tokenizer: a token for each word of its grammar, bytes for the rest.

Byte-pair encoding over UTF-8 bytes (Sennrich et al. 2016, arXiv:1508.07909; Radford et al. 2021,
arXiv:2103.00020), so any text in any script tokenises. Both files are written in CLIP's own form,
because readers of converted models look for ``vocab.json`` and ``merges.txt`` by name.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

START = "<|startoftext|>"
END = "<|endoftext|>"
MAX_LENGTH = 77
"""Tokens of a prompt, both special ones included, as in Stable Diffusion."""

_WORD_END = "</w>"


def write_tokenizer(words: list[str], folder: Path) -> CLIPTokenizer:
    """Write a tokenizer in which each of ``words`` is one token, and load it.

    Args:
        words: Lower-case words; the earlier ones get the lower numbers.
        folder: Where ``vocab.json``, ``merges.txt`` and ``tokenizer_config.json`` go.
    """
    merges = _merges(words)
    letters = _byte_letters()
    tokens = [*letters, *(letter + _WORD_END for letter in letters)]
    tokens += dict.fromkeys("".join(pair) for pair in merges)
    tokens += [START, END]
    folder.mkdir(parents=True, exist_ok=True)
    vocab = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_LENGTH,
        "bos_token": START,
        "eos_token": END,
        "pad_token": END,
        "unk_token": END,
        "errors": "replace",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    return CLIPTokenizer.from_pretrained(folder)


def _byte_letters() -> list[str]:
    """Give a printable letter for each byte, in the order that byte-level BPE numbers them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + k) for k in range(len(others))]


def _merges(words: list[str]) -> list[tuple[str, str]]:
    """Find merges, lowest rank first, after which every word is a single token.

    Each word is encoded with the merges so far; what is left in pieces gets merges of its first two
    pieces until it is whole. Later merges rank behind earlier ones, so a word once whole stays so.
    """
    merges: dict[tuple[str, str], int] = {}
    for word in words:
        pieces = [*word[:-1], word[-1] + _WORD_END]
        while len(pieces) > 1:
            pairs = list(pairwise(pieces))
            known = [pair for pair in pairs if pair in merges]
            best = min(known, key=merges.__getitem__) if known else pairs[0]
            merges.setdefault(best, len(merges))
            pieces = _join(pieces, best)
    return list(merges)


def _join(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    joined: list[str] = []
    position = 0
    while position < len(pieces):
        if tuple(pieces[position : position + 2]) == pair:
            joined.append(pieces[position] + pieces[position + 1])
            position += 2
        else:
            joined.append(pieces[position])
            position += 1
    return joined
