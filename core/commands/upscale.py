"""``upscale``: existing pictures made larger, with the details that a model adds."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from core.commands.generate import carry_out
from core.commands.taken_settings import settings_of
from core.commands.task import Task, new_task
from core.errors import InvalidRequest
from core.events import EngineFactory
from core.images.metadata import read_metadata
from core.images.reading import size_of
from core.models import catalog
from core.paths import Profile, expanded
from core.request import MAX_SIDE, Enlarging, Upscale, is_upscaler_file

SETTINGS = (
    "model",
    "negative_prompt",
    "steps",
    "guidance_scale",
    "scheduler",
    "seed",
    "strength",
    "window",
    "upscaler",
    "precision",
    "memory",
    "compute_units",
    "vae",
    "vae_tiling",
    "loras",
    "embeddings",
)
"""The options that are settings of the request, by its own names."""

_TEXTS = ("prompts", "negative_prompt", "seed")
"""What is said of a picture that is enlarged and no more."""

_ENLARGING = (*_TEXTS, "upscaler", "strength")
"""The settings that it has."""


def run(arguments: argparse.Namespace, profile: Profile, make_engine: EngineFactory) -> None:
    """Make the pictures larger, save the results, and say what happens.

    Raises:
        CoreError: It cannot be done; none is begun then.
        KeyboardInterrupt: It was stopped; finished pictures are kept and were named.
    """
    words = {name: getattr(arguments, name) for name in SETTINGS}
    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in words.items()
        if value not in (None, [])
    }
    if arguments.prompt is not None:
        given["prompts"] = (arguments.prompt,)
    tasks = [upscaled(image, given, arguments.scale, profile) for image in arguments.images]
    carry_out(tasks, arguments, profile, make_engine)


def upscaled(image: Path, given: dict[str, Any], scale: float, profile: Profile) -> Task:
    """Give what makes a picture larger.

    Its prompt, model and the like are those that made it, as far as it says and nothing else is
    given.

    Args:
        image: The picture.
        given: Settings by the request's names.
        scale: Of width and height, above 1.
        profile: Where the user's models are.

    Raises:
        InvalidRequest: It cannot be read, or a setting is out of range.
        CoreError: See ``new_task``.
    """
    if not 1 < scale < math.inf:
        raise InvalidRequest("scale", f"{scale:g} is no number above 1; use 2, or 1.5.")
    image = expanded(image).absolute()
    sides = dict(zip(("width", "height"), size_of(image, field="init_image"), strict=True))
    own = {"init_image": str(image), "count": 1, **sides}
    found = read_metadata(image)
    taken, notices = settings_of(found, given | own, profile)
    by_file = is_upscaler_file(given.get("upscaler", Enlarging.LANCZOS))
    denoises = not by_file or given.get("strength") != 0
    if not denoises:
        # No model takes part: what else made the picture neither matters nor needs to be here.
        idle = ", ".join(name.replace("_", " ") for name in given if name not in _ENLARGING)
        notices = (f"Without effect at strength 0: {idle}.",) if idle else ()
        taken = {"seed": 0} | {name: value for name, value in taken.items() if name in _TEXTS}
        given = {name: value for name, value in given.items() if name in _ENLARGING}
    settings = taken | given | own
    if "prompts" not in settings:
        settings["prompts"] = ("",)
        if denoises:
            notices = (*notices, f"{image} does not say what it shows; --prompt can say it.")
    card = catalog.card(settings.get("model", catalog.STARTER))
    # What an upscaler's file makes is cropped by less than that rather than scaled once more.
    rounded = math.floor if by_file else round
    for name, side in sides.items():
        multiple = card.size_multiple
        settings[name] = max(rounded(side * scale / multiple), 1) * multiple
        if settings[name] > MAX_SIDE:
            raise InvalidRequest(
                "scale",
                f"{scale:g} makes the {name} {settings[name]}; it may be {MAX_SIDE} at most.",
            )
    settings.setdefault("window", max(card.width, card.height))
    if not given.keys() & {"steps", "strength"}:
        # A picture of one or two steps leaves none of them to its own details.
        fewest = math.ceil(1 / Upscale.STRENGTH)
        settings["steps"] = max(settings.get("steps", card.steps), fewest)
    task = new_task(settings, profile)
    return Task(request=task.request, notices=(*notices, *task.notices))
