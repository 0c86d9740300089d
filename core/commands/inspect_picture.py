"""``inspect``: how a picture was made, as far as it says."""

from __future__ import annotations

import argparse
import json
from typing import Any, assert_never

from core.images.infotext import Infotext
from core.images.metadata import Metadata, Recorded, read_metadata
from core.request import to_json


def run(arguments: argparse.Namespace) -> None:
    """Print what the picture says.

    Raises:
        InvalidRequest: It is no picture that can be opened.
    """
    found = read_metadata(arguments.image)
    if arguments.json:
        print(json.dumps({"path": str(arguments.image)} | _as_json(found)))
    elif found is None:
        print(f"{arguments.image} does not say how it was made.")
    else:
        print("\n".join(f"{name}: {value}" for name, value in _lines(found)))


def _as_json(found: Metadata | None) -> dict[str, Any]:
    match found:
        case Recorded():
            return {
                "source": "stepwise",
                "app": found.app,
                "request": to_json(found.request),
                "picture": found.picture,
                "seed": found.seed,
                "model_sha256": found.model_sha256,
                "device": found.device,
            }
        case Infotext():
            return {
                "source": "parameters",
                "prompt": found.prompt,
                "negative_prompt": found.negative_prompt,
                "parameters": found.parameters,
            }
        case None:
            return {"source": None}
        case _:
            assert_never(found)


def _lines(found: Metadata) -> list[tuple[str, object]]:
    """Give name and value of what a person would ask for first."""
    if isinstance(found, Infotext):
        return [
            ("Prompt", found.prompt),
            ("Negative prompt", found.negative_prompt or "none"),
            *found.parameters.items(),
        ]
    hidden = ("kind", "prompts", "negative_prompt", "seed", "count")
    settings = {k: v for k, v in to_json(found.request).items() if k not in hidden}
    return [
        ("Prompt", found.request.prompt_of(found.picture)),
        ("Negative prompt", found.request.negative_prompt or "none"),
        ("Seed", found.seed),
        *((name.replace("_", " ").capitalize(), value) for name, value in settings.items()),
        ("Picture", f"{found.picture + 1} of {found.request.total}"),
        ("Model hash", found.model_sha256),
        ("Device", found.device or "unknown"),
        ("Made by", found.app),
    ]
