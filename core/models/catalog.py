"""The models there are, by name, and what the window may offer for each. Imports no torch."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import core.starter
from core.compute_units import ComputeUnits
from core.errors import CoreError, InvalidRequest, ModelInvalid, ModelMissing
from core.models.curated import Curated
from core.models.exported_limits import limits_of, units_refusal_here, usual_units_of
from core.models.families import Defaults, Distillation, ignored_settings, refused_schedulers
from core.models.identify import Identity, identify
from core.models.names import gone
from core.paths import expanded
from core.request import PreviewDecoder, SchedulerName, TextToImage, parse_choice

log = logging.getLogger(__name__)

STARTER = "starter"
SETTINGS_FILE = "stepwise.json"

SHIPPED = {STARTER: Path(core.starter.__path__[0]) / "weights"}
"""The models that come with the app, by name; they go before all others."""


class Shelf(Protocol):
    """Whoever knows further models by name, such as the user's library."""

    def models(self) -> Mapping[str, Path]:
        """Give where each model lies.

        Raises:
            CoreError: If nobody can say now.
        """

    def known(self, path: Path) -> Curated | None:
        """Give what our own list says of the model that lies there, if it is from there.

        Raises:
            CoreError: If nobody can say now.
        """


_shelf: Shelf | None = None


def use_shelf(shelf: Shelf) -> None:
    """Let this process find the models of a shelf by name; they take the place of an earlier one's.

    Whoever puts a program together calls this once: the command line, the window, and the engine's
    own process.
    """
    global _shelf
    _shelf = shelf


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a person sees of a model and what its controls should stand at.

    Attributes:
        name: What a request calls it: a name of ours or the path of its folder or file.
        title: For people.
        path: Its folder or file.
        family: ``sd1``, ``sd2``, ``sdxl``, ``sdxl-refiner`` or ``custom``.
        prediction_type: What its UNet predicts.
        width: Native size of its pictures, in pixels.
        height: Native size of its pictures, in pixels.
        size_multiple: What width and height must be multiples of, in pixels.
        steps: Good default.
        guidance_scale: Good default.
        scheduler: Good default.
        schedulers: Those that work with it.
        preview_decoders: Those that it has.
        refused_schedulers: Those that do not work with it, each with the reason.
        ignored: Settings of a request that have no say with it as it stands by default, each with
            the reason.
        distillation: How it was taught to need few steps: ``none``, ``turbo``, ``lcm`` and so on.
        is_guess: Whether its name alone says so, and its settings go by that.
        timestep_spacing: How its timesteps are spread: ``leading``, ``linspace`` or ``trailing``.
        inpainting: Whether it needs a start picture and a mask.
        precision: The number format of most of its UNet's weights, such as ``"fp16"``.
        needs_size: Whether it is told the size and crop of the picture, as SDXL is.
        guidance_embedding: Whether guidance is an input of its UNet, which costs no second half.
        zero_terminal_snr: Whether its schedule ends in pure noise.
        limits: Settings of a request that it cannot serve, each with the reason and the remedy.
        sizes: Width and height of the pictures that it makes, if it makes no others.
        usual_units: What runs each part of it where nothing else is asked for, if it is exported.
        units_refused: Why there is no choice of that on this system, or empty.
    """

    name: str
    title: str
    path: Path
    family: str
    prediction_type: str
    width: int
    height: int
    size_multiple: int
    steps: int
    guidance_scale: float
    scheduler: SchedulerName
    schedulers: tuple[SchedulerName, ...]
    preview_decoders: tuple[PreviewDecoder, ...]
    refused_schedulers: Mapping[SchedulerName, str] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)
    distillation: str = "none"
    is_guess: bool = False
    timestep_spacing: str = "leading"
    inpainting: bool = False
    precision: str = ""
    needs_size: bool = False
    guidance_embedding: bool = False
    zero_terminal_snr: bool = False
    limits: Mapping[str, str] = field(default_factory=dict)
    sizes: tuple[tuple[int, int], ...] = ()
    usual_units: Mapping[str, ComputeUnits] = field(default_factory=dict)
    units_refused: str = ""


def names() -> tuple[str, ...]:
    """The models that can be asked for by name, the shipped ones first."""
    try:
        return (*SHIPPED, *_on_shelf())
    except CoreError as error:
        log.warning("the models of the library cannot be listed: %s", error)
        return tuple(SHIPPED)


def resolve(model: str) -> Path:
    """Find a model's folder or file by name or path; a name goes before a path called so.

    Names are compared without regard to small and capital letters.

    Raises:
        ModelMissing: If there is none.
        ModelInvalid: If the list of the user's models is damaged.
        InvalidRequest: If nothing is named.
    """
    if not model.strip():
        raise InvalidRequest("model", "is empty; give a name or a path.")
    named = SHIPPED.get(model)
    if named is None and not {"/", "\\"}.intersection(model):
        wanted, shelf = model.casefold(), _on_shelf()
        named = next((path for name, path in shelf.items() if name.casefold() == wanted), None)
    path = named if named is not None else expanded(Path(model))
    try:
        if path.exists():
            return path.resolve()
    except OSError as error:
        raise ModelMissing(
            f"{model} cannot be looked into ({error.strerror or error}); choose another model."
        ) from error
    if model in SHIPPED:
        raise ModelMissing(
            f"The model {model} is not installed at {path}; install the package again."
        )
    if named is not None:
        raise gone("model", model, path)
    raise ModelMissing(
        f"There is no model {model!r}: neither a name ({', '.join(names())}) nor a folder or file; "
        "give the path of a Stable Diffusion model, or see `stepwise models list --available`."
    )


def _on_shelf() -> Mapping[str, Path]:
    return {} if _shelf is None else _shelf.models()


def card(model: str) -> ModelCard:
    """Describe a model from its small files.

    Raises:
        ModelMissing: If there is no such model.
        ModelInvalid: If its files are damaged or its ``stepwise.json`` is.
        Unsupported: If it is of a kind that is not run.
        UnsafeFile: If its weights are pickles that could run code, or it brings code.
    """
    identity = identify(resolve(model))
    settings = _settings_of(identity)
    refused = refusals_for(identity)
    schedulers = tuple(name for name in SchedulerName if name not in refused)
    scheduler = settings.scheduler
    path, exported = identity.path, identity.exported
    plain = ModelCard(
        name=model,
        title=settings.title
        or (model if model in names() else path.stem if identity.single_file else path.name),
        path=path,
        family=identity.family.value,
        prediction_type=identity.prediction_type.value,
        width=identity.width,
        height=identity.height,
        size_multiple=max(8, identity.vae_scale),
        steps=settings.steps,
        guidance_scale=settings.guidance_scale,
        scheduler=scheduler if scheduler in schedulers else schedulers[0],
        schedulers=schedulers,
        preview_decoders=tuple(
            decoder
            for decoder in PreviewDecoder
            if decoder is not PreviewDecoder.TINY or identity.tiny_vae is not None
        ),
        refused_schedulers=refused,
        ignored=ignored_settings(
            identity.distillation, guidance_embedding=identity.guidance_embedding
        ),
        distillation=identity.distillation.value,
        is_guess=identity.is_guess
        and replace(settings, title="") == _from_defaults(identity.defaults),
        timestep_spacing=str(identity.configs["scheduler"].get("timestep_spacing", "leading")),
        inpainting=identity.inpainting,
        precision=identity.precision,
        needs_size=identity.needs_size,
        guidance_embedding=identity.guidance_embedding,
        zero_terminal_snr=identity.zero_terminal_snr,
        limits=limits_of(identity),
        sizes=() if exported is None else exported.sizes,
        usual_units=usual_units_of(identity),
        units_refused="" if exported is None else units_refusal_here(exported),
    )
    return with_good_settings(plain, _known(path))


def _known(path: Path) -> Curated | None:
    try:
        return None if _shelf is None else _shelf.known(path)
    except CoreError as error:
        log.warning("what is known of %s cannot be read: %s", path, error)
        return None


def with_good_settings(card: ModelCard, known: Curated | None) -> ModelCard:
    """Give a card with the settings that our own list has for the model."""
    if known is None or known.scheduler not in card.schedulers:
        return card
    return replace(
        card,
        steps=known.steps,
        guidance_scale=known.guidance_scale,
        scheduler=known.scheduler,
        is_guess=False,
    )


def refusals_for(identity: Identity) -> dict[SchedulerName, str]:
    """Say which sampling methods do not work with a model, each with the reason.

    What only its name says of it refuses none.
    """
    return refused_schedulers(
        identity.prediction_type,
        zero_terminal_snr=identity.zero_terminal_snr,
        distillation=Distillation.NONE if identity.is_guess else identity.distillation,
        guidance_embedding=identity.guidance_embedding,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """What a model's ``stepwise.json`` says, with its kind's defaults for the rest."""

    title: str = ""
    steps: int
    guidance_scale: float
    scheduler: SchedulerName


def _settings_of(identity: Identity) -> _Settings:
    """Read the settings that lie in a model's folder; a file has none of its own."""
    if not identity.single_file:
        return _read_settings(identity.folder / SETTINGS_FILE, identity.defaults)
    return _from_defaults(identity.defaults)


