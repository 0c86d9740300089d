"""The library as the window sees it: whole immutable snapshots, never deltas."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.models.curated import Curated
from core.models.library_events import Progress
from core.models.listing import Listed
from desktop.library_work import Begun


class TransferState(StrEnum):
    """Where a download stands."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Transfer:
    """A download that was asked for.

    Attributes:
        state: Where it stands.
        progress: What it reported last, if anything.
        note: What it waits for, or empty while bytes arrive.
    """

    state: TransferState
    progress: Progress | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model worth having.

    Attributes:
        model: It.
        installed: Whether the library has it.
        arrived: Bytes of it that have arrived and wait for the rest.
        transfer: Its download, if one was asked for.
    """

    model: Curated
    installed: bool = False
    arrived: int = 0
    transfer: Transfer | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What goes on with the files of this machine.

    Attributes:
        begun: The model that is being added, if one is.
        progress: What was reported last, if anything.
    """

    begun: Begun | None = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class ShelfSnapshot:
    """The library at one moment.

    Attributes:
        models: The app's own models and those of the library; none before they were read.
        offers: The models worth having.
        work: What goes on, if anything does.
    """

    models: tuple[Listed, ...] = ()
    offers: tuple[Offer, ...] = ()
    work: Work | None = None

    def offer(self, model_id: str) -> Offer:
        """The offer of that id."""
        return next(offer for offer in self.offers if offer.model.id == model_id)
