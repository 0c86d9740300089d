"""InvokeAI: JSON under ``invokeai_metadata``, and two forms before it. Imports no torch.

``sd-metadata`` is JSON of the versions 2; ``Dream`` is the command line of the first ones, whose
prompt has the negative one in brackets.
"""

from __future__ import annotations

import itertools
import math
import re
import shlex
from typing import Any

from core.images.foreign import Foreign, UsedEmbedding, UsedLora, UsedRefiner, UsedSecondPass
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
from core.images.notations import Notation, embeddings_in
from core.images.texts import Texts
from core.request import LATENT_SCALE

_SOURCE = "invokeai"
_LONGEST_COMMAND = 20_000
_CALLS = re.compile(r"\.(?:and|blend|swap)\(")
"""What combines prompts in its notation."""

_NEGATIVE = re.compile(r"\[([^\[\]]*)\]")

_TAKEN = {
    "positive_prompt",
    "negative_prompt",
    "width",
    "height",
    "seed",
    "cfg_scale",
    "cfg_rescale_multiplier",
    "steps",
    "scheduler",
    "clip_skip",
    "model",
    "loras",
    "strength",
    "init_image",
    "vae",
    "refiner_model",
    "refiner_start",
    "app_version",
}
_SECOND_PASS = {
    "hrf_enabled",
    "hrf_strength",
    "hrf_method",
    "hrf_scale",
    "hrf_latent_interpolation_mode",
}
_HARMLESS = {
    "generation_mode",
    "rand_device",
    "positive_style_prompt",
    "negative_style_prompt",
    "canvas_v2_metadata",
    "ref_images",
}


def read(texts: Texts) -> Foreign | None:
    """Read the newest of its forms that is there; None if there is none."""
    if (values := json_object(texts.get("invokeai_metadata"))) is not None:
        return _from_metadata(values)
    if (values := json_object(texts.get("sd-metadata"))) is not None:
        return _from_version_2(values)
    if (command := texts.get("Dream")) is not None:
        return _from_command(command)
    return None


def _from_metadata(values: dict[str, Any]) -> Foreign:
    model = as_object(values.get("model"))
    mode = as_text(values.get("generation_mode"))
    vae = as_object(values.get("vae"))
    size, second_pass = _passes(values)
    taken = _TAKEN | _HARMLESS | (_SECOND_PASS if second_pass else set())
    return Foreign(
        source=_SOURCE,
        program=f"InvokeAI {as_text(values.get('app_version'))}".strip(),
        **_texts(as_text(values.get("positive_prompt")), as_text(values.get("negative_prompt"))),
        steps=as_int(values.get("steps")),
        sampler=as_text(values.get("scheduler")),
        guidance_scale=as_float(values.get("cfg_scale")),
        guidance_rescale=as_float(values.get("cfg_rescale_multiplier")),
        seed=as_int(values.get("seed")),
        width=size[0],
        height=size[1],
        strength=None if mode.endswith("txt2img") else as_float(values.get("strength")),
        start_picture=as_text(values.get("init_image")),
        model=_name(model),
        model_hash=as_text(model.get("hash")),
        vae=_name(vae),
        refiner=_refiner(values),
        clip_skip=_layers(values.get("clip_skip")),
        loras=tuple(_lora(as_object(lora)) for lora in as_list(values.get("loras"))),
        second_pass=second_pass,
        unexpressed={
            key: as_shown(value)
            for key, value in values.items()
            if key not in taken and not says_nothing(value)
        },
        details={
            key: as_shown(value)
            for key, value in values.items()
            if key in _HARMLESS and not says_nothing(value)
        },
    )


def _texts(prompt: str, negative_prompt: str) -> dict[str, Any]:
    """Give the prompts and what their notation says."""
    names = embeddings_in(Notation.INVOKEAI, prompt, negative_prompt)
    called = " ".join(dict.fromkeys(_CALLS.findall(f"{prompt} {negative_prompt}")))
    return {
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "notation": Notation.INVOKEAI,
        "embeddings": tuple(UsedEmbedding(name=name) for name in names),
        "notes": (f"Prompts are not combined here: {called} is read as words.",) if called else (),
    }


_Size = tuple[int | None, int | None]


