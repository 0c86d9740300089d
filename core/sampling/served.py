"""What a model cannot do for a request, and what of one it ignores. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from core.errors import InvalidRequest, Unsupported
from core.models.catalog import refusals_for
from core.models.exported_limits import check_limits
from core.models.identify import Family, Identity
from core.request import ImageToImage, Inpaint, Outpaint, Request
from core.sampling.chunks import words_used
from core.sampling.prompt_syntax import foreign_marks

_MOST_NAMED = 8
"""Marks that a sentence names."""

_GUIDED = ("negative_prompt", "guidance_rescale", "guidance_start", "guidance_end")
"""The settings that work through the unguided half of a step."""


def check_served(request: Request, identity: Identity) -> None:
    """Refuse what a model cannot do.

    Raises:
        Unsupported: If it cannot make such pictures, or the scheduler does not serve it.
        InvalidRequest: If it cannot make pictures of the size, or is exported and does not serve a
            setting.
    """
    if identity.inpainting and not isinstance(request, Inpaint | Outpaint):
        raise Unsupported(
            f"{identity.path} is an inpainting model; give it a start picture and a mask, or "
            "choose another model."
        )
    if identity.family is Family.SDXL_REFINER and not isinstance(request, ImageToImage):
        raise Unsupported(
            f"{identity.path} is an SDXL refiner, which works over a start picture; give it one, "
            "or choose an SDXL base model and give it this refiner."
        )
    refused = refusals_for(identity)
    if request.scheduler in refused:
        raise Unsupported(
            f"The scheduler {request.scheduler} does not serve this model. "
            f"{refused[request.scheduler]} Choose {identity.defaults.scheduler}."
        )
    for name, side in zip(("width", "height"), request.final_size, strict=True):
        if side % identity.vae_scale:
            raise InvalidRequest(
                name, f"{side} must be a multiple of {identity.vae_scale} for this model."
            )
    check_limits(request, identity)


def base_alone(request: Request) -> str:
    """Say what of a request works in the steps before its refiner alone; empty if nothing does."""
    if not request.refiner or not (request.loras or request.controls):
        return ""
    return "The refiner's steps are its own: LoRAs and ControlNets work in the model's steps alone."


def plain_words(request: Request) -> str:
    """Say which marks in a request's prompts mean something elsewhere and nothing here."""
    marks = list(dict.fromkeys(mark for text in request.texts for mark in foreign_marks(text)))
    if not marks:
        return ""
    more = f" and {len(marks) - _MOST_NAMED} more" if len(marks) > _MOST_NAMED else ""
    named = ", ".join(marks[:_MOST_NAMED])
    return f"Read as plain words, as they have no meaning here: {named}{more}."


def unused_words(request: Request, words: Collection[str]) -> str:
    """Say which of a request's embeddings change nothing, as no prompt has their words.

    Args:
        request: What is to be made.
        words: Those of its embeddings.
    """
    used = {word for text in request.texts for word in words_used(text, words)}
    idle = sorted(set(words) - used)
    if not idle:
        return ""
    return f"Without effect: the embedding {', '.join(idle)}; put its word into a prompt."


def _has_guided_step(request: Request) -> bool:
    """Whether any step of any pass begins where guidance is on."""
    strength = request.strength if isinstance(request, ImageToImage) else 1.0
    runs = [int(request.steps * strength)]
    if (second := request.second_pass) is not None:
        runs.append(int((second.steps or request.steps) * second.strength))
    return any(
        request.guidance_start <= step / steps < request.guidance_end
        for steps in runs
        for step in range(steps)
    )


def ignored(request: Request, identity: Identity) -> str:
    """Say which settings of a request change nothing with a model, and why; empty if all do.

    Args:
        request: What is to be made.
        identity: The model.
    """
    names: tuple[str, ...] = _GUIDED
    if identity.guidance_embedding:
        why = "this model takes guidance as a number of its own and has no unguided half"
    elif max(map(request.guidance_of, range(request.total))) <= 1:
        why = f"guidance {request.guidance_scale:g} leaves out the unguided half; raise it above 1"
    elif not _has_guided_step(request):
        interval = f"{request.guidance_start:g} and {request.guidance_end:g}"
        why = f"no step begins between {interval} of the run, so none is guided"
        names = ("guidance_scale", "negative_prompt", "guidance_rescale")
    else:
        return ""
    usual = {field.name: field.default for field in dataclasses.fields(request)}
    given = [
        name.replace("_", " ")
        for name in names
        if name == "guidance_scale" or getattr(request, name) != usual[name]
    ]
    return f"Without effect: {', '.join(given)}; {why}." if given else ""