def _from_defaults(defaults: Defaults) -> _Settings:
    return _Settings(
        steps=defaults.steps,
        guidance_scale=defaults.guidance_scale,
        scheduler=defaults.scheduler,
    )


def _read_settings(path: Path, usual: Defaults) -> _Settings:
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _from_defaults(usual)
    except (OSError, ValueError, RecursionError) as error:
        raise _bad_settings(path, str(error)) from error
    defaults = values.get("defaults", {}) if isinstance(values, dict) else None
    if not isinstance(defaults, dict):
        raise _bad_settings(path, "it is no JSON object with an object of defaults")
    try:
        scheduler = parse_choice(
            "scheduler", defaults.get("scheduler", usual.scheduler), SchedulerName
        )
        # A request knows the ranges; it is built to have them checked.
        checked = TextToImage(
            prompts=("",),
            steps=defaults.get("steps", usual.steps),
            guidance_scale=defaults.get("guidance_scale", usual.guidance_scale),
        )
    except InvalidRequest as error:
        raise _bad_settings(path, str(error)) from error
    return _Settings(
        title=str(values.get("title", "")),
        steps=checked.steps,
        guidance_scale=checked.guidance_scale,
        scheduler=scheduler,
    )


def _bad_settings(path: Path, why: str) -> ModelInvalid:
    return ModelInvalid(f"{path} cannot be used ({why}); mend or delete it.")
