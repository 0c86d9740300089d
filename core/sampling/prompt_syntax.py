r"""What brackets mean in a prompt: weights, breaks, LoRAs and choices. Imports no torch.

The notation is that of AUTOMATIC1111's web UI, which most prompts that people share are written in
(https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features#attentionemphasis):

- ``(word)`` weighs 1.1 times, ``[word]`` a 1.1th, ``(word:1.3)`` 1.3 times; brackets nest;
- ``BREAK`` lets what follows begin a new chunk of the text encoder;
- ``<lora:name:0.8>`` applies a LoRA, ``<lora:name:0.5:0.8>`` with a weight of its own for the text
  encoder (first) and the UNet;
- ``{a|b}`` stands for one of its options, chosen by the seed.

A backslash makes the character after it a plain one: ``\(``, ``\[``, ``\{``, ``\|``, ``\<``,
``\\``. A bracket without its partner is a plain character too. A prompt without any of these is
one segment of weight 1, unchanged.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from core.errors import InvalidRequest

STRONGER = 1.1
"""What a pair of round brackets multiplies a weight by, and a pair of square ones divides by."""

LARGEST_WEIGHT = 100.0
"""Above it a number in brackets is read as text, and nested brackets add nothing more."""

_SPECIAL = r"\\()\[\]{}|<>"
_ESCAPE = rf"\\[{_SPECIAL}]"
_WEIGHT_MARK = re.compile(rf"{_ESCAPE}|[()\[\]]")
_CHOICE_MARK = re.compile(rf"{_ESCAPE}|[{{}}|]")
_TAG_MARK = re.compile(rf"{_ESCAPE}|<(?:lora|lyco):([^<>:{{}}|\\]+)((?::[^<>:{{}}|\\]*)*)>")
_NUMBER = re.compile(r":\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))\s*\Z")
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_FOREIGN_MARK = re.compile(
    rf"{_ESCAPE}"
    r"|(?P<mark>\[[^\[\]]{0,200}:\s*[0-9]*\.?[0-9]+\s*\]|\[[^\[\]|]{0,200}\|[^\[\]]{0,200}\]"
    r"|\bAND\b|<hypernet:[^<>]{1,200}>|(?<!\w)__[\w/ *-]{1,100}?__(?!\w))"
)
"""Prompt editing, alternation, composition, hypernetworks and files of wildcards."""

_OPENED_BY = {")": "(", "]": "["}


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of text of one weight."""

    text: str
    weight: float


Part = tuple[Segment, ...]
"""What stands between two breaks."""


@dataclass(frozen=True, slots=True)
class LoraTag:
    """A LoRA named in a prompt.

    Attributes:
        name: As it stands there.
        weight: Of the UNet's part.
        text_weight: Of the text encoder's part.
    """

    name: str
    weight: float
    text_weight: float


def parse(prompt: str) -> tuple[Part, ...]:
    """Read the weights and breaks of any text; nothing is an error.

    Returns:
        At least one part; one that says nothing is empty.
    """
    parts: list[list[Segment]] = [[]]
    for text, weight in _weighted(prompt):
        for number, piece in enumerate(_BREAK.split(text)):
            if number:
                parts.append([])
            if piece:
                parts[-1].append(Segment(piece, weight))
    return tuple(tuple(part) for part in parts)


def escape(text: str) -> str:
    """Write a text so that it is read as it stands (the word BREAK aside)."""
    return re.sub(rf"[{_SPECIAL}]", lambda found: "\\" + found[0], text)


def foreign_marks(prompt: str) -> tuple[str, ...]:
    """Give the marks of the web UI and its extensions that have no meaning here, each once."""
    marks = (mark["mark"] for mark in _FOREIGN_MARK.finditer(prompt))
    return tuple(dict.fromkeys(mark for mark in marks if mark))


def choose(prompt: str, seed: int) -> str:
    """Put one of its options in the place of each ``{a|b}``.

    The choice depends on the prompt and the seed alone. Choosing again changes nothing, so that
    the result can be recorded in the prompt's place. Braces without ``|`` are left as they are.
    """
    stack = [[""]]
    position = chosen = 0
    for mark in _CHOICE_MARK.finditer(prompt):
        stack[-1][-1] += prompt[position : mark.start()]
        position = mark.end()
        match mark[0]:
            case "{":
                stack.append([""])
            case "|" if len(stack) > 1:
                stack[-1].append("")
            case "}" if len(stack) > 1:
                options = stack.pop()
                if len(options) == 1:
                    stack[-1][-1] += "{" + options[0] + "}"
                else:
                    stack[-1][-1] += options[_draw(seed, chosen, len(options))]
                    chosen += 1
            case plain:
                stack[-1][-1] += plain
    stack[-1][-1] += prompt[position:]
    while len(stack) > 1:
        options = stack.pop()
        stack[-1][-1] += "{" + "|".join(options)
    return stack[0][0]