def _passes(values: dict[str, Any]) -> tuple[_Size, UsedSecondPass | None]:
    """Give the size of the first pass, and the second pass from it to the whole picture's size."""
    width, height = as_int(values.get("width")), as_int(values.get("height"))
    if values.get("hrf_enabled") is not True or not (width and height):
        return (width, height), None
    scale = as_float(values.get("hrf_scale"))
    if scale is not None and scale > 1:
        first = tuple(round(side / scale / LATENT_SCALE) * LATENT_SCALE for side in (width, height))
    else:
        first = _first_size(width, height, as_text(as_object(values.get("model")).get("base")))
    upscaler = as_text(values.get("hrf_method"))
    if upscaler == "ESRGAN":
        is_large = width * height > 2 * first[0] * first[1]
        upscaler = "RealESRGAN_x4plus" if is_large else "RealESRGAN_x2plus"
    strength = as_float(values.get("hrf_strength"))
    second = UsedSecondPass(width=width, height=height, strength=strength, upscaler=upscaler)
    return (first[0], first[1]), second


def _first_size(width: int, height: int, base: str) -> tuple[int, int]:
    """Give the size whose area is the model's own, as its ``calculateHrfRes`` finds it."""
    own = 1024 if base.startswith("sdxl") else 512
    least = max(own / 2, own * math.sqrt(min(width, height) / max(width, height)))
    long = least * max(width, height) / min(width, height)
    sides = (long, least) if width > height else (least, long)
    first = [
        round(math.floor(min(side, whole)) / LATENT_SCALE) * LATENT_SCALE
        for side, whole in zip(sides, (width, height), strict=True)
    ]
    return first[0], first[1]


def _refiner(values: dict[str, Any]) -> UsedRefiner | None:
    model = as_object(values.get("refiner_model"))
    if not _name(model):
        return None
    start = as_float(values.get("refiner_start"))
    return UsedRefiner(name=_name(model), hash=as_text(model.get("hash")), start=start)


def _layers(skipped: object) -> int | None:
    """Count as the web UI does: InvokeAI says how many layers are skipped, from 0."""
    number = as_int(skipped)
    return None if number is None else number + 1


def _name(model: dict[str, Any]) -> str:
    return as_text(model.get("name")) or as_text(model.get("model_name"))


def _lora(values: dict[str, Any]) -> UsedLora:
    model = as_object(values.get("model") or values.get("lora"))
    weight = as_float(values.get("weight"))
    return UsedLora(
        name=_name(model),
        weight=1.0 if weight is None else weight,
        hash=as_text(model.get("hash")),
    )


def _from_version_2(values: dict[str, Any]) -> Foreign:
    image = as_object(values.get("image"))
    given = image.get("prompt")
    parts = [as_object(part) for part in as_list(given)]
    weighed = [text for part in parts if (text := as_text(part.get("prompt")))]
    prompt, negative = _parted(as_text(given) or ", ".join(weighed))
    return Foreign(
        source=_SOURCE,
        program=f"InvokeAI {as_text(values.get('app_version'))}".strip(),
        **_texts(prompt, negative),
        steps=as_int(image.get("steps")),
        sampler=as_text(image.get("sampler")),
        guidance_scale=as_float(image.get("cfg_scale")),
        seed=as_int(image.get("seed")),
        width=as_int(image.get("width")),
        height=as_int(image.get("height")),
        strength=as_float(image.get("strength")) if image.get("type") == "img2img" else None,
        model=as_text(values.get("model_weights")),
        model_hash=as_text(values.get("model_hash")),
    )


def _from_command(command: str) -> Foreign | None:
    try:
        words = shlex.split(command[:_LONGEST_COMMAND])
    except ValueError:
        return None
    if not words:
        return None
    options = dict(itertools.pairwise(words[1:]))
    prompt, negative = _parted(words[0])
    return Foreign(
        source=_SOURCE,
        program="InvokeAI",
        prompt=prompt,
        negative_prompt=negative,
        steps=as_int(options.get("-s")),
        sampler=options.get("-A", ""),
        guidance_scale=as_float(options.get("-C")),
        seed=as_int(options.get("-S")),
        width=as_int(options.get("-W")),
        height=as_int(options.get("-H")),
        strength=as_float(options.get("-f")) if "-I" in options else None,
        start_picture=options.get("-I", ""),
    )


def _parted(prompt: str) -> tuple[str, str]:
    """Part a prompt from the negative ones that stand in it in brackets."""
    negative = ", ".join(part.strip() for part in _NEGATIVE.findall(prompt))
    return " ".join(_NEGATIVE.sub("", prompt).split()) if negative else prompt, negative
