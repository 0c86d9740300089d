"""What the command line asks the engine for: a new request, or one read from a picture."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from core.commands.moved_files import found_again, with_pictures
from core.commands.own_size import own_size
from core.commands.taken_settings import hash_of, nearest_settings
from core.compute_units import AUTO
from core.errors import CoreError, InvalidRequest, ModelInvalid
from core.images.foreign import Foreign
from core.images.metadata import NEWER, Recorded, is_newer, read_metadata
from core.models import catalog
from core.models.families import Distillation
from core.models.identify import identify
from core.models.library import Library
from core.models.names import locate
from core.models.taught import Teaching, lora_teaching, model_teaching
from core.models.verdict import Kind
from core.paths import Profile, exists, expanded, is_dir, is_file
from core.request import (
    MAX_SEED,
    ControlUse,
    EmbeddingUse,
    ImageToImage,
    Inpaint,
    LoraUse,
    MemoryMode,
    Outpaint,
    Request,
    SecondPass,
    TextToImage,
    Upscale,
    is_upscaler_file,
)
from core.sampling.prompt_syntax import take_loras

AdapterUse = TypeVar("AdapterUse", LoraUse, EmbeddingUse)
EnlargingPart = TypeVar("EnlargingPart", Upscale, SecondPass)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A request, and which part of it to carry out.

    Attributes:
        request: What to make.
        only: Index of the one picture of it to make, or all.
        notices: What the person should know before it begins, a sentence each.
        device: What computed the picture that is to be made again, or empty.
    """

    request: Request
    only: int | None = None
    notices: tuple[str, ...] = ()
    device: str = ""


def new_task(given: dict[str, Any], profile: Profile) -> Task:
    """Fill up what was given with the model's own defaults and a seed nobody chose.

    A model or LoRA that its name tells was distilled to few steps brings defaults of its own, which
    is said.

    Args:
        given: Settings by the request's names, ``prompts`` among them; those of a second pass as
            a mapping.
        profile: Where LoRAs are known by name.

    Raises:
        InvalidRequest: A setting is out of range.
        CoreError: The model is not there or is not sound; see ``catalog.card``.
    """
    card = catalog.card(given.get("model", catalog.STARTER))
    defaults: dict[str, Any] = {
        "steps": card.steps,
        "guidance_scale": card.guidance_scale,
        "scheduler": card.scheduler,
        "width": card.width,
        "height": card.height,
    }
    teaching = _teaching(card, given, profile)
    notices = [taken] if teaching and (taken := teaching.taken(given)) else []
    if teaching:
        defaults |= {
            "steps": teaching.defaults.steps,
            "guidance_scale": teaching.defaults.guidance_scale,
            "scheduler": teaching.defaults.scheduler,
        }
    request = _request(defaults | given | own_size(given))
    if "seed" not in given:
        seed = secrets.randbelow(MAX_SEED + 2 - request.total)
        request = dataclasses.replace(request, seed=seed)
        notices.append(f"The seed is {seed}.")
    return Task(request=request, notices=tuple(notices))


def _teaching(
    card: catalog.ModelCard, given: Mapping[str, Any], profile: Profile
) -> Teaching | None:
    """Find what the names promise of the model, or of the LoRAs that are asked for."""
    if card.is_guess:
        return model_teaching(identify(card.path))
    _, tags = take_loras(next(iter(given["prompts"]), ""), "prompts")
    names = [*(use.path for use in given.get("loras", ())), *(tag.name for tag in tags)]
    find = Library(profile).finder(Kind.LORA)
    try:
        loras = [locate(name, find, "LoRA") for name in names]
        return lora_teaching(Distillation(card.distillation), loras)
    except CoreError:
        # What is missing or damaged is told by the engine, which needs it.
        return None


