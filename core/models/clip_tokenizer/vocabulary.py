"""CLIP's vocabulary from the merges that lie beside this module (MIT, see LICENSE there).

Radford et al. 2021, arXiv:2103.00020; https://github.com/openai/CLIP. Imports no torch.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

START = "<|startoftext|>"
END = "<|endoftext|>"
MAX_LENGTH = 77
"""Tokens of a prompt, both special ones included."""

WORD_END = "</w>"

_MERGES = Path(__file__).parent / "merges.txt"


def bundled_merges() -> list[tuple[str, str]]:
    """Give the pairs that are merged, in their order."""
    return list(_read().merges)


def bundled_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Give the tokens' numbers, and the pairs that are merged, in their order."""
    vocabulary = _read()
    return dict(vocabulary.numbers), list(vocabulary.merges)


class _Vocabulary(NamedTuple):
    numbers: dict[str, int]
    merges: list[tuple[str, str]]


@cache
def _read() -> _Vocabulary:
    """Read it once; callers are given copies, which may grow."""
    lines = _MERGES.read_text(encoding="utf-8").splitlines()
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines)]
    letters = list(byte_letters().values())
    tokens = [*letters, *(letter + WORD_END for letter in letters)]
    tokens += [left + right for left, right in merges]
    tokens += [START, END]
    return _Vocabulary({token: number for number, token in enumerate(tokens)}, merges)


def byte_letters() -> dict[int, str]:
    """Give a printable letter for each byte, in the order in which CLIP numbers them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    return letters | {byte: chr(256 + k) for k, byte in enumerate(others)}
