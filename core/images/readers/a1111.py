"""AUTOMATIC1111's web UI, and the many programs that write its text. Imports no torch.

PNG keeps it under ``parameters``; JPEG and WebP in EXIF's comment, which the web UI prefers where
both are there (``modules/images.py``, ``read_info_from_image``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from core.images import exif_text
from core.images.foreign import Foreign, UsedLora
from core.images.infotext import KEYWORD, Infotext, parse_infotext
from core.images.loose_json import as_float, as_int, as_object, as_shown, json_object
from core.images.texts import Texts

LORA = re.compile(r"<(?:lora|lyco):([^:<>]{1,200})((?::[^:<>]{0,60}){0,4})>")
"""A LoRA in a prompt: its name, then weights by place or name (``te=``, ``unet=``)."""

_SIZE = re.compile(r"\s*(\d{1,6})\s*x\s*(\d{1,6})\s*")

_TAKEN = {
    "Steps",
    "Sampler",
    "Schedule type",
    "CFG scale",
    "Seed",
    "Size",
    "Model",
    "Model hash",
    "VAE",
    "Denoising strength",
    "Clip skip",
    "Lora hashes",
}
_HARMLESS = {
    "Version",
    "RNG",
    "VAE hash",
    "TI hashes",
    "Hashes",
    "User",
    "App",
    "Batch size",
    "Batch pos",
    "Template",
    "Negative Template",
    "Created Date",
    "Civitai resources",
    "Civitai metadata",
    "Denoising strength change factor",
    "SDCPP",
}


def read(texts: Texts) -> Foreign | None:
    """Read the text from where the web UI puts it; None if there is none."""
    comment = texts.get(exif_text.USER_COMMENT)
    if comment is not None and (found := parse_infotext(comment)).is_certain:
        return from_infotext(found)
    text = texts.get(KEYWORD)
    if text is None or json_object(text) is not None:
        return None
    return from_infotext(parse_infotext(text))


def from_infotext(found: Infotext, *, source: str = "a1111") -> Foreign:
    """Put what such a text says into our terms."""
    pairs = found.parameters
    size = _SIZE.fullmatch(pairs.get("Size", ""))
    second_pass = any(key.startswith("Hires") for key in pairs)
    strength = None if second_pass else as_float(pairs.get("Denoising strength"))
    unexpressed = {
        key: as_shown(value)
        for key, value in pairs.items()
        if key not in _TAKEN | _HARMLESS and value.casefold() not in ("none", "false")
    }
    if second_pass and "Denoising strength" in pairs:
        unexpressed["Hires denoising strength"] = as_shown(pairs["Denoising strength"])
    return Foreign(
        source=source,
        program=_program(pairs.get("Version", "")),
        prompt=found.prompt,
        negative_prompt=found.negative_prompt,
        steps=as_int(pairs.get("Steps")),
        sampler=pairs.get("Sampler", ""),
        schedule=pairs.get("Schedule type", ""),
        guidance_scale=as_float(pairs.get("CFG scale")),
        seed=as_int(pairs.get("Seed")),
        width=int(size[1]) if size else None,
        height=int(size[2]) if size else None,
        strength=strength,
        model=pairs.get("Model", ""),
        model_hash=pairs.get("Model hash", ""),
        vae=_chosen(pairs.get("VAE", "")),
        clip_skip=as_int(pairs.get("Clip skip")),
        loras=loras_of(found.prompt, _hashes(pairs)),
        unexpressed=unexpressed,
        details={key: as_shown(value) for key, value in pairs.items() if key in _HARMLESS},
    )


def loras_of(prompt: str, hashes: Mapping[str, str]) -> tuple[UsedLora, ...]:
    """Find the LoRAs that a prompt names, ``<lora:name:0.8>``; one named twice counts once."""
    found: dict[str, UsedLora] = {}
    for name, weights in LORA.findall(prompt):
        found.setdefault(
            name, UsedLora(name=name, weight=_weight(weights), hash=hashes.get(name, ""))
        )
    return tuple(found.values())


def _weight(weights: str) -> float:
    """Read the weight of the UNet, or else the one for both, or else 1."""
    given = weights.split(":")[1:]
    named = dict(part.split("=", 1) for part in given if "=" in part)
    by_place = [part for part in given if "=" not in part]
    for text in (named.get("unet"), *by_place[1:2], *by_place[:1], named.get("te")):
        if (weight := as_float(text)) is not None:
            return weight
    return 1.0


def _hashes(pairs: Mapping[str, str]) -> dict[str, str]:
    """Read ``Lora hashes``, a row of ``name: hash``, and Civitai's ``Hashes``, a JSON object."""
    found = {
        key.removeprefix("lora:"): value
        for key, value in as_object(pairs.get("Hashes")).items()
        if key.startswith("lora:") and isinstance(value, str)
    }
    for part in pairs.get("Lora hashes", "").split(","):
        name, colon, value = part.rpartition(":")
        if colon:
            found[name.strip()] = value.strip()
    return found


def _chosen(vae: str) -> str:
    return "" if vae.casefold() in ("none", "automatic") else vae


def _program(version: str) -> str:
    """Tell who wrote it by its version; the web UI's own is a number."""
    if re.fullmatch(r"v?\d+\.\d+.*", version):
        return f"AUTOMATIC1111 {version}"
    if re.fullmatch(r"f\d.*", version):
        return f"Forge {version}"
    return version or "AUTOMATIC1111 or alike"