def repeated_task(picture: Path, given: dict[str, Any], profile: Profile) -> Task:
    """Give what makes a picture again.

    A picture of ours comes out bit for bit, from the batch that it was made in and on the device
    that made it, unless a setting is given: then it is a new picture with that setting changed. A
    model given says where the model lies now. Of another program's picture the nearest settings are
    taken, and what could not be honoured is said.

    Args:
        picture: Any picture that says how it was made.
        given: Settings by the request's names that take the place of the picture's.
        profile: Where hashes of models are remembered.

    Raises:
        InvalidRequest: The picture cannot be read or says nothing, or a setting is out of range.
        ModelInvalid: The model has changed since and none was given.
        CoreError: See ``new_task``.
    """
    try:
        found = read_metadata(picture)
    except InvalidRequest as error:
        raise InvalidRequest("from", error.reason) from error
    if found is None:
        why = "does not say how it was made; give a picture that this app saved."
        if is_newer(picture):
            why = f"cannot be made again. {NEWER}"
        raise InvalidRequest("from", f"{picture} {why}")
    if isinstance(found, Foreign):
        return _nearest_task(picture, found, given, profile)
    request = with_pictures(found_again(found, profile), picture.parent)
    found = dataclasses.replace(found, request=request)
    if "second_pass" in given and found.request.second_pass is not None:
        before = dataclasses.asdict(found.request.second_pass)
        if "upscaler" in given["second_pass"]:
            before["upscaler_sha256"] = ""
        given = given | {"second_pass": before | given["second_pass"]}
    if not given.keys() - {"model"}:
        if not given:
            _check_model(found, profile)
        request = _located(dataclasses.replace(found.request, **_by_units_of(given)))
        notices = _of_another_model(found, given, profile)
        return Task(request=request, only=found.picture, device=found.device, notices=notices)
    alone = found.request.alone(found.picture)
    recorded = {field.name: getattr(alone, field.name) for field in dataclasses.fields(alone)}
    recorded |= {"batch_size": 0, "memory": MemoryMode.AUTO}
    for name, hash_name in _HASHED.items():
        if name in given:
            recorded[hash_name] = ""
    if not found.request.refiner:
        del recorded["refiner"], recorded["refiner_start"]
    notices = _of_another_model(found, given, profile)
    return Task(request=_request(recorded | _by_units_of(given)), notices=notices)


def _by_units_of(given: dict[str, Any]) -> dict[str, Any]:
    """Let another model choose its compute units anew, which it may not have."""
    return {"compute_units": AUTO} | given if "model" in given else given


def _nearest_task(picture: Path, found: Foreign, given: dict[str, Any], profile: Profile) -> Task:
    """Give what makes the like of another program's picture."""
    settings, about = nearest_settings(found, given, given.keys() - {"second_pass"}, profile)
    if "second_pass" in given and "second_pass" in settings:
        before = dataclasses.asdict(settings["second_pass"])
        given = given | {"second_pass": before | given["second_pass"]}
    task = new_task(settings | given, profile)
    notices = (
        f"{picture} was made by another program ({found.program}); its settings are taken, but "
        "the picture will be another one.",
        *about,
        *task.notices,
    )
    return dataclasses.replace(task, notices=notices)


def _of_another_model(found: Recorded, given: dict[str, Any], profile: Profile) -> tuple[str, ...]:
    """Say so if a picture of ours is to be made again with another model than it was."""
    if "model" not in given or not found.model_sha256:
        return ()
    now = hash_of(given["model"], profile)
    if now == found.model_sha256:
        return ()
    return (
        f"The picture was made with another model, {found.request.model} (hash "
        f"{found.model_sha256[:10]}), than {given['model']} (hash {now[:10]}); it will be another "
        "picture.",
    )


def _check_model(found: Recorded, profile: Profile) -> None:
    if not found.model_sha256:
        return  # None took part.
    now = hash_of(found.request.model, profile)
    if now != found.model_sha256:
        raise ModelInvalid(
            f"The model {found.request.model} has changed since the picture was made (its hash is "
            f"{now[:10]}, not {found.model_sha256[:10]}); name it by --model to make the picture "
            "anew with this one, or give the path of the old one."
        )


_HASHED = {
    "vae": "vae_sha256",
    "refiner": "refiner_sha256",
    "init_image": "init_sha256",
    "mask_image": "mask_sha256",
    "upscaler": "upscaler_sha256",
}
"""The files that a request names, and where their hashes stand."""


