"""What happened: plain, picklable values that an engine yields while it works. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from core.paths import Profile
from core.request import DeviceName, MemoryMode, PreviewDecoder, Request
from core.training.config import TrainConfig

EventT_co = TypeVar("EventT_co", covariant=True)

Pixels = npt.NDArray[np.uint8]
"""A picture: ``(H, W, 3) uint8``, RGB, C-contiguous, never written to again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """Something is being made ready before the first step.

    Attributes:
        what: A few words for the person who waits: ``"the model starter"``.
        seconds: How long it has been going on, where it says so again and again.
    """

    what: str
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """What a run is thought to take, said before the model is loaded.

    Attributes:
        needed: Bytes that it will take of those free.
        free: Bytes there are on the device.
        mode: How it will be run, full or low.
    """

    needed: int = field(compare=False)
    free: int = field(compare=False)
    mode: MemoryMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The predicted clean picture of one of the pictures in flight.

    Attributes:
        picture: Its index in the request.
        pixels: ``(h, w, 3) uint8``; a linear preview is an eighth of the picture's size.
        decoder: What decoded it.
    """

    picture: int
    pixels: Pixels = field(compare=False, repr=False)
    decoder: PreviewDecoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A denoising step is done, or a tile of a picture that an upscaler's network enlarges.

    Attributes:
        index: 1 to ``total``.
        total: Steps of this batch; a start picture that is enlarged is one of its own.
        pictures: Indices of the pictures denoised together in this batch.
        total_pictures: Pictures of the whole request.
        seconds: Time since this batch's first step began, previews included.
        previews: One for each picture of ``pictures``, or none where the step was skipped.
    """

    index: int
    total: int
    pictures: tuple[int, ...]
    total_pictures: int
    seconds: float = field(compare=False)
    previews: tuple[Preview, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReady:
    """A picture is finished and held in memory only.

    Attributes:
        request: The request as carried out: nothing in it is left to choose.
        picture: Its index in that request.
        seed: Its own seed.
        pixels: ``(H, W, 3) uint8``.
        seconds: Time the picture's batch took, from the encoding of its prompts to the pixels.
        model_sha256: Hash of the model's weights, 64 hex digits; empty if no model took part.
        device: What computed it: ``"cpu"``, ``"cuda"``, ``"mps"``; sums differ in their last bits
            from one to another.
        left: How many pictures of the same batch follow it; they are finished too.
        tokens: How many its prompt has, those that the text encoder adds aside; 0 if it read none.
    """

    request: Request
    picture: int
    seed: int
    pixels: Pixels = field(compare=False, repr=False)
    seconds: float = field(compare=False)
    model_sha256: str
    device: str
    left: int = field(default=0, compare=False)
    tokens: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A picture lies on disk, whole.

    Attributes:
        path: Where.
        image: The picture as it became ready.
    """

    path: Path
    image: ImageReady


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something the person should know that changes nothing about going on.

    Attributes:
        message: One sentence.
    """

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The request is carried out.

    Attributes:
        pictures: How many were made.
        seconds: Time of the whole request, loading included.
    """

    pictures: int
    seconds: float = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A part of what a training needs before its first step is there.

    Attributes:
        what: A few words for the person who waits: ``"latents"``, ``"class pictures"``.
        index: How many of them, 1 to ``total``.
        total: Of how many.
    """

    what: str
    index: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainStep:
    """The weights have learned from another batch.

    Attributes:
        index: 1 to ``total``, also where a stopped training goes on.
        total: Steps of the whole training.
        loss: Mean of this step's batch, without unit.
        prior_loss: The part of it that preserves the class, or None.
        learning_rate: Of this step.
        seconds: Time since the first step of this run, samples and checkpoints included.
    """

    index: int
    total: int
    loss: float
    prior_loss: float | None = None
    learning_rate: float
    seconds: float = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A picture that shows what has been learned so far lies on disk.

    Attributes:
        step: How many steps the weights had learned.
        prompt: Which of the prompts, from 0.
        path: Where.
        pixels: ``(H, W, 3) uint8``.
    """

    step: int
    prompt: int
    path: Path
    pixels: Pixels = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpointed:
    """All that a training needs to go on from here lies on disk.

    Attributes:
        step: Steps done.
        path: The folder.
        usable: What can be used for pictures as it is: a LoRA or an embedding; None of a whole
            model, which is made ready only when a training is stopped.
    """

    step: int
    path: Path
    usable: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A training is over and what it made was looked at.

    Attributes:
        path: What was made: a file or a folder.
        is_sound: Whether the self-check found nothing wrong.
        verdict: What it found, a sentence.
        steps: Steps in all.
        seconds: Time of this run.
    """

    path: Path
    is_sound: bool
    verdict: str
    steps: int
    seconds: float = field(compare=False)


Event = Loading | MemoryEstimate | Step | ImageReady | Saved | Notice | Finished
"""What happens while pictures are made."""

TrainingEvent = Event | Prepared | TrainStep | Sample | Checkpointed | Trained
"""What happens while a model is taught, which makes pictures too."""


def is_finishing(event: object) -> bool:
    """Whether a run that ends after this event loses pictures whose steps are all done.

    From the last step of a batch on, until its last picture lies on the disk.
    """
    match event:
        case Step():
            return event.index == event.total
        case ImageReady():
            return True
        case Saved():
            return event.image.left > 0
        case _:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewSettings:
    """How a run is watched. It never changes the result.

    Attributes:
        decoder: What decodes the predicted clean latents.
        budget: Share of the step time that previews may take, above 0; a preview that would go
            over it is skipped. Infinity never skips.
    """

    decoder: PreviewDecoder = PreviewDecoder.LINEAR
    budget: float = 0.15

    def __post_init__(self) -> None:
        """Hold the budget to its range."""
        if not self.budget > 0:
            raise ValueError(f"budget must be above 0, not {self.budget}")


class Stream(Protocol[EventT_co]):
    """An iterator of events that can be stopped between two of them."""

    def __iter__(self) -> Stream[EventT_co]:
        """Give itself."""

    def __next__(self) -> EventT_co:
        """Work until the next event."""

    def close(self) -> None:
        """Stop for good and give back what the run held."""


EventStream = Stream[Event]


class Engine(Protocol):
    """Carries out requests. Cancelling is closing the stream; pausing is not asking for more."""

    def generate(
        self, request: Request, *, preview: PreviewSettings, only: int | None = None
    ) -> EventStream:
        """Make the request's pictures.

        Args:
            request: What to make.
            preview: How it is watched.
            only: Make just the picture of this index (with the batch that it was denoised in, so
                that it comes out bit for bit as in the whole run).

        Raises:
            CoreError: From the first ``next`` on, when the request cannot be carried out.
        """

    def warm_up(self, model: str) -> EventStream:
        """Load a model, so that the first picture need not wait for it; not where none fits."""


class Trainer(Protocol):
    """Carries out trainings."""

    def train(self, config: TrainConfig, *, resume: bool = False) -> Stream[TrainingEvent]:
        """Teach a model, and look at what came out.

        Closing the stream writes a checkpoint, from which a later call goes on as if nothing had
        been, and gives the device back; that is also how a training is paused.

        Args:
            config: What to train.
            resume: Whether to go on from the latest checkpoint in ``config.out``.

        Raises:
            CoreError: From the first ``next`` on, when the training cannot be carried out.
        """


class Studio(Engine, Trainer, Protocol):
    """Makes pictures and teaches models, one thing at a time."""


EngineFactory = Callable[[DeviceName, Profile], Studio]
"""Makes the engine that computes on a device and knows the user's files."""
