"""What a finished picture says about how it was made, for the controls and for the eye."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from core.errors import InvalidRequest
from core.images.foreign import Foreign
from core.images.metadata import Recorded, read_metadata
from core.images.nearest import nearest
from core.images.samplers import SAMPLERS
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


@dataclass(frozen=True, slots=True)
class Recalled:
    """A picture's own account.

    Attributes:
        request: What made it.
        picture: Its index in that request.
        is_ours: Whether Stepwise wrote it.
        names_model: Whether its model is one that can be chosen here; that of another program's
            picture may not be.
    """

    request: Request
    picture: int
    is_ours: bool
    names_model: bool

    def settings(self, now: CreateSettings) -> CreateSettings:
        """Give the controls that make it again; what it does not say stays as it is ``now``."""
        values = now.recalled(self.request, self.picture)
        return values if self.names_model else dataclasses.replace(values, model=now.model)

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
        request = self.request
        parts = [
            " ".join(request.prompt_of(self.picture).split()),
            f"seed {request.seed_of(self.picture)}",
            f"{request.steps} steps {SAMPLERS[request.scheduler]}",
            f"guidance {request.guidance_scale:g}",
            f"{request.width} \N{MULTIPLICATION SIGN} {request.height}",
        ]
        if isinstance(request, ImageToImage):
            parts.append(f"strength {request.strength:g}")
        return "  ·  ".join(part for part in parts if part)


def recall(path: Path, matching: Matching | None = None, family: str = "") -> Recalled | None:
    """Read the account of a picture; None if it has none that can be used.

    Args:
        path: The picture.
        matching: Finds the files that another program's picture was made with; without it, none
            are looked for, which is quicker.
        family: Architecture of the model that takes the place of one that is not found.
    """
    try:
        match read_metadata(path):
            case Recorded(request=request, picture=picture):
                return Recalled(request, picture, is_ours=True, names_model=True)
            case Foreign() as found:
                model = matching.model(found.model, found.model_hash) if matching else None
                family = model.family if model else family
                settings = nearest(found, finder=matching, family=family).settings
                if model:
                    settings["model"] = model.path
                account = TextToImage(**settings)
                return Recalled(account, 0, is_ours=False, names_model=model is not None)
            case _:
                return None
    except InvalidRequest:
        return None