def _request(values: dict[str, Any]) -> Request:
    """Build the kind of request that has all these settings."""
    kind: type[TextToImage] = ImageToImage if "init_image" in values else TextToImage
    for special in (Inpaint, Outpaint, Upscale):
        if values.keys() & _own(special):
            kind = special
            break
    if "init_image" not in values and (alone := sorted(values.keys() & _STARTED)):
        raise InvalidRequest(alone[0], "needs a start picture; add --init.")
    known = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(values.keys() - known):
        raise InvalidRequest(unknown[0], f"does not go with {kind.kind}; leave one of them out.")
    if kind is Inpaint and "mask_image" not in values:
        raise InvalidRequest("mask_image", "is missing; add --mask.")
    if not values.get("refiner"):
        values = _unrefined(values)
    if isinstance(second := values.get("second_pass"), dict):
        values = values | {"second_pass": SecondPass(**second)}
    return _located(kind(**values))


def _unrefined(values: dict[str, Any]) -> dict[str, Any]:
    """Give settings without a refiner; where none is named by an empty name, its start goes too.

    Raises:
        InvalidRequest: Of a start where nothing at all is said of a refiner.
    """
    if "refiner_start" in values and "refiner" not in values:
        raise InvalidRequest("refiner_start", "needs a refiner; add --refiner.")
    return {name: value for name, value in values.items() if not name.startswith("refiner")}


def _own(kind: type[ImageToImage]) -> set[str]:
    """Give the settings that make a request one of this kind and no other."""
    fields = {field.name for field in dataclasses.fields(kind)}
    shared = {field.name for field in dataclasses.fields(ImageToImage)} | {"mask_blur"}
    return fields - shared


_STARTED = {
    field.name for kind in (Inpaint, Outpaint, Upscale) for field in dataclasses.fields(kind)
} - {field.name for field in dataclasses.fields(TextToImage)}
"""The settings that mean nothing without a start picture."""


def _located(request: Request) -> Request:
    """Make the paths in a request absolute, so that a picture can be repeated from anywhere."""
    for name in ("model", "refiner"):
        model = getattr(request, name)
        if model and model not in catalog.names():
            place: dict[str, Any] = {name: str(catalog.resolve(model))}
            request = dataclasses.replace(request, **place)
    request = dataclasses.replace(
        request,
        loras=tuple(_found(use) for use in request.loras),
        embeddings=tuple(_found(use) for use in request.embeddings),
        controls=tuple(_followed(use) for use in request.controls),
    )
    vae = expanded(Path(request.vae))
    if request.vae and exists(vae):
        request = dataclasses.replace(request, vae=str(vae.absolute()))
    if isinstance(request, Upscale):
        request = _enlarged_by(request)
    elif request.second_pass is not None:
        request = dataclasses.replace(request, second_pass=_enlarged_by(request.second_pass))
    for name in ("init_image", "mask_image"):
        if path := getattr(request, name, ""):
            changes: dict[str, Any] = {name: str(expanded(Path(path)).absolute())}
            request = dataclasses.replace(request, **changes)
    return request


def _enlarged_by(part: EnlargingPart) -> EnlargingPart:
    """Make the path of an upscaler's file absolute."""
    path = expanded(Path(part.upscaler))
    if not is_upscaler_file(part.upscaler) or not is_file(path):
        return part
    return dataclasses.replace(part, upscaler=str(path.absolute()))


def _followed(use: ControlUse) -> ControlUse:
    """Make the paths of a ControlNet and of its picture absolute."""
    path, image = expanded(Path(use.path)), str(expanded(Path(use.image)).absolute())
    if is_file(path) or is_dir(path):
        return dataclasses.replace(use, path=str(path.absolute()), image=image)
    return dataclasses.replace(use, image=image)


def _found(use: AdapterUse) -> AdapterUse:
    """Make a path absolute; what is no file is a name."""
    path = expanded(Path(use.path))
    return dataclasses.replace(use, path=str(path.absolute())) if is_file(path) else use
