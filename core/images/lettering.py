"""Text for pictures: wrapped to a width, in a font that every machine has. Imports no torch.

Pillow brings a font of its own, which is small: English letters and signs. Where a text has others,
the first of the system's usual fonts that has them is taken; a letter that nobody has loses its
accent, or shows as an empty box. So a text can always be drawn.
"""

from __future__ import annotations

import functools
import unicodedata
from typing import Any

from PIL import ImageFont

Font = Any
"""One of Pillow's scalable fonts."""

SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "segoeui.ttf",
    "msyh.ttc",
    "YuGothM.ttc",
    "malgun.ttf",
    "Arial Unicode.ttf",
    "Hiragino Sans GB.ttc",
)
"""Files that Linux, Windows and macOS bring for the scripts of the world; none must be there."""

LONGEST = 2000
"""Letters of a text that are looked at; no label has room for more."""

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"

_NOT_A_LETTER = "\uffff"
_PLAIN = {
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{HORIZONTAL ELLIPSIS}": "...",
}


def font_for(text: str, size: int) -> Font:
    """Give a font that has most of a text's letters, Pillow's own if it has all.

    Args:
        text: What is to be drawn.
        size: In pixels.
    """
    letters = sorted(set(text))
    best, fewest = _own_font(size), len(_missing(letters, _own_font(size)))
    for name in SYSTEM_FONTS:
        if not fewest:
            break
        font = _system_font(name, size)
        if font is not None and (missing := len(_missing(letters, font))) < fewest:
            best, fewest = font, missing
    return best


def wrapped(text: str, size: int, width: int, most: int) -> tuple[Font, list[str]]:
    """Break a text into lines.

    Args:
        text: Any text; line breaks and runs of blanks count as one blank.
        size: Of its letters, in pixels.
        width: In pixels that a line may have; a longer word is broken.
        most: Lines at most; a text that needs more ends in an ellipsis.

    Returns:
        The font, and no line for an empty text.
    """
    text = unicodedata.normalize("NFC", text[:LONGEST])
    text = "".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in text)
    font = font_for(text, size)
    words = [_drawable(word, font) for word in text.split()]
    lines: list[str] = []
    while words and len(lines) <= most:
        lines.append(_line(words, font, width))
    if len(lines) > most:
        lines = lines[:most]
        lines[-1] = _shortened(lines[-1], font, width)
    return font, lines


def _line(words: list[str], font: Font, width: int) -> str:
    """Take as many words as fit a line, and of the first one at least a letter."""
    line = words[0]
    if font.getlength(line) > width:
        fits = max(1, _letters_that_fit(line, font, width))
        words[0] = line[fits:]
        if not words[0]:
            words.pop(0)
        return line[:fits]
    words.pop(0)
    while words and font.getlength(f"{line} {words[0]}") <= width:
        line = f"{line} {words.pop(0)}"
    return line


def _letters_that_fit(word: str, font: Font, width: int) -> int:
    fits = 0
    while fits < len(word) and font.getlength(word[: fits + 1]) <= width:
        fits += 1
    return fits


def _shortened(line: str, font: Font, width: int) -> str:
    end = _drawable(ELLIPSIS, font)
    while line and font.getlength(line + end) > width:
        line = line[:-1]
    return line.rstrip() + end


def _drawable(word: str, font: Font) -> str:
    """Put plain letters in the place of those that the font lacks, where there are any."""
    missing = _missing(sorted(set(word)), font)
    return "".join(_plain(letter) if letter in missing else letter for letter in word)


def _plain(letter: str) -> str:
    bare = unicodedata.normalize("NFKD", letter)
    bare = "".join(part for part in bare if not unicodedata.combining(part))
    return _PLAIN.get(letter) or (bare if bare.isascii() and bare else letter)


def _missing(letters: list[str], font: Font) -> set[str]:
    return {letter for letter in letters if not _has(font, letter)}


@functools.cache
def _has(font: Font, letter: str) -> bool:
    """Whether a font has a letter: what it lacks, it draws as it draws no letter at all."""
    return bytes(font.getmask(letter)) != bytes(font.getmask(_NOT_A_LETTER))


@functools.cache
def _own_font(size: int) -> Font:
    return ImageFont.load_default(size)


@functools.cache
def _system_font(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None
