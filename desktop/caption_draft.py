"""What stands in the tools that have a model write captions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from core.request import DeviceName
from core.training.caption_models import STARTER
from core.training.caption_request import CaptionRequest, CaptionSettings


class Which(StrEnum):
    """Which captions a model writes."""

    LACKING = "lacking"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionDraft:
    """How captions are to be written.

    Attributes:
        model: A name or the path of a folder.
        folders: Of captioners that were opened.
        which: Which captions.
        prefix: What each begins with.
        suffix: What each ends with.
        beams: Captions followed at once.
        longest: Tokens, at most.
    """

    model: str = STARTER
    folders: tuple[str, ...] = ()
    which: Which = Which.LACKING
    prefix: str = ""
    suffix: str = ""
    beams: int = CaptionSettings.BEAMS
    longest: int = CaptionSettings.MAX_TOKENS

    def request(self, folder: Path, device: DeviceName) -> CaptionRequest:
        """Give what writes captions so.

        Args:
            folder: Of the pictures.
            device: Where to compute.

        Raises:
            InvalidRequest: Naming the number that is out of its range.
        """
        return CaptionRequest(
            folder=folder,
            model=self.model,
            overwrite=self.which is Which.ALL,
            settings=CaptionSettings(
                prefix=self.prefix,
                suffix=self.suffix,
                beams=self.beams,
                max_tokens=self.longest,
            ),
            device=device,
        )
