"""Draw Things: JSON in EXIF's comment, which PNG has inside XMP. Imports no torch."""

from __future__ import annotations

import re
from typing import Any

from core.images import exif_text, xmp
from core.images.foreign import Foreign, UsedLora, UsedRefiner
from core.images.loose_json import (
    as_float,
    as_int,
    as_list,
    as_object,
    as_shown,
    as_text,
    json_object,
    says_nothing,
)
from core.images.texts import Texts

_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")
_TAKEN = {
    "c",
    "uc",
    "steps",
    "sampler",
    "scale",
    "seed",
    "size",
    "model",
    "strength",
    "clip_skip",
    "lora",
    "v2",
}
_HARMLESS = {"seed_mode", "profile"}


def read(texts: Texts) -> Foreign | None:
    """Read its JSON; None if there is none."""
    for name in (xmp.USER_COMMENT, exif_text.USER_COMMENT):
        values = json_object(texts.get(name))
        if values is not None and "c" in values and "scale" in values:
            return _foreign(values, texts.get(xmp.CREATOR_TOOL) or "Draw Things")
    return None


def _foreign(values: dict[str, Any], program: str) -> Foreign:
    size = _SIZE.fullmatch(as_text(values.get("size")))
    strength = as_float(values.get("strength"))
    return Foreign(
        source="draw-things",
        program=program,
        prompt=as_text(values.get("c")),
        negative_prompt=as_text(values.get("uc")),
        steps=as_int(values.get("steps")),
        sampler=as_text(values.get("sampler")),
        guidance_scale=as_float(values.get("scale")),
        seed=as_int(values.get("seed")),
        width=int(size[1]) if size else None,
        height=int(size[2]) if size else None,
        # It writes a strength always; a start picture counts for nothing at 1.
        strength=strength if strength is not None and strength < 1 else None,
        model=as_text(values.get("model")),
        refiner=_refiner(as_object(values.get("v2"))),
        clip_skip=as_int(values.get("clip_skip")),
        loras=tuple(_lora(as_object(lora)) for lora in as_list(values.get("lora"))),
        unexpressed={
            key: as_shown(value)
            for key, value in values.items()
            if key not in _TAKEN | _HARMLESS and not says_nothing(value)
        },
        details={key: as_shown(value) for key, value in values.items() if key in _HARMLESS},
    )


def _refiner(values: dict[str, Any]) -> UsedRefiner | None:
    """Read the model that took over, of which the newer form of its settings speaks alone."""
    name = as_text(values.get("refinerModel"))
    return UsedRefiner(name=name, start=as_float(values.get("refinerStart"))) if name else None


def _lora(values: dict[str, Any]) -> UsedLora:
    weight = as_float(values.get("weight"))
    return UsedLora(name=as_text(values.get("model")), weight=1.0 if weight is None else weight)
