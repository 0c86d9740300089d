"""What an exported model cannot do, told before it is loaded. Imports no torch."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from core import coreml_folder
from core.compute_units import AUTO, ComputeUnits, unit_of, units_of, units_text, usual_units
from core.coreml_folder import TITLES, ExportFormat, Layout, PartName
from core.errors import InvalidRequest, NeedsExport, Unsupported
from core.models.exported import Exported, is_part
from core.models.identify import Identity
from core.request import ImageToImage, Precision, Request, Tiling, Upscale

Size = tuple[int, int]

_SYSTEMS = {
    ExportFormat.COREML: ("darwin",),
    # What Core AI's package brings for Linux computes on the CPU alone.
    ExportFormat.COREAI: ("darwin", "linux"),
}
"""Where each format runs."""

_BAKED_IN = ("loras", "embeddings", "controls", "init_image")
"""Settings that a model serves for which it was exported."""


def limits_of(identity: Identity) -> dict[str, str]:
    """Say which settings of a request a model cannot serve, each with the reason and the remedy."""
    exported = identity.exported
    if exported is None:
        return {}
    limits: dict[str, str] = {}
    texts = any(exported.of(name) for name in identity.text_encoders)
    if texts or exported.of("unet"):
        limits["loras"] = (
            "The weights of an exported model are fixed; export it again with this LoRA."
        )
    if texts:
        limits["embeddings"] = (
            "The words of an exported model are fixed; export it again with this one."
        )
    if exported.of("unet"):
        limits["refiner"] = (
            "An exported model hands over to no refiner; choose the model it was made from."
        )
    if not exported.takes_controls:
        limits["controls"] = (
            "This model was exported without what ControlNets give its UNet; export it again with "
            "this one."
        )
    if exported.of("vae"):
        limits["vae_tiling"] = "An exported VAE takes the whole picture at once; leave it off."
        if exported.vae_encoder is None:
            limits["init_image"] = (
                "This model was exported without what reads a start picture; export it again with "
                f"{PartName.VAE_ENCODER}."
            )
    if is_whole(identity):
        limits["precision"] = "The precision of an exported model is fixed; leave it at auto."
    return limits


def check_limits(request: Request, identity: Identity) -> None:
    """Refuse what an exported model cannot do.

    Raises:
        NeedsExport: If it could do it, had it been exported for it.
        InvalidRequest: Saying why, and what to do about it.
        Unsupported: If it lacks an input that its kind of model needs.
    """
    exported = identity.exported
    if exported is None:
        _check_units(request)
        return
    used = {
        "loras": bool(request.loras),
        "embeddings": bool(request.embeddings),
        "controls": bool(request.controls),
        "refiner": bool(request.refiner),
        # The second pass of pixels reads the first one's picture.
        "init_image": isinstance(request, ImageToImage) or request.second_pass is not None,
        "vae_tiling": request.vae_tiling is Tiling.ON,
        "precision": request.precision not in (Precision.AUTO, Precision.FP16),
    }
    if request.vae:
        # A VAE of torch's takes the place of the exported one.
        used |= {"init_image": False, "vae_tiling": False, "precision": False}
    for name, reason in limits_of(identity).items():
        if used[name]:
            refusal = NeedsExport if name in _BAKED_IN else InvalidRequest
            raise refusal(name, reason)
    _check_guidance(identity, exported)
    _check_model_sizes(request, exported)


def _check_units(request: Request) -> None:
    """Refuse compute units for a model of torch's, unless an exported ControlNet leads it."""
    allowed = (AUTO, *ComputeUnits) if _is_led_by_parts(request) else (AUTO,)
    if request.compute_units not in allowed:
        raise InvalidRequest(
            "compute_units", "are for Core ML models alone; leave it at auto for this one."
        )


def _is_led_by_parts(request: Request) -> bool:
    """Whether an exported ControlNet leads a request of torch's model, which knows them by path."""
    return any(is_part(Path(use.path)) for use in request.controls)


def check_length(chunks: int, name: str, identity: Identity, *, led: bool = False) -> None:
    """Refuse a text that is longer than an exported UNet or ControlNet reads.

    Args:
        chunks: How many encodings long the text is.
        name: The setting that it is.
        identity: The model.
        led: Whether an exported ControlNet leads it.

    Raises:
        InvalidRequest: If it is.
    """
    if chunks == 1:
        return
    what = "ControlNet" if led else "model"
    if led or (identity.exported is not None and identity.exported.of("unet")):
        raise InvalidRequest(
            name,
            f"is longer than the 75 tokens that an exported {what} reads; shorten it, or choose "
            f"the {what} it was made from.",
        )


def control_refusal_here(kind: ExportFormat, path: Path, platform: str = sys.platform) -> str:
    """Say in a sentence why an exported ControlNet does not run on this system; empty if it does.

    Args:
        kind: What runs it.
        path: Where it lies.
        platform: The system, as Python calls it.
    """
    if platform in _SYSTEMS[kind]:
        return ""
    return (
        f"Running {path}, a {TITLES[kind]} ControlNet, needs a Mac; choose the ControlNet that it "
        "was made from."
    )


def refusal_here(exported: Exported, platform: str = sys.platform) -> str:
    """Say in a sentence why an exported model does not run on this system; empty if it does.

    Args:
        exported: The model.
        platform: The system, as Python calls it.
    """
    if platform in _SYSTEMS[exported.format]:
        return ""
    needs = f"Running a {exported.title} model needs a Mac"
    if exported.source:
        return f"{needs}; {exported.source}, which this one was made from, runs here."
    return f"{needs}; choose another model here."


