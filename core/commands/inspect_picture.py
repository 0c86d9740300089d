"""``inspect``: how a picture was made, as far as it says."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path, PurePath
from typing import Any, assert_never

from core.grid_sheet import lines_of, read_sheet
from core.images.foreign import Foreign, UsedEmbedding, UsedLora, UsedRefiner, UsedSecondPass
from core.images.lineage import Ancestor, lineage_of
from core.images.metadata import NEWER, Metadata, Recorded, is_newer, read_metadata
from core.images.nearest import Finder, nearest
from core.models.library import Library
from core.models.matching import Matching
from core.request import ControlUse, ImageToImage, Preprocessor, Request
from core.request_json import to_json
from core.terminal import harmless

_HASH_SHOWN = 12

_TOLD_APART = {
    "kind",
    "prompts",
    "negative_prompt",
    "seed",
    "count",
    "controls",
    "loras",
    "embeddings",
    "second_pass",
    "refiner",
    "refiner_sha256",
    "refiner_start",
}
"""The settings of a record that have lines of their own."""


def run(arguments: argparse.Namespace, library: Library) -> None:
    """Print what the picture says, and what of it could not be made here with this library.

    Raises:
        InvalidRequest: It is no picture that can be opened.
    """
    path: Path = arguments.image
    found = read_metadata(path)
    sheet = read_sheet(path) if found is None else None
    ancestors = lineage_of(found, path.parent) if isinstance(found, Recorded) else ()
    finder = Matching(library)
    if sheet is not None:
        _print_sheet(sheet, arguments)
    elif arguments.json:
        print(json.dumps({"path": str(path)} | _as_json(found, ancestors, finder)))
    elif found is None:
        print(f"{path}: {NEWER}" if is_newer(path) else f"{path} does not say how it was made.")
    else:
        for name, value in _lines(found, ancestors, finder):
            print(f"{harmless(name)}: {harmless(str(value))}")


def _print_sheet(record: dict[str, Any], arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps({"path": str(arguments.image), "source": "grid"} | record))
    else:
        for name, value in lines_of(record):
            print(f"{harmless(name)}: {harmless(str(value))}")


def _as_json(
    found: Metadata | None, ancestors: Iterable[Ancestor], finder: Finder
) -> dict[str, Any]:
    """Give the same names for every program, and more for what only one has."""
    match found:
        case Recorded():
            return _ours(found) | {
                "app": found.app,
                "request": to_json(found.request),
                "picture": found.picture,
                "model_sha256": found.model_sha256,
                "device": found.device,
                "lineage": [_ancestor(ancestor) for ancestor in ancestors],
            }
        case Foreign():
            return _foreign(found, finder)
        case None:
            return {"source": None}
        case _:
            assert_never(found)


def _ours(found: Recorded) -> dict[str, Any]:
    request = found.request.alone(found.picture)
    start = request if isinstance(request, ImageToImage) else None
    return {
        "source": "stepwise",
        "program": found.app,
        "prompt": request.prompts[0],
        "negative_prompt": request.negative_prompt,
        "steps": request.steps,
        "sampler": str(request.scheduler),
        "schedule": "",
        "scheduler": str(request.scheduler),
        "guidance_scale": request.guidance_scale,
        "guidance_rescale": request.guidance_rescale,
        "seed": found.seed,
        "width": request.width,
        "height": request.height,
        "strength": start.strength if start else None,
        "start_picture": start.init_image if start else "",
        "model": request.model,
        "model_hash": found.model_sha256[:10],
        "vae": PurePath(request.vae).name,
        "refiner": _as_object(_refiner(request)),
        "clip_skip": None,
        "loras": [asdict(replace(used, name=Path(used.name).stem)) for used in _loras(request)],
        "embeddings": [asdict(used) for used in _embeddings(request)],
        "second_pass": to_json(request)["second_pass"],
        "unexpressed": {},
        "details": {},
        "not_honoured": [],
    }


def _as_object(used: UsedRefiner | UsedSecondPass | None) -> dict[str, Any] | None:
    return None if used is None else asdict(used)


def _loras(request: Request) -> list[UsedLora]:
    return [
        UsedLora(name=use.path, weight=use.weight, hash=use.short_hash, text_weight=use.text_weight)
        for use in request.loras
    ]


def _embeddings(request: Request) -> list[UsedEmbedding]:
    return [
        UsedEmbedding(name=use.token or Path(use.path).stem, hash=use.sha256[:_HASH_SHOWN])
        for use in request.embeddings
    ]


def _refiner(request: Request) -> UsedRefiner | None:
    if not request.refiner:
        return None
    digits = request.refiner_sha256[:_HASH_SHOWN]
    return UsedRefiner(name=request.refiner, hash=digits, start=request.refiner_start)


def _foreign(found: Foreign, finder: Finder) -> dict[str, Any]:
    return {
        "source": found.source,
        "program": found.program,
        "prompt": found.prompt,
        "negative_prompt": found.negative_prompt,
        "steps": found.steps,
        "sampler": found.sampler,
        "schedule": found.schedule,
        "scheduler": str(found.match.scheduler) if found.match else None,
        "guidance_scale": found.guidance_scale,
        "guidance_rescale": found.guidance_rescale,
        "seed": found.seed,
        "width": found.width,
        "height": found.height,
        "strength": found.strength,
        "start_picture": found.start_picture,
        "model": found.model,
        "model_hash": found.model_hash,
        "vae": found.vae,
        "refiner": _as_object(found.refiner),
        "clip_skip": found.clip_skip,
        "loras": [asdict(used) for used in found.loras],
        "embeddings": [asdict(used) for used in found.embeddings],
        "second_pass": _as_object(found.second_pass),
        "unexpressed": dict(found.unexpressed),
        "details": dict(found.details),
        "not_honoured": _lost(found, finder),
    }


def _ancestor(ancestor: Ancestor) -> dict[str, Any]:
    return {
        "sha256": ancestor.sha256,
        "path": None if ancestor.path is None else str(ancestor.path),
        "program": _program(ancestor.metadata),
        "prompt": _prompt(ancestor.metadata),
    }


def _program(metadata: Metadata | None) -> str | None:
    match metadata:
        case Recorded():
            return metadata.app
        case Foreign():
            return metadata.program
        case None:
            return None
        case _:
            assert_never(metadata)


def _prompt(metadata: Metadata | None) -> str | None:
    if isinstance(metadata, Recorded):
        return metadata.request.prompt_of(metadata.picture)
    return None if metadata is None else metadata.prompt


def _lines(
    found: Metadata, ancestors: Iterable[Ancestor], finder: Finder
) -> list[tuple[str, object]]:
    """Give name and value of what a person would ask for first."""
    if isinstance(found, Foreign):
        return _foreign_lines(found, finder)
    request = found.request.alone(found.picture)
    settings = {
        name: value
        for name, value in to_json(request).items()
        if name not in _TOLD_APART and value not in (None, "", [])
    }
    return [
        ("Prompt", request.prompts[0]),
        ("Negative prompt", request.negative_prompt or "none"),
        ("Seed", request.seed),
        *_named(settings),
        *_taking_over(_refiner(request)),
        *_adapters(_loras(request), _embeddings(request)),
        *_repeated(request),
        *(("Control", _followed(use)) for use in request.controls),
        ("Picture", f"{found.picture + 1} of {found.request.total}"),
        ("Model hash", found.model_sha256 or "none, as no model took part"),
        ("Device", found.device or "unknown"),
        ("Made by", found.app),
        *((f"Made from ({n})", _told(ancestor)) for n, ancestor in enumerate(ancestors, 1)),
    ]


def _followed(use: ControlUse) -> str:
    """Say in one line which ControlNet followed which picture, how strongly and when."""
    maker = ""
    if use.preprocessor is not Preprocessor.NONE:
        maker = f" by {use.preprocessor} ({use.low}, {use.high})"
    return (
        f"{use.path} follows {use.image}{maker} at {use.weight:g} from {use.start:g} to "
        f"{use.end:g}, hashes {use.sha256[:_HASH_SHOWN]} and {use.image_sha256[:_HASH_SHOWN]}"
    )


def _told(ancestor: Ancestor) -> str:
    """Say in one line where an ancestor is and what it shows."""
    place = "not found" if ancestor.path is None else str(ancestor.path)
    prompt = _prompt(ancestor.metadata)
    said = f', "{" ".join(prompt.split())}" by {_program(ancestor.metadata)}' if prompt else ""
    return f"{place}{said}, hash {ancestor.sha256[:_HASH_SHOWN]}"


def _foreign_lines(found: Foreign, finder: Finder) -> list[tuple[str, object]]:
    size = f"{found.width} x {found.height}" if found.width and found.height else None
    settings = {
        "seed": found.seed,
        "steps": found.steps,
        "sampler": " ".join(filter(None, (found.sampler, found.schedule))) or None,
        "guidance_scale": found.guidance_scale,
        "guidance_rescale": found.guidance_rescale or None,
        "size": size,
        "strength": found.strength,
        "start_picture": found.start_picture or None,
        "model": found.model or None,
        "model_hash": found.model_hash or None,
        "VAE": found.vae or None,
        "clip_skip": found.clip_skip,
    }
    return [
        ("Prompt", found.prompt),
        ("Negative prompt", found.negative_prompt or "none"),
        *_named({name: value for name, value in settings.items() if value is not None}),
        *_taking_over(found.refiner),
        *_adapters(found.loras, found.embeddings),
        *_second_pass(found.second_pass),
        *found.unexpressed.items(),
        *found.details.items(),
        ("Made by", found.program),
        *(("Not honoured", sentence) for sentence in _lost(found, finder)),
    ]


def _adapters(
    loras: Iterable[UsedLora], embeddings: Iterable[UsedEmbedding]
) -> list[tuple[str, object]]:
    """Give a line for each."""
    lines: list[tuple[str, object]] = []
    for lora in loras:
        texts = lora.text_weight
        more = "" if texts is None else f" ({texts:g} in the text encoder)"
        lines.append(("LoRA", f"{lora.name} at {lora.weight:g}{more} {lora.hash}".strip()))
    lines += [("Embedding", f"{used.name} {used.hash}".strip()) for used in embeddings]
    return lines


def _repeated(request: Request) -> list[tuple[str, object]]:
    """Say of a second pass of ours what of another program's is said, and its window."""
    if (second := request.second_pass) is None:
        return []
    used = UsedSecondPass(
        scale=second.scale,
        steps=second.steps or None,
        strength=second.strength,
        upscaler=second.upscaler,
    )
    window = f", window {second.window}" if second.window else ""
    return [(name, f"{value}{window}") for name, value in _second_pass(used)]


