"""How other programs mark weights and embeddings in prompts, and the same in ours.

Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from itertools import groupby
from operator import itemgetter

from core.sampling.prompt_syntax import LARGEST_WEIGHT, escape


class Notation(StrEnum):
    """Whose marks a prompt has."""

    WEB_UI = "web-ui"
    """Those of AUTOMATIC1111's web UI, which are ours; see ``core.sampling.prompt_syntax``."""

    COMFYUI = "comfyui"
    """The same round brackets; square ones mean nothing, and ``embedding:name`` is one."""

    INVOKEAI = "invokeai"
    """``word++``, ``(words)1.2`` and, for an embedding, ``<name>``
    (https://github.com/damian0815/compel/blob/main/doc/syntax.md)."""

    NOVELAI = "novelai"
    """``{words}`` weighs 1.05 times, ``[words]`` a 1.05th, ``1.2::words::`` 1.2 times
    (https://docs.novelai.net/image/strengthening-weakening.html)."""


def in_ours(prompt: str, notation: Notation) -> str:
    """Write a prompt in the notation of requests; embeddings become plain words."""
    return _READERS[notation](prompt)


def embeddings_in(notation: Notation, *prompts: str) -> tuple[str, ...]:
    """Give the words that prompts mark as embeddings, each once."""
    pattern = _EMBEDDINGS.get(notation)
    marks = [mark[1] for prompt in prompts for mark in pattern.finditer(prompt)] if pattern else []
    return tuple(dict.fromkeys(map(_word, marks)))


_EMBEDDINGS = {
    Notation.COMFYUI: re.compile(r"\bembedding:([^\s,:()\[\]{}<>|]{0,200}[\w-])"),
    Notation.INVOKEAI: re.compile(r"<([\w., -]{1,200})>"),
}

_ENDINGS = (".safetensors", ".pt", ".bin")

_COMPEL = re.compile(
    r"\\(?P<plain>.)"
    r"|<(?P<embedding>[\w., -]{1,200})>(?P<strength>\++|-+)?"
    r"|(?P<open>\()"
    r"|(?P<close>\))(?P<weight>\++|-+|(?:\d+\.?\d*|\.\d+)(?!\w))?"
    r"|(?P<word>[^\s()\\,<>]+)",
    re.DOTALL,
)
_STRONGER, _WEAKER = 1.1, 0.9
"""What each plus and each minus multiplies a weight by."""

_NOVELAI = re.compile(r"(?P<number>-?(?:\d+\.?\d*|\.\d+))?::|(?P<open>[{\[])|(?P<close>[}\]])")
_BRACES = 1.05
_FACTORS = {"}": _BRACES, "]": 1 / _BRACES}
_OPENED_BY = {"}": "{", "]": "["}


def _word(name: str) -> str:
    """Give the word for an embedding that is named by its file."""
    last = re.split(r"[\\/]", name)[-1]
    ending = next((e for e in _ENDINGS if last.lower().endswith(e)), "")
    return last[: len(last) - len(ending)].strip()


class _Weighed:
    """Texts and the groups around them, whose weights are known when they end."""

    def __init__(self) -> None:
        self._row: list[str | float | None] = []
        """Texts; for a group its factor where it begins and None where it ends."""
        self._open: list[int] = []

    def add(self, text: str, weight: float = 1.0) -> None:
        """Add a text."""
        if text:
            self._row += [text] if weight == 1 else [weight, text, None]

    def begin(self, mark: str | float) -> None:
        """Open a group: by a bracket, which stays a plain character until one closes it."""
        self._open.append(len(self._row))
        self._row.append(mark)

    def is_in(self, kind: type[str] | type[float], mark: str = "") -> bool:
        """Whether the innermost group is one of a bracket, or of a number."""
        found = self._row[self._open[-1]] if self._open else None
        return isinstance(found, kind) and mark in ("", found)

    def end(self, factor: float | None = None) -> None:
        """Close the innermost group, of which a bracket weighs by ``factor``."""
        begin = self._open.pop()
        if factor is not None:
            self._row[begin] = factor
        self._row.append(None)

    def written(self) -> str:
        """Give all of it in our notation."""
        weights = [1.0]
        runs: list[tuple[str, float]] = []
        for part in self._row:
            if part is None:
                weights.pop()
            elif isinstance(part, str):
                weight = max(-LARGEST_WEIGHT, min(LARGEST_WEIGHT, weights[-1]))
                runs.append((part, float(f"{weight:.4g}")))
            else:
                weights.append(weights[-1] * part)
        return "".join(
            _group("".join(text for text, _ in alike), weight)
            for weight, alike in groupby(runs, itemgetter(1))
        )


def _group(text: str, weight: float) -> str:
    """Write a text of one weight."""
    if weight == 1 or not text.strip():
        return escape(text)
    return f"({escape(text)}:{weight:g})"


def _of_comfyui(prompt: str) -> str:
    named = _EMBEDDINGS[Notation.COMFYUI].sub(lambda mark: _word(mark[1]), prompt)
    return re.sub(r"\\.|[\[\]]", lambda m: m[0] if m[0][1:] else f"\\{m[0]}", named)


def _of_invokeai(prompt: str) -> str:
    runs, position = _Weighed(), 0
    for mark in _COMPEL.finditer(prompt):
        runs.add(prompt[position : mark.start()])
        position = mark.end()
        if mark["open"]:
            runs.begin("(")
        elif mark["close"] and runs.is_in(str):
            runs.end(_compel_weight(mark["weight"] or ""))
        elif mark["word"]:
            word = mark["word"].rstrip("+") if mark[0].endswith("+") else mark["word"].rstrip("-")
            marks = mark["word"][len(word) :]
            # Marks alone are a sign of their own.
            runs.add(word or marks, _compel_weight(marks) if word else 1.0)
        elif mark["embedding"]:
            runs.add(_word(mark["embedding"]), _compel_weight(mark["strength"] or ""))
        else:
            runs.add(mark["plain"] or mark[0])
    runs.add(prompt[position:])
    return runs.written()


def _compel_weight(marks: str) -> float:
    """Give what marks behind a word or a bracket multiply by."""
    if marks.strip("+-"):
        return float(marks)
    # More of them are no weight that anyone means, and their power is no number.
    count = min(len(marks), 100)
    return float((_STRONGER if marks.startswith("+") else _WEAKER) ** count)


def _of_novelai(prompt: str) -> str:
    runs, position = _Weighed(), 0
    for mark in _NOVELAI.finditer(prompt):
        runs.add(prompt[position : mark.start()])
        position = mark.end()
        if runs.is_in(float) and not mark["open"]:
            # What a number weighs ends at the next one, at two colons, and with its bracket.
            runs.end()
        if mark["open"]:
            runs.begin(mark["open"])
        elif mark["number"]:
            runs.begin(float(mark["number"]))
        elif mark["close"] and runs.is_in(str, _OPENED_BY[mark["close"]]):
            runs.end(_FACTORS[mark["close"]])
        elif mark["close"]:
            runs.add(mark["close"])
    runs.add(prompt[position:])
    return runs.written()


_READERS: dict[Notation, Callable[[str], str]] = {
    Notation.WEB_UI: str,
    Notation.COMFYUI: _of_comfyui,
    Notation.INVOKEAI: _of_invokeai,
    Notation.NOVELAI: _of_novelai,
}
