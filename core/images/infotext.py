"""The text that AUTOMATIC1111's web UI writes into pictures and most programs read.

The prompt, then ``Negative prompt: ...`` if there is one, then a last line of ``Key: value`` pairs
(https://github.com/AUTOMATIC1111/stable-diffusion-webui, ``modules/infotext_utils.py``). Imports no
torch.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import PurePath

from core.about import APP_NAME, version
from core.events import ImageReady
from core.images.samplers import SAMPLERS
from core.request import (
    ControlUse,
    ImageToImage,
    Inpaint,
    LoraUse,
    Preprocessor,
    Request,
    SchedulerName,
    SecondPass,
    Upscale,
    is_upscaler_file,
)

KEYWORD = "parameters"
"""The keyword of the PNG chunk."""

_NEGATIVE = "Negative prompt:"

_PAIR = re.compile(r'(\w[\w \-/]{1,60}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_JSON_VALUE = re.compile(r"(?:^|,)\s*(\w[\w \-/]{1,60}):\s*(?=[\[{])")
_MOST_JSON_VALUES = 8

LONGEST_LINE = 2**18
"""Letters of a last line above which it is prompt and not searched for pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Infotext:
    """What such a text says.

    Attributes:
        prompt: The prompt.
        negative_prompt: The negative prompt, empty if there is none.
        parameters: Every pair of the last line as text.
    """

    prompt: str
    negative_prompt: str
    parameters: dict[str, str]

    @property
    def is_certain(self) -> bool:
        """Whether it has marks that other texts lack."""
        return bool(self.parameters or self.negative_prompt)


def write_infotext(image: ImageReady) -> str:
    """Describe a finished picture."""
    request = image.request.alone(image.picture)
    sampler = SAMPLERS[request.scheduler].removesuffix(" Karras")
    pairs = {"Steps": str(request.steps), "Sampler": sampler}
    if request.scheduler is SchedulerName.DPMPP_2M_KARRAS:
        pairs["Schedule type"] = "Karras"
    pairs |= {
        "CFG scale": f"{request.guidance_scale:.12g}",
        "Seed": str(image.seed),
        "Size": f"{request.width}x{request.height}",
    }
    if image.model_sha256:
        pairs["Model hash"] = image.model_sha256[:10]
        pairs["Model"] = PurePath(request.model).name or request.model
    if request.vae:
        pairs |= {"VAE hash": request.vae_sha256[:10], "VAE": PurePath(request.vae).name}
    if request.refiner:
        name = PurePath(request.refiner).name.removesuffix(".safetensors")
        pairs["Refiner"] = f"{name} [{request.refiner_sha256[:10]}]"
        pairs["Refiner switch at"] = f"{request.refiner_start:.12g}"
    if isinstance(request, ImageToImage):
        pairs["Denoising strength"] = f"{request.strength:.12g}"
    if isinstance(request, Inpaint):
        pairs["Mask blur"] = str(request.mask_blur)
    if (second := request.second_pass) is not None:
        pairs["Hires upscale"] = f"{second.scale:.12g}"
        pairs |= _upscaler("Hires upscaler", second)
        if second.steps:
            pairs["Hires steps"] = str(second.steps)
        # Of a picture from a picture this key says how much of that one was replaced.
        pairs.setdefault("Denoising strength", f"{second.strength:.12g}")
    if isinstance(request, Upscale):
        pairs |= _upscaler("Upscaler", request)
    for number, control in enumerate(request.controls):
        pairs[f"ControlNet {number}"] = _control(control)
    pairs["RNG"] = "CPU"
    for key, hashes in _hashes(request).items():
        if hashes:
            pairs[key] = ", ".join(f"{name}: {digits}" for name, digits in hashes.items())
    pairs["Version"] = f"{APP_NAME} {version()}"
    lines = [request.prompts[0] + "".join(map(_lora_tag, request.loras))]
    if request.negative_prompt:
        lines.append(f"{_NEGATIVE} {request.negative_prompt}")
    lines.append(", ".join(f"{key}: {_quoted(value)}" for key, value in pairs.items()))
    return "\n".join(lines)


