"""What a finished picture says about how it was made, for the controls and for the eye."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import CoreError, InvalidRequest
from core.images.foreign import Foreign
from core.images.metadata import Recorded, read_metadata
from core.images.nearest import nearest
from core.images.samplers import SAMPLERS
from core.models import catalog
from core.models.catalog import ModelCard
from core.models.matching import Matching
from core.request import (
    ImageToImage,
    Inpaint,
    Outpaint,
    Request,
    TextToImage,
    Upscale,
    is_upscaler_file,
)
from desktop.settings import CreateSettings

_SETTINGS = (
    "negative_prompt",
    "model",
    "scheduler",
    "steps",
    "guidance_scale",
    "guidance_rescale",
    "guidance_start",
    "guidance_end",
    "precision",
    "compute_units",
    "width",
    "height",
    "seed",
)
"""The settings of a request that bear the names of the controls."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """A picture's own account.

    Attributes:
        request: What made it; of another program's picture, the nearest to that.
        picture: Its index in that request.
        said: The settings of the request that another program's picture says; None for one that
            Stepwise wrote, which says all.
        lost: A sentence for each thing that could not be taken over as it was.
    """

    request: Request
    picture: int
    said: frozenset[str] | None = None
    lost: tuple[str, ...] = ()

    @property
    def is_ours(self) -> bool:
        """Whether Stepwise wrote it."""
        return self.said is None

    def says(self, setting: str) -> bool:
        """Whether it says a setting, by the request's name."""
        return self.said is None or setting in self.said

    def settings(self, now: CreateSettings) -> CreateSettings:
        """Give the controls that make it again; what it does not say stays as it is ``now``."""
        values = now.recalled(self.request, self.picture)
        kept: dict[str, Any] = {
            name: getattr(now, name) for name in _SETTINGS if not self.says(name)
        }
        if self.says("model"):
            # Another model chooses its compute units anew, which it may not have.
            kept.pop("compute_units", None)
        if "seed" in kept:
            kept["seed_locked"] = now.seed_locked
        return dataclasses.replace(values, **kept)

    def left_out(self) -> tuple[str, ...]:
        """Name what made the picture and has no control in the window."""
        request = self.request
        parts = {
            "LoRAs": bool(request.loras),
            "embeddings": bool(request.embeddings),
            "the VAE": bool(request.vae),
            "the refiner": bool(request.refiner),
            "ControlNets": bool(request.controls),
            "the mask": isinstance(request, Inpaint),
            "the sides painted on": isinstance(request, Outpaint),
            "the second pass": request.second_pass is not None,
            "the upscaler": isinstance(request, Upscale) and is_upscaler_file(request.upscaler),
            "the windows": isinstance(request, Upscale) and request.window > 0,
        }
        return tuple(name for name, is_used in parts.items() if is_used)

    def description(self) -> str:
        """Say it in one line."""
        request = self.request.alone(self.picture)
        steps = f"{request.steps} steps" if self.says("steps") else ""
        sampler = SAMPLERS[request.scheduler] if self.says("scheduler") else ""
        parts = [
            " ".join(request.prompts[0].split()),
            f"seed {request.seed}" if self.says("seed") else "",
            " ".join(filter(None, (steps, sampler))),
            f"guidance {request.guidance_scale:g}" if self.says("guidance_scale") else "",
        ]
        if self.says("width") and self.says("height"):
            parts.append(f"{request.width} \N{MULTIPLICATION SIGN} {request.height}")
        if isinstance(request, ImageToImage):
            parts.append(f"strength {request.strength:g}")
        return "  ·  ".join(part for part in parts if part)


def recall(
    path: Path, matching: Matching | None = None, card: ModelCard | None = None
) -> Recalled | None:
    """Read the account of a picture; None if it has none that can be used.

    Args:
        path: The picture.
        matching: Finds the files that another program's picture was made with; without it, none
            are looked for, which is quicker.
        card: The model that takes the place of one that is not found.
    """
    try:
        match read_metadata(path):
            case Recorded(request=request, picture=picture):
                return Recalled(request, picture)
            case Foreign() as found:
                return _nearest(found, matching, card)
            case _:
                return None
    except InvalidRequest:
        return None


def _nearest(found: Foreign, matching: Matching | None, card: ModelCard | None) -> Recalled:
    """Give what comes nearest to another program's picture.

    Raises:
        InvalidRequest: Together the settings are none that can be made.
    """
    settings: dict[str, Any] = {}
    lost: list[str] = []
    if matching is not None and (found.model or found.model_hash):
        named = f"The model {found.model or found.model_hash}"
        if (match := matching.model(found.model, found.model_hash)) is None:
            lost.append(f"{named} is not in the library; the one chosen here is used.")
        else:
            try:
                card = catalog.card(match.path)
                settings["model"] = match.path
                if not match.is_sure:
                    lost.append(f"{named} is in the library with another hash; that is used.")
            except CoreError as error:
                lost.append(f"{named} cannot be used; the one chosen here is. {error}")
    if card is None:
        near = nearest(found, finder=matching)
    else:
        near = nearest(
            found,
            size_multiple=card.size_multiple,
            schedulers=card.schedulers,
            finder=matching,
            family=card.family,
        )
        if found.sampler:
            # Where its sampler is none of ours, the sentence about it promises the usual one.
            settings["scheduler"] = card.scheduler
    settings |= near.settings
    return Recalled(TextToImage(**settings), 0, frozenset(settings), (*lost, *near.lost))
