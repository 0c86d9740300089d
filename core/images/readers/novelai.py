"""NovelAI: a JSON ``Comment`` beside the prompt as ``Description``. Imports no torch.

The same texts may lie in the pixels instead, see ``core.images.stealth``. Later models have one
prompt for the picture and one for each character.
"""

from __future__ import annotations

from typing import Any

from core.images.foreign import Foreign
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
from core.images.notations import Notation
from core.images.texts import Texts

_FROM_PICTURE = ("Img2ImgRequest", "NativeInfillingRequest")
_TAKEN = {
    "prompt",
    "uc",
    "steps",
    "sampler",
    "noise_schedule",
    "scale",
    "cfg_rescale",
    "seed",
    "width",
    "height",
    "strength",
    "v4_prompt",
    "v4_negative_prompt",
}
_HARMLESS = {
    "n_samples",
    "request_type",
    "signed_hash",
    "version",
    "extra_noise_seed",
    "legacy",
    "legacy_v3_extend",
    "hide_debug_overlay",
}


def read(texts: Texts) -> Foreign | None:
    """Read its JSON; None if there is none."""
    values = json_object(texts.get("Comment"))
    if values is None or not ("uc" in values or texts.get("Software") == "NovelAI"):
        return None
    prompt, more = _prompt(values, "v4_prompt")
    negative, more_negative = _prompt(values, "v4_negative_prompt")
    unexpressed = {
        key: as_shown(value)
        for key, value in values.items()
        if key not in _TAKEN | _HARMLESS and not says_nothing(value)
    }
    joined = "The prompts of single characters are joined to the picture's own."
    return Foreign(
        source="novelai",
        program=as_text(texts.get("Software")) or "NovelAI",
        prompt=", ".join(
            (as_text(values.get("prompt")) or prompt or texts.get("Description", ""), *more)
        ),
        negative_prompt=", ".join((as_text(values.get("uc")) or negative, *more_negative)),
        notation=Notation.NOVELAI,
        steps=as_int(values.get("steps")),
        sampler=as_text(values.get("sampler")),
        schedule=as_text(values.get("noise_schedule")),
        guidance_scale=as_float(values.get("scale")),
        guidance_rescale=as_float(values.get("cfg_rescale")),
        seed=as_int(values.get("seed")),
        width=as_int(values.get("width")),
        height=as_int(values.get("height")),
        strength=as_float(values.get("strength")) if _is_from_picture(values) else None,
        model=texts.get("Source", ""),
        unexpressed=unexpressed,
        details={key: as_shown(value) for key, value in values.items() if key in _HARMLESS},
        notes=(joined,) if more or more_negative else (),
    )


def _is_from_picture(values: dict[str, Any]) -> bool:
    """Tell by the kind of request; older pictures do not say it, and have a noise if they are."""
    kind = as_text(values.get("request_type"))
    return kind in _FROM_PICTURE if kind else "noise" in values


def _prompt(values: dict[str, Any], key: str) -> tuple[str, list[str]]:
    """Give the prompt of the picture and those of its characters."""
    caption = as_object(as_object(values.get(key)).get("caption"))
    characters = (
        as_text(as_object(character).get("char_caption"))
        for character in as_list(caption.get("char_captions"))
    )
    return as_text(caption.get("base_caption")), [text for text in characters if text]