def parse_infotext(text: str) -> Infotext:
    """Read such a text. Any text is one: what has no pairs is all prompt."""
    lines = text.strip().split("\n")
    last, values = _without_json(lines[-1]) if len(lines[-1]) <= LONGEST_LINE else ("", {})
    found = _PAIR.findall(last)
    if len(found) >= 3:
        lines.pop()
    else:
        found, values = [], {}
    start = next((i for i, line in enumerate(lines) if line.startswith(_NEGATIVE)), len(lines))
    negative = "\n".join(lines[start:]).removeprefix(_NEGATIVE)
    return Infotext(
        prompt="\n".join(lines[:start]).strip(),
        negative_prompt=negative.strip(),
        parameters={key.strip(): _unquoted(value) for key, value in found} | values,
    )


def _without_json(line: str) -> tuple[str, dict[str, str]]:
    """Take out of a line the values that are bare JSON, whose commas and colons are no pairs.

    Civitai, some extensions of the web UI and stable-diffusion.cpp write such.

    Returns:
        The line without them, and each by its key.
    """
    values: dict[str, str] = {}
    decoder = json.JSONDecoder()
    at = 0
    for _ in range(_MOST_JSON_VALUES):
        key = _JSON_VALUE.search(line, at)
        if key is None:
            break
        try:
            _, end = decoder.raw_decode(line, key.end())
        except (ValueError, RecursionError):
            at = key.end()
            continue
        values[key[1].strip()] = line[key.end() : end]
        line, at = line[: key.start()] + line[end:], key.start()
    return line, values


def _hashes(request: Request) -> dict[str, dict[str, str]]:
    """Give the hashes of LoRAs and embeddings by their names, as the web UI has them."""
    return {
        "Lora hashes": {
            _plain_name(PurePath(use.path).stem): use.short_hash
            for use in request.loras
            if use.short_hash
        },
        "TI hashes": {
            _plain_name(use.token or PurePath(use.path).stem): use.sha256[:12]
            for use in request.embeddings
            if use.sha256
        },
    }


def _upscaler(key: str, part: Upscale | SecondPass) -> dict[str, str]:
    """Say what made a picture larger; an upscaler's file by its name."""
    if not is_upscaler_file(part.upscaler):
        return {key: part.upscaler.capitalize()}
    name = PurePath(part.upscaler).stem
    return {key: name} | ({f"{key} hash": digits} if (digits := part.upscaler_sha256[:10]) else {})


def _plain_name(name: str) -> str:
    """Take the letters out of a name that would end it."""
    return re.sub(r"[:,<>]", "", name)


def _control(use: ControlUse) -> str:
    """Describe a ControlNet as the web UI's extension does."""
    pairs = {
        "Module": str(use.preprocessor),
        "Model": f"{PurePath(use.path).stem} [{use.sha256[:8]}]",
        "Weight": f"{use.weight:g}",
        "Resize Mode": "Crop and Resize",
    }
    if use.preprocessor is Preprocessor.CANNY:
        pairs |= {"Threshold A": str(use.low), "Threshold B": str(use.high)}
    pairs |= {"Guidance Start": f"{use.start:g}", "Guidance End": f"{use.end:g}"}
    return ", ".join(f"{key}: {value}" for key, value in pairs.items())


def _lora_tag(use: LoraUse) -> str:
    """Name a LoRA as prompts do."""
    name = _plain_name(PurePath(use.path).stem)
    weights = (use.weight,) if use.text_weight is None else (use.text_weight, use.weight)
    return f" <lora:{name}:{':'.join(f'{weight:.12g}' for weight in weights)}>"


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r"[,:\n]", value) else value


def _unquoted(value: str) -> str:
    try:
        text = json.loads(value) if value.startswith('"') else value.strip()
    except ValueError:
        return value
    return text if isinstance(text, str) else value