def _lost(found: Foreign, finder: Finder) -> list[str]:
    """Say what of another program's picture could not be made here, the model first."""
    lost = list(nearest(found, finder=finder).lost)
    named = found.model or found.model_hash
    if named and finder.model(found.model, found.model_hash) is None:
        digits = f" (hash {found.model_hash})" if found.model and found.model_hash else ""
        lost.insert(
            0,
            f"The model {named}{digits} is not in the library and is not used; add it by "
            "`stepwise models add`, or name another by --model.",
        )
    return lost


def _taking_over(used: UsedRefiner | None) -> list[tuple[str, object]]:
    if used is None:
        return []
    start = "" if used.start is None else f" from {used.start:g} on"
    return [("Refiner", f"{used.name}{start}{f', hash {used.hash}' if used.hash else ''}")]


def _second_pass(used: UsedSecondPass | None) -> list[tuple[str, object]]:
    if used is None:
        return []
    size = f"to {used.width} x {used.height}" if used.scale is None else f"{used.scale:g} times"
    more = {"steps": used.steps, "strength": used.strength, "upscaler": used.upscaler or None}
    told = [f"{name} {value}" for name, value in more.items() if value is not None]
    return [("Second pass", ", ".join([size, *told]))]


def _named(settings: Mapping[str, object]) -> list[tuple[str, object]]:
    return [
        (name[:1].upper() + name[1:].replace("_", " "), value) for name, value in settings.items()
    ]
