"""Requests as plain JSON values, and back. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from core.errors import InvalidRequest
from core.request import (
    ROWS,
    ControlUse,
    EmbeddingUse,
    ImageToImage,
    Inpaint,
    LoraUse,
    MemoryMode,
    Outpaint,
    Precision,
    Preprocessor,
    Request,
    SchedulerName,
    SecondPass,
    TextToImage,
    Tiling,
    Upscale,
    parse_choice,
)

_KINDS: dict[str, type[Request]] = {
    kind.kind: kind for kind in (TextToImage, ImageToImage, Inpaint, Outpaint, Upscale)
}
_Use = LoraUse | EmbeddingUse | ControlUse

_USES: dict[str, type[_Use]] = {
    "loras": LoraUse,
    "embeddings": EmbeddingUse,
    "controls": ControlUse,
}
"""The fields that are rows of files in use."""


def to_json(request: Request) -> dict[str, Any]:
    """Give the request as plain JSON values, with its kind."""
    values = {f.name: getattr(request, f.name) for f in dataclasses.fields(request)}
    for name in ("prompts", *ROWS):
        values[name] = list(values[name])
    for name in _USES:
        values[name] = [_plain(dataclasses.asdict(use)) for use in values[name]]
    if request.second_pass is not None:
        values["second_pass"] = _plain(dataclasses.asdict(request.second_pass))
    return {"kind": request.kind} | _plain(values)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, StrEnum) else value for name, value in values.items()
    }


def from_json(values: Mapping[str, Any]) -> Request:
    """Give back the request that ``to_json`` wrote.

    Raises:
        InvalidRequest: On an unknown kind or field, a missing field or a value out of range.
    """
    given = _of_today(values)
    kind = given.pop("kind", None)
    cls = _KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise InvalidRequest("kind", f"{kind!r} is none of {', '.join(_KINDS)}.")
    known = {f.name for f in dataclasses.fields(cls)}
    if unknown := sorted(set(given) - known):
        raise InvalidRequest(
            unknown[0], "is not a setting of this version; a newer Stepwise may have written it."
        )
    for name in ("prompts", *ROWS):
        if name in given:
            if not isinstance(given[name], list):
                raise InvalidRequest(name, "must be a list.")
            given[name] = tuple(given[name])
    for name, use in _USES.items():
        if name in given:
            given[name] = _read_uses(name, given[name], use)
    for name, enum in _ENUMS.items():
        if name in given:
            given[name] = parse_choice(name, given[name], enum)
    if given.get("second_pass") is not None:
        given["second_pass"] = _second_pass_from_json(given["second_pass"])
    try:
        return cls(**given)
    except TypeError as error:
        raise InvalidRequest("request", f"a field is missing: {error}") from error


def _of_today(values: Mapping[str, Any]) -> dict[str, Any]:
    """Say in today's words what pictures of before said of a seed that all of them share."""
    given = dict(values)
    prompts = given.get("prompts")
    if given.pop("shared_seed", False) is True and isinstance(prompts, list):
        given["seeds"] = [given.get("seed", 0)] * len(prompts)
    return given


_ENUMS: dict[str, type[StrEnum]] = {
    "scheduler": SchedulerName,
    "precision": Precision,
    "vae_tiling": Tiling,
    "memory": MemoryMode,
}


def _second_pass_from_json(values: object) -> SecondPass:
    if not isinstance(values, dict):
        raise InvalidRequest("second_pass", f"{values!r} is no second pass.")
    try:
        return SecondPass(**values)
    except TypeError as error:
        raise InvalidRequest("second_pass", f"has a field of another version: {error}") from error


def _read_uses(field: str, values: object, use: type[_Use]) -> tuple[_Use, ...]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise InvalidRequest(field, "must be a list of objects.")
    rows = [dict(value) for value in values]
    for row in rows:
        if "preprocessor" in row:
            name = f"{field}.preprocessor"
            row["preprocessor"] = parse_choice(name, row["preprocessor"], Preprocessor)
    try:
        return tuple(use(**row) for row in rows)
    except TypeError as error:
        raise InvalidRequest(field, f"is not as this version writes it: {error}") from error
