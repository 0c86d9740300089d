"""What the command line asks the engine for: a new request, or one read from a picture."""

from __future__ import annotations

import dataclasses
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from core.errors import InvalidRequest, ModelInvalid
from core.images.foreign import Foreign
from core.images.metadata import Recorded, read_metadata
from core.images.nearest import nearest
from core.models import catalog
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.paths import Profile, expanded, is_file
from core.request import (
    MAX_SEED,
    EmbeddingUse,
    ImageToImage,
    LoraUse,
    Request,
    TextToImage,
)

AdapterUse = TypeVar("AdapterUse", LoraUse, EmbeddingUse)


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


def new_task(given: dict[str, Any]) -> Task:
    """Fill up what was given with the model's own defaults and a seed nobody chose.

    Args:
        given: Settings by the request's names, ``prompts`` among them.

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
    request = _request(defaults | given)
    if "seed" not in given:
        seed = secrets.randbelow(MAX_SEED + 2 - request.total)
        return Task(
            request=dataclasses.replace(request, seed=seed), notices=(f"The seed is {seed}.",)
        )
    return Task(request=request)


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
    found = read_metadata(picture)
    if found is None:
        raise InvalidRequest(
            "from", f"{picture} does not say how it was made; give a picture that this app saved."
        )
    if isinstance(found, Foreign):
        return _nearest_task(picture, found, given)
    if not given.keys() - {"model"}:
        if not given:
            _check_model(found, profile)
        request = _located(dataclasses.replace(found.request, **given))
        return Task(request=request, only=found.picture, device=found.device)
    fields = dataclasses.fields(found.request)
    recorded = {field.name: getattr(found.request, field.name) for field in fields} | {
        "prompts": (found.request.prompt_of(found.picture),),
        "seed": found.seed,
        "shared_seed": False,
        "count": 1,
        "batch_size": 0,
    }
    if "init_image" in given:
        recorded["init_sha256"] = ""
    return Task(request=_request(recorded | given))


def _nearest_task(picture: Path, found: Foreign, given: dict[str, Any]) -> Task:
    """Give what makes the like of another program's picture."""
    card = catalog.card(given.get("model", catalog.STARTER))
    near = nearest(found, given=given, size_multiple=card.size_multiple, schedulers=card.schedulers)
    notices = [
        f"{picture} was made by another program ({found.program}); its settings are taken, but "
        "the picture will be another one."
    ]
    if "model" not in given and (found.model or found.model_hash):
        hashed = f" (hash {found.model_hash})" if found.model_hash else ""
        notices.append(
            f"It was made with the model {found.model or 'without a name'}{hashed}; {card.name} is "
            "used instead. Name another by --model."
        )
    task = new_task(near.settings | given)
    return dataclasses.replace(task, notices=(*notices, *near.lost, *task.notices))


def _check_model(found: Recorded, profile: Profile) -> None:
    weights = identify(catalog.resolve(found.request.model)).weights
    now = Fingerprints.kept_in(profile.cache).of_model(weights)
    if now != found.model_sha256:
        raise ModelInvalid(
            f"The model {found.request.model} has changed since the picture was made (its hash is "
            f"{now[:10]}, not {found.model_sha256[:10]}); name it by --model to make the picture "
            "anew with this one, or give the path of the old one."
        )


def _request(values: dict[str, Any]) -> Request:
    if "init_image" in values:
        return _located(ImageToImage(**values))
    if "strength" in values:
        raise InvalidRequest("strength", "needs a start picture; add --init.")
    return _located(TextToImage(**values))


def _located(request: Request) -> Request:
    """Make the paths in a request absolute, so that a picture can be repeated from anywhere."""
    if request.model not in catalog.names():
        request = dataclasses.replace(request, model=str(catalog.resolve(request.model)))
    request = dataclasses.replace(
        request,
        loras=tuple(_found(use) for use in request.loras),
        embeddings=tuple(_found(use) for use in request.embeddings),
    )
    if isinstance(request, ImageToImage):
        init_image = expanded(Path(request.init_image)).absolute()
        request = dataclasses.replace(request, init_image=str(init_image))
    return request


def _found(use: AdapterUse) -> AdapterUse:
    """Make a path absolute; what is no file is a name."""
    path = expanded(Path(use.path))
    return dataclasses.replace(use, path=str(path.absolute())) if is_file(path) else use