def take_loras(prompt: str, field: str) -> tuple[str, tuple[LoraTag, ...]]:
    """Part a prompt from the LoRAs that it names.

    Args:
        prompt: With its choices made.
        field: The setting that an error names.

    Raises:
        InvalidRequest: If a tag's weights are no numbers.
    """
    tags: list[LoraTag] = []
    while True:
        found = len(tags)

        def take(mark: re.Match[str]) -> str:
            if mark[1] is None:
                return mark[0]
            tags.append(_tag(mark, field))
            return ""

        # Taking one out may join its two sides to another; what is left must name none.
        prompt = _TAG_MARK.sub(take, prompt)
        if len(tags) == found:
            return prompt, tuple(tags)


def _weighted(prompt: str) -> list[tuple[str, float]]:
    """Give runs of text with their weights, those of equal weight joined."""
    runs: list[tuple[str, float]] = []
    weights = [1.0]
    position = 0
    pairs = _pairs(prompt)

    def add(text: str) -> None:
        if runs and runs[-1][1] == weights[-1]:
            text = runs.pop()[0] + text
        if text:
            runs.append((text, weights[-1]))

    for mark in _WEIGHT_MARK.finditer(prompt):
        pair = pairs.get(mark.start())
        # A closing bracket's number belongs to the notation.
        add(prompt[position : mark.start() if pair is None else pair.text_end])
        position = mark.end()
        if pair is None:
            add(mark[0][-1])
        elif mark[0] in _OPENED_BY:
            weights.pop()
        else:
            weights.append(_bounded(weights[-1] * pair.factor))
    add(prompt[position:])
    return runs


@dataclass(frozen=True, slots=True)
class _End:
    """One bracket of a pair: what the pair multiplies by, and where the text before it ends."""

    factor: float
    text_end: int


def _pairs(prompt: str) -> dict[int, _End]:
    """Find the brackets that have a partner, by position."""
    pairs: dict[int, _End] = {}
    opened: list[tuple[str, int]] = []
    waiting = {"(": 0, "[": 0}
    last = 0
    for mark in _WEIGHT_MARK.finditer(prompt):
        letter, start = mark[0], mark.start()
        if letter in waiting:
            opened.append((letter, start))
            waiting[letter] += 1
        elif letter in _OPENED_BY and waiting[_OPENED_BY[letter]]:
            while True:
                # Those in between never close: they are plain characters.
                kind, begin = opened.pop()
                waiting[kind] -= 1
                if kind == _OPENED_BY[letter]:
                    break
            number = _NUMBER.search(prompt, last, start) if letter == ")" else None
            factor = STRONGER if letter == ")" else 1 / STRONGER
            text_end = start
            if number is not None and abs(float(number[1])) <= LARGEST_WEIGHT:
                factor, text_end = float(number[1]), number.start()
            pairs[begin] = _End(factor, begin)
            pairs[start] = _End(factor, text_end)
        last = mark.end()
    return pairs


def _bounded(weight: float) -> float:
    return max(-LARGEST_WEIGHT, min(LARGEST_WEIGHT, weight))


def _draw(seed: int, number: int, options: int) -> int:
    """Choose evenly, and equally in every version of Python."""
    digest = hashlib.sha256(f"{seed} {number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % options


def _tag(mark: re.Match[str], field: str) -> LoraTag:
    """Read a tag: ``:unet``, ``:text:unet``, or either by name (``te=``, ``unet=``)."""
    places = iter(("te", "unet"))
    given: dict[str, float] = {}
    try:
        for word in mark[2].split(":")[1:]:
            name, equals, value = word.rpartition("=")
            name = name.strip() if equals else next(places)
            if name not in ("te", "unet"):
                raise ValueError(name)
            given[name] = float(value)
            if not abs(given[name]) <= LARGEST_WEIGHT:
                raise ValueError(value)
    except (ValueError, StopIteration):
        raise InvalidRequest(
            field, f"{mark[0]} is not understood; write it as <lora:{mark[1]}:0.8>."
        ) from None
    text_weight = given.get("te", 1.0)
    return LoraTag(mark[1].strip(), given.get("unet", text_weight), text_weight)
