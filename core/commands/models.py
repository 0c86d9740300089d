"""``models``: the models there are, and one of them in full."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from core.models import catalog


def run(arguments: argparse.Namespace) -> None:
    """List the models that have a name, or show one.

    Raises:
        CoreError: The model named is not there or is not sound; see ``catalog.card``.
    """
    if arguments.name is None:
        cards = [_as_json(catalog.card(name)) for name in catalog.names()]
        lines = [f"{card['name']}: {card['title']}, {card['path']}" for card in cards]
        print(json.dumps(cards) if arguments.json else "\n".join(lines))
        return
    card = _as_json(catalog.card(arguments.name))
    if arguments.json:
        print(json.dumps(card))
        return
    for name, value in card.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        if shown != "":
            print(f"{name.replace('_', ' ').capitalize()}: {shown}")


def _as_json(card: catalog.ModelCard) -> dict[str, Any]:
    return {
        "name": card.name,
        "title": card.title,
        "path": str(card.path),
        "family": card.family,
        "prediction_type": card.prediction_type,
        "width": card.width,
        "height": card.height,
        "steps": card.steps,
        "guidance_scale": card.guidance_scale,
        "scheduler": str(card.scheduler),
        "schedulers": [str(name) for name in card.schedulers],
        "preview_decoders": [str(name) for name in card.preview_decoders],
        "timestep_spacing": card.timestep_spacing,
        "distillation": card.distillation,
        "inpainting": card.inpainting,
        "refused_schedulers": _reasons(card.refused_schedulers),
        "ignored": _reasons(card.ignored),
    }


def _reasons(reasons: Mapping[Any, str]) -> list[str]:
    return [f"{name}: {why}" for name, why in reasons.items()]