def usual_units_of(identity: Identity) -> dict[str, ComputeUnits]:
    """Say what runs each part of an exported model where nothing else is asked for.

    Returns:
        By the names of the parts that pictures are made by; empty for a model of torch's.
    """
    exported = identity.exported
    if exported is None:
        return {}
    usual = usual_units(exported.layout, is_xl=identity.needs_size)
    used = {package.name for package in exported.used}
    return {str(name): usual for name in PartName if name in used}


def units_refusal_here(exported: Exported, platform: str = sys.platform) -> str:
    """Say in a sentence why nobody chooses what runs an exported model here; empty if one does.

    Args:
        exported: The model.
        platform: The system, as Python calls it.
    """
    if (refusal := refusal_here(exported, platform)) or platform == "darwin":
        return refusal
    return f"{exported.title} computes on the CPU alone on this system."


def is_whole(identity: Identity, vae: str = "") -> bool:
    """Whether no component of a model is torch's.

    Args:
        identity: The model.
        vae: A VAE of torch's in the place of its own, or empty.
    """
    exported = identity.exported
    names = ("unet", *identity.text_encoders, "vae")
    return exported is not None and not vae and not exported.lacking(names)


def settled_for(request: Request, identity: Identity) -> Request:
    """Settle what an exported model leaves open, or leaves no choice of.

    Raises:
        InvalidRequest: If the request names units of a part that the model does not have.
    """
    exported = identity.exported
    if exported is None:
        if not _is_led_by_parts(request):
            return request
        return dataclasses.replace(request, compute_units=control_units(request, identity).value)
    units = units_text(units_of(request.compute_units, usual_units_of(identity)))
    request = dataclasses.replace(request, compute_units=units)
    if exported.of("vae") and not request.vae:
        request = dataclasses.replace(request, vae_tiling=Tiling.OFF)
    if is_whole(identity, request.vae):
        request = dataclasses.replace(request, precision=Precision.FP16)
    return request


def control_units(request: Request, identity: Identity) -> ComputeUnits:
    """Give what runs a request's exported ControlNets: what runs the UNet that they lead.

    Args:
        request: The request, settled as by ``settled_for``.
        identity: Its model. A UNet of torch's is on the GPU if there is one, and so are they.
    """
    unet = () if identity.exported is None else identity.exported.of("unet")
    usual = usual_units(Layout.ORIGINAL, is_xl=identity.needs_size)
    return unit_of(request.compute_units, unet[0].name if unet else PartName.UNET, usual)


def function_of(request: Request, sizes: Sequence[Size]) -> str:
    """Name the function of exported parts that is for pictures of a request's size.

    Args:
        request: The request.
        sizes: Those that the parts were exported for.

    Returns:
        Empty for the usual one, which is for the first of the sizes.
    """
    size = size_of_unet(request)
    return "" if size == sizes[0] else coreml_folder.function_of(*size)


def size_of_unet(request: Request) -> Size:
    """Give the width and height, in pixels, of what the UNet sees of a request first."""
    _, width, height = next(_seen_by_unet(request))
    return width, height


def _check_guidance(identity: Identity, exported: Exported) -> None:
    unet = exported.of("unet")
    if identity.guidance_embedding and unet and unet[0].input("timestep_cond") is None:
        raise Unsupported(
            f"{exported.folder} was made from a model that takes guidance as a number, and lacks "
            "that input; export it again with this version."
        )


def check_led_sizes(request: Request, sizes: Sequence[Size], name: str) -> None:
    """Refuse a size that an exported ControlNet was not exported for.

    Args:
        request: The request.
        sizes: Of the pictures that it leads.
        name: What it is called.

    Raises:
        InvalidRequest: Naming the size that it is for.
    """
    _check_sizes(_seen_by_unet(request), sizes, f"the ControlNet {name} leads", InvalidRequest)


def _check_model_sizes(request: Request, exported: Exported) -> None:
    seen: list[tuple[str, int, int]] = []
    if exported.of("unet"):
        seen += _seen_by_unet(request)
    if exported.of("vae") and not request.vae:
        seen += _seen_by_vae(request)
    if seen:
        whose = f"this {exported.title} model makes"
        _check_sizes(seen, exported.sizes, whose, NeedsExport)


def _check_sizes(
    seen: Iterable[tuple[str, int, int]],
    sizes: Sequence[Size],
    whose: str,
    refusal: type[InvalidRequest],
) -> None:
    """Refuse what is not all of one size, or none of the sizes that parts were exported for."""
    (name, width, height), *rest = seen
    # An export in the first size is of no use to what needs another one as well.
    for other, *sides in rest:
        if sides != [width, height]:
            raise InvalidRequest(
                other,
                f"{sides[0]} x {sides[1]} is another size than the {width} x {height} of the rest, "
                "and exported parts work in one size a run; do without a second pass and windows, "
                "or choose the model they were made from.",
            )
    if (width, height) not in sizes:
        named = " or ".join(f"{w} x {h}" for w, h in sizes)
        raise refusal(
            name,
            f"{width} x {height} is another size than {whose}, which is {named}; choose that, or "
            "export it again in this size.",
        )


def _seen_by_unet(request: Request) -> Iterator[tuple[str, int, int]]:
    """Give the settings that say a size of what the UNet sees, with width and height."""
    window = request.window if isinstance(request, Upscale) else 0
    yield ("window" if window else "width", *_within(window, request.width, request.height))
    if (second := request.second_pass) is not None:
        name = "second_pass.window" if second.window else "second_pass.scale"
        yield (name, *_within(second.window, *request.final_size))


def _seen_by_vae(request: Request) -> Iterator[tuple[str, int, int]]:
    yield ("width", request.width, request.height)
    if request.second_pass is not None:
        yield ("second_pass.scale", *request.final_size)


def _within(window: int, width: int, height: int) -> Size:
    return (min(window, width), min(window, height)) if window else (width, height)
