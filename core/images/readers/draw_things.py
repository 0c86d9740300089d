"""Draw Things: JSON in EXIF's comment, which PNG has inside XMP. Imports no torch."""

from __future__ import annotations

import re
from typing import Any

from core.images import exif_text, xmp
from core.images.foreign import Foreign, UsedLora, UsedRefiner, UsedSecondPass
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
    "refiner",
    "refiner_start",
    "v2",
}
_SECOND_PASS = {"hires_fix", "first_stage_size", "second_stage_strength"}
_HARMLESS = {"seed_mode", "profile"}


def read(texts: Texts) -> Foreign | None:
    """Read its JSON; None if there is none."""
    for name in (xmp.USER_COMMENT, exif_text.USER_COMMENT):
        values = json_object(texts.get(name))
        if values is not None and "c" in values and "scale" in values:
            return _foreign(values, texts.get(xmp.CREATOR_TOOL) or "Draw Things")
    return None


def _foreign(values: dict[str, Any], program: str) -> Foreign:
    whole, first = (
        _SIZE.fullmatch(as_text(values.get(key))) for key in ("size", "first_stage_size")
    )
    second_pass = _second_pass(values, whole) if first else None
    size = first if second_pass else whole
    taken = _TAKEN | _HARMLESS | (_SECOND_PASS if second_pass else set())
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
        refiner=_refiner(values),
        clip_skip=as_int(values.get("clip_skip")),
        loras=tuple(_lora(as_object(lora)) for lora in as_list(values.get("lora"))),
        second_pass=second_pass,
        unexpressed={
            key: as_shown(value)
            for key, value in values.items()
            if key not in taken and not says_nothing(value)
        },
        details={key: as_shown(value) for key, value in values.items() if key in _HARMLESS},
    )


def _refiner(values: dict[str, Any]) -> UsedRefiner | None:
    """Read the model that took over, from either form of the settings."""
    newer = as_object(values.get("v2"))
    if name := as_text(newer.get("refinerModel")):
        return UsedRefiner(name=name, start=as_float(newer.get("refinerStart")))
    name = as_text(values.get("refiner"))
    return UsedRefiner(name=name, start=as_float(values.get("refiner_start"))) if name else None


def _second_pass(values: dict[str, Any], whole: re.Match[str] | None) -> UsedSecondPass | None:
    """Read the pass from the first stage's size to the whole picture's."""
    if values.get("hires_fix") is not True or whole is None:
        return None
    strength = as_float(values.get("second_stage_strength"))
    return UsedSecondPass(width=int(whole[1]), height=int(whole[2]), strength=strength)


def _lora(values: dict[str, Any]) -> UsedLora:
    weight = as_float(values.get("weight"))
    return UsedLora(name=as_text(values.get("model")), weight=1.0 if weight is None else weight)
