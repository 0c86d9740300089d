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
from typing import Any, TypeVar

from core.about import APP_NAME, version
from core.events import ImageReady
from core.request import ImageToImage, SchedulerName

KEYWORD = "parameters"
"""The keyword of the PNG chunk."""

NumberT = TypeVar("NumberT", int, float)

_NEGATIVE = "Negative prompt:"

SAMPLERS = {
    SchedulerName.PNDM: "PLMS",
    SchedulerName.DDIM: "DDIM",
    SchedulerName.LMS: "LMS",
    SchedulerName.EULER: "Euler",
    SchedulerName.EULER_ANCESTRAL: "Euler a",
    SchedulerName.HEUN: "Heun",
    SchedulerName.DPMPP_2M: "DPM++ 2M",
    SchedulerName.DPMPP_2M_KARRAS: "DPM++ 2M Karras",
    SchedulerName.DPMPP_SDE: "DPM++ SDE",
    SchedulerName.UNIPC: "UniPC",
    SchedulerName.DDPM: "DDPM",
    SchedulerName.LCM: "LCM",
    SchedulerName.TCD: "TCD",
}
"""Sampler and schedule type joined, as the web UI wrote them before its version 1.9."""

_SCHEDULERS = {sampler.casefold(): name for name, sampler in SAMPLERS.items()}

_PAIR = re.compile(r'(\w[\w \-/]{1,60}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Infotext:
    """What such a text says.

    Attributes:
        prompt: The prompt.
        negative_prompt: The negative prompt, empty if there is none.
        parameters: Every pair of the last line, in its order, as text.
    """

    prompt: str
    negative_prompt: str
    parameters: dict[str, str]

    def settings(self) -> dict[str, Any]:
        """Give what a request can take over, by the request's own names.

        A pair that is missing or has no form that we know is left out.
        """
        given: dict[str, Any] = {
            "prompts": (self.prompt,),
            "negative_prompt": self.negative_prompt,
            "scheduler": self._scheduler(),
            "steps": self._number("Steps", int),
            "guidance_scale": self._number("CFG scale", float),
            "seed": self._number("Seed", int),
        }
        if size := _SIZE.fullmatch(self.parameters.get("Size", "")):
            given |= {"width": int(size[1]), "height": int(size[2])}
        return {name: value for name, value in given.items() if value is not None}

    def _scheduler(self) -> SchedulerName | None:
        sampler = self.parameters.get("Sampler", "").casefold()
        schedule = self.parameters.get("Schedule type", "").casefold()
        return _SCHEDULERS.get(f"{sampler} {schedule}") or _SCHEDULERS.get(sampler)

    def _number(self, key: str, kind: type[NumberT]) -> NumberT | None:
        try:
            return kind(self.parameters[key])
        except (KeyError, ValueError):
            return None


def write_infotext(image: ImageReady) -> str:
    """Describe a finished picture."""
    request = image.request
    sampler = SAMPLERS[request.scheduler].removesuffix(" Karras")
    pairs = {"Steps": str(request.steps), "Sampler": sampler}
    if request.scheduler is SchedulerName.DPMPP_2M_KARRAS:
        pairs["Schedule type"] = "Karras"
    pairs |= {
        "CFG scale": f"{request.guidance_scale:.12g}",
        "Seed": str(image.seed),
        "Size": f"{request.width}x{request.height}",
        "Model hash": image.model_sha256[:10],
        "Model": PurePath(request.model).name or request.model,
    }
    if isinstance(request, ImageToImage):
        pairs["Denoising strength"] = f"{request.strength:.12g}"
    pairs |= {"RNG": "CPU", "Version": f"{APP_NAME} {version()}"}
    lines = [request.prompt_of(image.picture)]
    if request.negative_prompt:
        lines.append(f"{_NEGATIVE} {request.negative_prompt}")
    lines.append(", ".join(f"{key}: {_quoted(value)}" for key, value in pairs.items()))
    return "\n".join(lines)


def parse_infotext(text: str) -> Infotext:
    """Read such a text. Any text is one: what has no pairs is all prompt."""
    lines = text.strip().split("\n")
    found = _PAIR.findall(lines[-1])
    if len(found) >= 3:
        lines.pop()
    else:
        found = []
    start = next((i for i, line in enumerate(lines) if line.startswith(_NEGATIVE)), len(lines))
    negative = "\n".join(lines[start:]).removeprefix(_NEGATIVE)
    return Infotext(
        prompt="\n".join(lines[:start]).strip(),
        negative_prompt=negative.strip(),
        parameters={key.strip(): _unquoted(value) for key, value in found},
    )


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r"[,:\n]", value) else value


def _unquoted(value: str) -> str:
    try:
        text = json.loads(value) if value.startswith('"') else value.strip()
    except ValueError:
        return value
    return text if isinstance(text, str) else value
