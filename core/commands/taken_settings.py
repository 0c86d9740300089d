"""What of a picture's own account serves to make another one. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, assert_never

from core.commands.moved_files import found_again
from core.errors import ModelMissing
from core.images.foreign import Foreign, Match
from core.images.metadata import Metadata, Recorded
from core.images.nearest import nearest
from core.models import catalog
from core.models.fingerprint import FIRST_HASH_DIGITS, Fingerprints, first_hash
from core.models.identify import identify
from core.models.library import Library
from core.models.library_names import plain_name
from core.models.matching import Matching, hash_digits
from core.paths import Profile

Settings = dict[str, Any]
"""Settings by the request's names."""


def nearest_settings(
    found: Foreign, given: Settings, decided: Collection[str], profile: Profile
) -> tuple[Settings, tuple[str, ...]]:
    """Give the nearest settings, the model among them, and what is to be said of them.

    Args:
        found: What another program's picture says.
        given: Settings that take the place of the picture's.
        decided: The names of those of which nothing is to be said.
        profile: Where the user's files are known.
    """
    matching = Matching(Library(profile))
    match = None if "model" in given else matching.model(found.model, found.model_hash)
    model = given.get("model", match.path if match else catalog.STARTER)
    card = catalog.card(model)
    near = nearest(
        found,
        given=decided,
        size_multiple=card.size_multiple,
        schedulers=card.schedulers,
        finder=matching,
        family=card.family,
    )
    about = (*_about_model(found, match, given, profile), *near.lost)
    return near.settings | {"model": model}, about


_OF_A_LARGER_ONE = (
    "model",
    "negative_prompt",
    "steps",
    "guidance_scale",
    "guidance_rescale",
    "guidance_start",
    "guidance_end",
    "scheduler",
    "precision",
    "vae",
    "loras",
    "embeddings",
)
"""The settings of a picture that serve a larger one of it, beside its prompt and seed."""


def settings_of(
    found: Metadata | None, given: Settings, profile: Profile
) -> tuple[Settings, tuple[str, ...]]:
    """Give the settings of a picture that serve to make more of it, not the same again.

    Args:
        found: What it says.
        given: Settings that take the place of its own. With another model, only its texts and its
            seed are taken.
        profile: Where the user's files are known.

    Returns:
        They, and what is to be said of them.
    """
    match found:
        case Recorded():
            request = found_again(found, profile).alone(found.picture)
            texts = {"prompts": request.prompts, "seed": request.seed}
            if "model" in given and not _is_one_model(given["model"], request.model):
                return texts | {"negative_prompt": request.negative_prompt}, ()
            return texts | {name: getattr(request, name) for name in _OF_A_LARGER_ONE}, ()
        case Foreign():
            decided = given.keys() | {"second_pass", "strength", "width", "height"}
            settings, about = nearest_settings(found, given, decided, profile)
            kept = ("prompts", "seed", *_OF_A_LARGER_ONE)
            return {name: settings[name] for name in kept if name in settings}, about
        case None:
            return {}, ()
        case _:
            assert_never(found)


def _is_one_model(one: str, other: str) -> bool:
    try:
        return one == other or catalog.resolve(one) == catalog.resolve(other)
    except ModelMissing:
        return False


def _about_model(
    found: Foreign, match: Match | None, given: Settings, profile: Profile
) -> list[str]:
    """Say which model takes the place of the one that another program used, if it is another."""
    if not (found.model or found.model_hash):
        return []
    hashed = f" (hash {found.model_hash})" if found.model_hash else ""
    made = f"It was made with the model {found.model or 'without a name'}{hashed}"
    if match is not None:
        if match.is_sure:
            return [f"{made}; that is {match.path} of the library."]
        return [f"{made}; {match.path} of the library has its name and another hash, and is used."]
    model = given.get("model", catalog.STARTER)
    if _is_same(found, model, profile):
        return []
    if "model" in given:
        return [f"{made}; {model} is another one."]
    return [f"{made}; {model} is used instead. Name another by --model."]


def _is_same(found: Foreign, model: str, profile: Profile) -> bool:
    """Tell whether a model is the one of a picture: by its hash, else by its name."""
    digits, path = hash_digits(found.model_hash), catalog.resolve(model)
    if len(digits) > FIRST_HASH_DIGITS:
        return hash_of(model, profile).startswith(digits)
    if digits and path.is_file():
        return first_hash(path) == digits
    return plain_name(found.model) in (plain_name(Path(model).name), model.casefold())


def hash_of(model: str, profile: Profile) -> str:
    """Hash the weights of a model, or remember the hash: 64 hex digits."""
    weights = identify(catalog.resolve(model)).weights
    return Fingerprints.kept_in(profile.cache).of_model(weights)
