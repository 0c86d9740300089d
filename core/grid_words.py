"""What the pictures of a grid have in common, in words. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import PurePath

from core.grid_axes import PARAMETERS
from core.request import Inpaint, Outpaint, Request, TextToImage

_UNTOUCHED = {
    field.name: field.default
    for field in dataclasses.fields(TextToImage)
    if field.name.startswith(("negative", "guidance_", "precision", "vae", "refiner"))
    and field.name != "guidance_scale"
}
"""What goes without saying while it stands at its default."""


def in_common(requests: Sequence[Request]) -> dict[str, str]:
    """Give name and words of the settings that are the same in all requests, prompts excepted."""
    return _settings(requests) | _parts(requests)


def _settings(requests: Sequence[Request]) -> dict[str, str]:
    said: dict[str, str] = {}
    for parameter in PARAMETERS:
        values = {tuple(getattr(r, f, None) for f in parameter.fields) for r in requests}
        shown = parameter.fields and parameter.name not in ("prompt", "width", "height")
        if len(values) > 1 or not shown:
            continue
        (found,) = values
        value = found[0] if len(parameter.fields) == 1 else found
        if value is not None and value != _UNTOUCHED.get(parameter.fields[0]):
            said[parameter.name] = parameter.label(value)
    return said


_Said = tuple[str, str]
"""What something is, and how strongly it works."""


def _parts(requests: Sequence[Request]) -> dict[str, str]:
    """Give the words for what requests are made of; without weights where these differ."""
    said: dict[str, str] = {}
    for name, part in _PARTS.items():
        rows = [part(request) for request in requests]
        for words in (
            {", ".join(what + weight for what, weight in row) for row in rows},
            {", ".join(what for what, _ in row) for row in rows},
        ):
            if len(words) == 1:
                said.setdefault(name, words.pop())
    return {name: words for name, words in said.items() if words}


def _loras(request: Request) -> list[_Said]:
    return [
        (PurePath(use.path).name, f" at {use.weight:g}{_in_texts(use.text_weight)}")
        for use in request.loras
    ]


def _in_texts(weight: float | None) -> str:
    return "" if weight is None else f" ({weight:g} in the text encoder)"


def _controls(request: Request) -> list[_Said]:
    return [
        (f"{PurePath(use.path).name} over {PurePath(use.image).name}", f" at {use.weight:g}")
        for use in request.controls
    ]


def _embeddings(request: Request) -> list[_Said]:
    return [(use.token or PurePath(use.path).name, "") for use in request.embeddings]


def _mask(request: Request) -> list[_Said]:
    if not isinstance(request, Inpaint):
        return []
    parts = [PurePath(request.mask_image).name]
    parts += ["inverted"] if request.mask_invert else []
    parts += [f"blur {request.mask_blur}"]
    parts += [f"only masked with {request.padding} around"] if request.only_masked else []
    return [(", ".join(parts), "")]


def _added(request: Request) -> list[_Said]:
    if not isinstance(request, Outpaint):
        return []
    sides = {side: getattr(request, side) for side in ("left", "top", "right", "bottom")}
    parts = [f"{side} {pixels}" for side, pixels in sides.items() if pixels]
    return [(", ".join([*parts, f"blur {request.mask_blur}"]), "")]


def _second_pass(request: Request) -> list[_Said]:
    if (second := request.second_pass) is None:
        return []
    parts = [f"{second.scale:g} times", f"strength {second.strength:g}"]
    parts += [f"steps {second.steps}"] if second.steps else []
    parts += [f"window {second.window}"] if second.window else []
    return [(", ".join([*parts, PurePath(second.upscaler).name]), "")]


_PARTS: dict[str, Callable[[Request], list[_Said]]] = {
    "LoRA": _loras,
    "embedding": _embeddings,
    "ControlNet": _controls,
    "mask": _mask,
    "painted on": _added,
    "second pass": _second_pass,
}
