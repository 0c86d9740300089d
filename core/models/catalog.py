"""The models there are, by name, and what the window may offer for each. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import core.starter
from core.errors import InvalidRequest, ModelInvalid, ModelMissing, Unsupported
from core.models.identify import PredictionType, identify
from core.paths import expanded
from core.request import PreviewDecoder, SchedulerName, TextToImage, parse_choice

STARTER = "starter"
SETTINGS_FILE = "stepwise.json"

DEFAULT_STEPS = 25
DEFAULT_GUIDANCE_SCALE = 7.5

_SHIPPED = {STARTER: Path(core.starter.__path__[0]) / "weights"}

_NOT_FOR_SAMPLE_PREDICTION = {SchedulerName.PNDM, SchedulerName.EULER_ANCESTRAL}
"""Diffusers' classes of these cannot step from a prediction of the clean latents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a person sees of a model and what its controls should stand at.

    Attributes:
        name: What a request calls it: a name of ours or the path of its folder.
        title: For people.
        path: Its folder.
        family: ``sd1``, ``sd2`` or ``custom``.
        prediction_type: What its UNet predicts.
        width: Native size of its pictures, in pixels.
        height: Native size of its pictures, in pixels.
        size_multiple: What width and height must be multiples of, in pixels.
        steps: Good default.
        guidance_scale: Good default.
        scheduler: Good default.
        schedulers: Those that work with it.
        preview_decoders: Those that it has.
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


def names() -> tuple[str, ...]:
    """The models that can be asked for by name."""
    return tuple(_SHIPPED)


def resolve(model: str) -> Path:
    """Find the folder of a model by its name or path; a name goes before a folder called so.

    Raises:
        ModelMissing: If there is none.
        Unsupported: If the path is that of a single file.
    """
    shipped = _SHIPPED.get(model)
    path = shipped if shipped is not None else expanded(Path(model))
    try:
        if path.is_dir():
            return path.resolve()
        is_file = path.is_file()
    except OSError as error:
        raise ModelMissing(
            f"{model} cannot be looked into ({error.strerror or error}); choose another model."
        ) from error
    if is_file:
        raise Unsupported(f"{path} is a single file; this version reads model folders.")
    if shipped is not None:
        raise ModelMissing(
            f"The model {model} is not installed at {shipped}; install the package again."
        )
    raise ModelMissing(
        f"There is no model {model!r}: neither a name ({', '.join(_SHIPPED)}) nor a folder; "
        "give the path of a Stable Diffusion folder."
    )


def card(model: str) -> ModelCard:
    """Describe a model from its small files.

    Raises:
        ModelMissing: If there is no such model.
        ModelInvalid: If its files are damaged or its ``stepwise.json`` is.
        Unsupported: If it is of a kind that is not run.
        UnsafeFile: If its weights are pickles or it brings code.
    """
    identity = identify(resolve(model))
    settings = _read_settings(identity.folder / SETTINGS_FILE)
    schedulers = schedulers_for(identity.prediction_type)
    scheduler = settings.scheduler
    return ModelCard(
        name=model,
        title=settings.title or identity.folder.name,
        path=identity.folder,
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
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """What a model's ``stepwise.json`` says, with the family's defaults for the rest."""

    title: str = ""
    steps: int = DEFAULT_STEPS
    guidance_scale: float = DEFAULT_GUIDANCE_SCALE
    scheduler: SchedulerName = SchedulerName.PNDM


def schedulers_for(prediction_type: PredictionType) -> tuple[SchedulerName, ...]:
    """Give the sampling methods that can step from a kind of prediction."""
    if prediction_type is PredictionType.SAMPLE:
        return tuple(name for name in SchedulerName if name not in _NOT_FOR_SAMPLE_PREDICTION)
    return tuple(SchedulerName)


def _read_settings(path: Path) -> _Settings:
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _Settings()
    except (OSError, ValueError, RecursionError) as error:
        raise _bad_settings(path, str(error)) from error
    defaults = values.get("defaults", {}) if isinstance(values, dict) else None
    if not isinstance(defaults, dict):
        raise _bad_settings(path, "it is no JSON object with an object of defaults")
    try:
        scheduler = parse_choice(
            "scheduler", defaults.get("scheduler", SchedulerName.PNDM), SchedulerName
        )
        # A request knows the ranges; it is built to have them checked.
        checked = TextToImage(
            prompts=("",),
            steps=defaults.get("steps", DEFAULT_STEPS),
            guidance_scale=defaults.get("guidance_scale", DEFAULT_GUIDANCE_SCALE),
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
