"""Mochi Diffusion: ``Key: value; Key: value`` in the caption. Imports no torch.

The caption is IPTC's, which Apple's ImageIO also writes as XMP's description. A prompt may hold
``; `` itself, so only the program's own keys part the text.
"""

from __future__ import annotations

import re

from core.images import exif_text, xmp
from core.images.foreign import Foreign
from core.images.loose_json import as_float, as_int, as_shown
from core.images.texts import CAPTION, Texts

_KEYS = (
    "Include in Image",
    "Exclude from Image",
    "Prompt",
    "Negative",
    "Guidance",
    "Model",
    "Steps",
    "Guidance Scale",
    "Seed",
    "Size",
    "Starting Image",
    "ControlNet Image",
    "ControlNet",
    "Upscaler",
    "Scheduler",
    "ML Compute Unit",
    "Generator",
    "Date",
)
_RENAMED = {
    "Prompt": "Include in Image",
    "Negative": "Exclude from Image",
    "Guidance": "Guidance Scale",
}
"""The keys of its first versions."""

_KEY = re.compile(rf"(?:^|;\s)\s*({'|'.join(_KEYS)}): ?")
_SIZE = re.compile(r"\s*(\d{1,6})\s*x\s*(\d{1,6})\s*")
_SAMPLERS = {
    "dpm-solver++": "DPM++ 2M",
    "dpm-solver++ (karras)": "DPM++ 2M Karras",
    "dpm-solver++ karras": "DPM++ 2M Karras",
    "dpmsolvermultistepscheduler": "DPM++ 2M",
    "pndmscheduler": "PNDM",
}


def read(texts: Texts) -> Foreign | None:
    """Read its caption; None if there is none."""
    for name in (CAPTION, xmp.DESCRIPTION, exif_text.IMAGE_DESCRIPTION):
        caption = texts.get(name, "")
        if _KEY.match(caption) and "Mochi Diffusion" in caption:
            return _foreign(_values(caption))
    return None


def _values(caption: str) -> dict[str, str]:
    """Part the caption at its keys, each at its last mark.

    The prompts stand first, so that a mark that comes again later was part of a prompt.
    """
    marks = {mark[1]: mark for mark in _KEY.finditer(caption)}
    first = _KEY.match(caption)
    if first is not None:
        marks[first[1]] = first
    ordered = sorted(marks.values(), key=lambda mark: mark.start())
    ends = [*(mark.start() for mark in ordered[1:]), len(caption)]
    return {
        _RENAMED.get(mark[1], mark[1]): caption[mark.end() : end].strip()
        for mark, end in zip(ordered, ends, strict=True)
    }


def _foreign(values: dict[str, str]) -> Foreign:
    size = _SIZE.fullmatch(values.get("Size", ""))
    sampler = values.get("Scheduler", "")
    unexpressed = ("ControlNet Image", "ControlNet", "Upscaler")
    details = ("ML Compute Unit", "Date")
    return Foreign(
        source="mochi",
        program=values.get("Generator", "Mochi Diffusion"),
        prompt=values.get("Include in Image", ""),
        negative_prompt=values.get("Exclude from Image", ""),
        steps=as_int(values.get("Steps")),
        sampler=_SAMPLERS.get(sampler.casefold(), sampler),
        guidance_scale=as_float(values.get("Guidance Scale")),
        seed=as_int(values.get("Seed")),
        width=int(size[1]) if size else None,
        height=int(size[2]) if size else None,
        start_picture=values.get("Starting Image", ""),
        model=values.get("Model", ""),
        unexpressed={key: as_shown(values[key]) for key in unexpressed if values.get(key)},
        details={key: as_shown(values[key]) for key in details if values.get(key)},
    )
