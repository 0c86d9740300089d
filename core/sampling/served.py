"""What a model cannot do for a request, and what of one it ignores. Imports no torch."""

from __future__ import annotations

import dataclasses

from core.errors import InvalidRequest, Unsupported
from core.models.catalog import refusals_for
from core.models.identify import Family, Identity
from core.request import ImageToImage, Inpaint, Outpaint, Request

_GUIDED = ("negative_prompt", "guidance_rescale", "guidance_start", "guidance_end")
"""The settings that work through the unguided half of a step."""


def check_served(request: Request, identity: Identity) -> None:
    """Refuse what a model cannot do.

    Raises:
        Unsupported: If it cannot make such pictures, or the scheduler does not serve it.
        InvalidRequest: If it cannot make pictures of the size.
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


def base_alone(request: Request) -> str:
    """Say what of a request works in the steps before its refiner alone; empty if nothing does."""
    if not request.refiner or not (request.loras or request.controls):
        return ""
    return "The refiner's steps are its own: LoRAs and ControlNets work in the model's steps alone."


def ignored(request: Request, identity: Identity) -> str:
    """Say which settings of a request change nothing with a model, and why; empty if all do.

    Args:
        request: What is to be made.
        identity: The model.
    """
    names: tuple[str, ...] = _GUIDED
    if identity.guidance_embedding:
        why = "this model takes guidance as a number of its own and has no unguided half"
    elif request.guidance_scale <= 1:
        why = f"guidance {request.guidance_scale:g} leaves out the unguided half; raise it above 1"
    elif request.guidance_start == request.guidance_end:
        why = "guidance ends where it begins, so no step is guided"
        names = ("negative_prompt", "guidance_rescale")
    else:
        return ""
    usual = {field.name: field.default for field in dataclasses.fields(request)}
    given = [name.replace("_", " ") for name in names if getattr(request, name) != usual[name]]
    return f"Without effect: {', '.join(given)}; {why}." if given else ""
