"""AUTOMATIC1111's web UI, and the many programs that write its text. Imports no torch.

PNG keeps it under ``parameters``; JPEG and WebP in EXIF's comment, which the web UI prefers where
both are there (``modules/images.py``, ``read_info_from_image``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from core.images import exif_text
from core.images.foreign import Foreign, UsedEmbedding, UsedLora, UsedRefiner, UsedSecondPass
from core.images.infotext import KEYWORD, Infotext, parse_infotext
from core.images.loose_json import as_float, as_int, as_object, as_shown, json_object
from core.images.texts import Texts

LORA = re.compile(r"<(?:lora|lyco):([^:<>]{1,200})((?::[^:<>]{0,60}){0,4})>")
"""A LoRA in a prompt: its name, then weights by place or name (``te=``, ``unet=``)."""

_TITLE = re.compile(r"(.+?)(?:\s*\[(\w+)\])?")
"""A model's name, with its hash behind it."""

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
    "Refiner",
    "Refiner switch at",
    "Denoising strength",
    "Clip skip",
    "Lora hashes",
    "TI hashes",
}
_SECOND_PASS = {
    "Hires upscale",
    "Hires resize",
    "Hires steps",
    "Hires upscaler",
    "Hires upscaler hash",
}
_HARMLESS = {
    "Version",
    "RNG",
    "VAE hash",
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
    is_larger = any(key.startswith("Hires") for key in pairs)
    strength = as_float(pairs.get("Denoising strength"))
    second_pass = _second_pass(pairs, strength)
    unexpressed = {
        key: as_shown(value)
        for key, value in pairs.items()
        if key not in _TAKEN | _HARMLESS and value.casefold() not in ("none", "false")
        if second_pass is None or key not in _SECOND_PASS
    }
    if is_larger and second_pass is None and "Denoising strength" in pairs:
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
        strength=None if is_larger else strength,
        model=pairs.get("Model", ""),
        model_hash=pairs.get("Model hash", ""),
        vae=_chosen(pairs.get("VAE", "")),
        vae_hash=pairs.get("VAE hash", ""),
        refiner=_refiner(pairs),
        clip_skip=as_int(pairs.get("Clip skip")),
        loras=loras_of(found.prompt, _hashes(pairs, "Lora hashes", "lora:")),
        embeddings=tuple(
            UsedEmbedding(name=name, hash=value)
            for name, value in _hashes(pairs, "TI hashes", "embed:").items()
        ),
        second_pass=second_pass,
        unexpressed=unexpressed,
        details={key: as_shown(value) for key, value in pairs.items() if key in _HARMLESS},
    )


def loras_of(prompt: str, hashes: Mapping[str, str]) -> tuple[UsedLora, ...]:
    """Find the LoRAs that a prompt names, ``<lora:name:0.8>``; one named twice counts once."""
    found: dict[str, UsedLora] = {}
    for name, weights in LORA.findall(prompt):
        weight, text_weight = _weights(weights)
        used = UsedLora(
            name=name, weight=weight, hash=hashes.get(name, ""), text_weight=text_weight
        )
        found.setdefault(name, used)
    return tuple(found.values())


def _weights(weights: str) -> tuple[float, float | None]:
    """Read the weight of the UNet, or else the one for both, or else 1.

    Returns:
        It, and the text encoder's if that is another one.
    """
    given = weights.split(":")[1:]
    named = dict(part.split("=", 1) for part in given if "=" in part)
    by_place = [part for part in given if "=" not in part]
    texts = (named.get("te"), *by_place[:1])
    text = next((w for part in texts if (w := as_float(part)) is not None), None)
    units = (named.get("unet"), *by_place[1:2])
    unet = next((w for part in units if (w := as_float(part)) is not None), text)
    weight = 1.0 if unet is None else unet
    return weight, None if text in (None, weight) else text


def _second_pass(pairs: Mapping[str, str], strength: float | None) -> UsedSecondPass | None:
    """Read the settings of hires fix; None if they do not say how large it made the picture."""
    scale = as_float(pairs.get("Hires upscale"))
    size = _SIZE.fullmatch(pairs.get("Hires resize", ""))
    if scale is None and size is None:
        return None
    return UsedSecondPass(
        scale=scale,
        width=int(size[1]) if size else None,
        height=int(size[2]) if size else None,
        steps=as_int(pairs.get("Hires steps")),
        strength=strength,
        upscaler=pairs.get("Hires upscaler", ""),
        upscaler_hash=pairs.get("Hires upscaler hash", ""),
    )


def _refiner(pairs: Mapping[str, str]) -> UsedRefiner | None:
    """Read the model that took over, which the web UI names with its hash."""
    title = _TITLE.fullmatch(_chosen(pairs.get("Refiner", "")).strip())
    if title is None:
        return None
    start = as_float(pairs.get("Refiner switch at"))
    return UsedRefiner(name=title[1], hash=title[2] or "", start=start)


def _hashes(pairs: Mapping[str, str], row: str, kind: str) -> dict[str, str]:
    """Read a row of ``name: hash``, and of Civitai's ``Hashes``, a JSON object, one kind."""
    found = {
        key.removeprefix(kind): value
        for key, value in as_object(pairs.get("Hashes")).items()
        if key.startswith(kind) and isinstance(value, str)
    }
    return found | named_values(pairs.get(row, ""))


def named_values(row: str) -> dict[str, str]:
    """Read ``name: value, name: value``."""
    parts = (part.rpartition(":") for part in row.split(","))
    return {name.strip(): value.strip() for name, colon, value in parts if colon}


def _chosen(vae: str) -> str:
    return "" if vae.casefold() in ("none", "automatic") else vae


def _program(version: str) -> str:
    """Tell who wrote it by its version; the web UI's own is a number."""
    if re.fullmatch(r"v?\d+\.\d+.*", version):
        return f"AUTOMATIC1111 {version}"
    if re.fullmatch(r"f\d.*", version):
        return f"Forge {version}"
    return version or "AUTOMATIC1111 or alike"
