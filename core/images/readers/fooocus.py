"""Fooocus: its own JSON under ``parameters``, or the web UI's text there. Imports no torch.

JPEG and WebP keep it in EXIF's comment, in the first directory, and the name of the form in the
maker's note (``modules/private_logger.py``, ``modules/meta_parser.py``).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from core.images import exif_text
from core.images.foreign import Foreign, UsedEmbedding, UsedLora, UsedRefiner
from core.images.infotext import KEYWORD, Infotext, parse_infotext
from core.images.loose_json import (
    as_float,
    as_int,
    as_list,
    as_shown,
    as_text,
    json_object,
    says_nothing,
)
from core.images.notations import Notation, embeddings_in
from core.images.readers.a1111 import from_infotext, named_values
from core.images.texts import Texts

_SOURCE = "fooocus"
_OWN_VAE = "Default"
_SCHEME = "fooocus_scheme"
_SIZE = re.compile(r"\(?\s*(\d{1,6})\s*[,x]\s*(\d{1,6})\s*\)?")
_TAKEN = {
    "prompt",
    "negative_prompt",
    "full_prompt",
    "full_negative_prompt",
    "steps",
    "sampler",
    "scheduler",
    "guidance_scale",
    "seed",
    "resolution",
    "base_model",
    "base_model_hash",
    "vae",
    "refiner_model",
    "refiner_model_hash",
    "refiner_switch",
    "clip_skip",
    "loras",
    "version",
    "prompt_expansion",
}
_HARMLESS = {"metadata_scheme", "created_by", "performance", "adm_guidance", "styles", "sharpness"}


_HARMLESS_PAIRS = {
    "Raw prompt",
    "Raw negative prompt",
    "Styles",
    "Performance",
    "Sharpness",
    "ADM Guidance",
}
"""The same of the web UI's form. The prompt is there with its styles written into it."""


def read(texts: Texts) -> Foreign | None:
    """Read its text in either form; None if there is none."""
    for name in (KEYWORD, exif_text.USER_COMMENT, "Comment"):
        values = json_object(texts.get(name))
        if values is not None and "base_model" in values and "prompt" in values:
            return _foreign(values)
    if _SCHEME in texts or texts.get(exif_text.SOFTWARE, "").startswith("Fooocus"):
        text = texts.get(KEYWORD) or texts.get(exif_text.USER_COMMENT)
        if text and (found := parse_infotext(text)).is_certain:
            return _from_text(found)
    return None


def _from_text(found: Infotext) -> Foreign:
    """Read the text of the web UI's form, where it names some things in a way of its own."""
    pairs = dict(found.parameters)
    if schedule := pairs.pop("Scheduler", ""):
        pairs["Schedule type"] = schedule
    if pairs.get("VAE", "").startswith(_OWN_VAE):
        del pairs["VAE"]
    digits = pairs.pop("Refiner hash", "")
    if digits and pairs.get("Refiner", "None") != "None":
        pairs["Refiner"] += f" [{digits}]"
    weights = named_values(pairs.pop("Lora weights", ""))
    details = {key: as_shown(pairs.pop(key)) for key in _HARMLESS_PAIRS & pairs.keys()}
    said = from_infotext(replace(found, parameters=pairs), source=_SOURCE)
    hashes = named_values(pairs.get("Lora hashes", ""))
    loras = tuple(
        UsedLora(name=name, weight=weight, hash=hashes.get(name, ""))
        for name, text in weights.items()
        if (weight := as_float(text)) is not None
    )
    return replace(_marked(said), loras=loras or said.loras, details={**details, **said.details})


def _marked(found: Foreign) -> Foreign:
    """Add what the notation of its prompts says, which is ComfyUI's."""
    names = embeddings_in(Notation.COMFYUI, found.prompt, found.negative_prompt)
    return replace(
        found,
        notation=Notation.COMFYUI,
        embeddings=tuple(UsedEmbedding(name=name) for name in names),
    )


def _foreign(values: dict[str, Any]) -> Foreign:
    size = _SIZE.fullmatch(as_text(values.get("resolution")))
    prompt = _joined(values.get("full_prompt")) or as_text(values.get("prompt"))
    negative = _joined(values.get("full_negative_prompt")) or as_text(values.get("negative_prompt"))
    vae = as_text(values.get("vae"))
    found = Foreign(
        source=_SOURCE,
        program=as_text(values.get("version")) or "Fooocus",
        prompt=prompt,
        negative_prompt=negative,
        steps=as_int(values.get("steps")),
        sampler=as_text(values.get("sampler")),
        schedule=as_text(values.get("scheduler")),
        guidance_scale=as_float(values.get("guidance_scale")),
        seed=as_int(values.get("seed")),
        width=int(size[1]) if size else None,
        height=int(size[2]) if size else None,
        model=as_text(values.get("base_model")),
        model_hash=as_text(values.get("base_model_hash")),
        vae="" if vae.startswith(_OWN_VAE) else vae,
        refiner=_refiner(values),
        clip_skip=as_int(values.get("clip_skip")),
        loras=_loras(values),
        unexpressed={
            key: as_shown(value)
            for key, value in values.items()
            if key not in _TAKEN | _HARMLESS
            and not key.startswith("lora_combined")
            and value != "None"
            and not says_nothing(value)
        },
        details={key: as_shown(value) for key, value in values.items() if key in _HARMLESS},
    )
    return _marked(found)


def _joined(parts: object) -> str:
    """Join the prompt that its styles were written into, which is a list."""
    return ", ".join(text for part in as_list(parts) if (text := as_text(part)))


def _refiner(values: dict[str, Any]) -> UsedRefiner | None:
    name = as_text(values.get("refiner_model"))
    if name in ("", "None"):
        return None
    return UsedRefiner(
        name=name,
        hash=as_text(values.get("refiner_model_hash")),
        start=as_float(values.get("refiner_switch")),
    )


def _loras(values: dict[str, Any]) -> tuple[UsedLora, ...]:
    """Read both forms: a list of name, weight and hash, or ``name : weight`` under a key each."""
    found = []
    for lora in as_list(values.get("loras")):
        parts = [*as_list(lora), None, None, None]
        weight = as_float(parts[1])
        if name := as_text(parts[0]):
            scale = 1.0 if weight is None else weight
            found.append(UsedLora(name=name, weight=scale, hash=as_text(parts[2])))
    if not found:
        for key, value in values.items():
            name, colon, weight_text = as_text(value).rpartition(" : ")
            weight = as_float(weight_text)
            if key.startswith("lora_combined") and colon and weight is not None:
                found.append(UsedLora(name=name, weight=weight))
    return tuple(found)
