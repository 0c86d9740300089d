"""What a picture is said to show: words of a file's name, a trigger word, tags in another order.

Imports no torch.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

from core.training.config_parts import DataSettings

_CAMERA = re.compile(r"(img|dsc[nf]?|pxl|mvimg|gopr|p)[\s_-]*\d[\d\s_()~-]*", re.IGNORECASE)
"""Names that cameras give, which say nothing of what is to be seen."""

_NUMBER = re.compile(r"\(?\d+\)?|[0-9a-fA-F]{16,}")
"""Words that count a file or are its hash."""


def words_of(picture: Path) -> str:
    """Read a caption from a picture's name: ``007_red_star_0001.png`` is ``red star``.

    Underscores part words, and so do hyphens where nothing else does. Numbers and hashes at both
    ends are left out. The name that a camera gave holds no words.
    """
    name = picture.stem
    if _CAMERA.fullmatch(name):
        return ""
    if "_" not in name and " " not in name:
        name = name.replace("-", " ")
    words = said(name).split()
    while words and _NUMBER.fullmatch(words[-1]):
        words.pop()
    while words and _NUMBER.fullmatch(words[0]):
        words.pop(0)
    return " ".join(words)


def said(name: str) -> str:
    """Read a file's or folder's name as a text, in which underscores part words."""
    # What a disk holds that is no Unicode could be no caption.
    text = name.encode(errors="replace").decode()
    return " ".join(text.replace("_", " ").split())


def with_trigger(caption: str, trigger: str) -> str:
    """Put the trigger words before a caption, parted by a comma, unless they stand in it."""
    trigger = trigger.strip()
    if not trigger or re.search(rf"(?<!\w){re.escape(trigger)}(?!\w)", caption, re.IGNORECASE):
        return caption
    return f"{trigger}, {caption}" if caption else trigger


def shuffled(caption: str, keep: int, chance: random.Random) -> str:
    """Shuffle what commas part in a caption, the first ``keep`` of them aside."""
    tags = [tag for part in caption.split(",") if (tag := part.strip())]
    rest = tags[keep:]
    chance.shuffle(rest)
    return ", ".join(tags[:keep] + rest)


def shown_caption(caption: str, settings: DataSettings, chance: random.Random) -> str:
    """Give the caption of one showing of a picture.

    Args:
        caption: The picture's own.
        settings: Say whether it may be left out or shuffled, and what stands before it.
        chance: Of this showing.
    """
    if chance.random() < settings.caption_dropout:
        return ""
    if settings.shuffle_tags:
        caption = shuffled(caption, settings.keep_tags, chance)
    return with_trigger(caption, settings.trigger)
