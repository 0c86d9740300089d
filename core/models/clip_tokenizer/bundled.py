"""CLIP's byte-pair encoder from the merges that lie beside this module (MIT, see LICENSE there).

Radford et al. 2021, arXiv:2103.00020; https://github.com/openai/CLIP.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

START = "<|startoftext|>"
END = "<|endoftext|>"
MAX_LENGTH = 77
"""Tokens of a prompt, both special ones included."""

_MERGES = Path(__file__).parent / "merges.txt"
_WORD_END = "</w>"


def bundled_tokenizer(pad_token: str) -> Any:
    """Build CLIP's tokenizer; Stable Diffusion 1.x pads with the end, OpenCLIP's models with "!".

    Args:
        pad_token: What texts are filled up with.
    """
    lines = _MERGES.read_text(encoding="utf-8").splitlines()
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines)]
    letters = _byte_letters()
    tokens = [*letters, *(letter + _WORD_END for letter in letters)]
    tokens += [left + right for left, right in merges]
    tokens += [START, END]
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,
        bos_token=START,
        eos_token=END,
        unk_token=END,
        pad_token=pad_token,
        model_max_length=MAX_LENGTH,
    )


def _byte_letters() -> list[str]:
    """Give a printable letter for each byte, in the order in which CLIP numbers them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + k) for k in range(len(others))]
