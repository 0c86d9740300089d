"""Looking at what a training made before it is called done.

A file of the right size may do nothing: all of its up-projections zero, saved before it learned,
under names that no reader knows. So it is read again by the code that everybody's files go
through, and must change a picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from core.errors import CoreError
from core.events import Engine, Event, ImageReady, Pixels, PreviewSettings
from core.request import PreviewDecoder, TextToImage
from core.training.seal import FAULT

SMALLEST_CHANGE = 0.05
"""Mean difference of two pictures' values, 0 to 255, from which a file is said to do something."""

_DOWN = ".lora_A."
"""What peft calls a down-projection."""


@dataclass(slots=True)
class Check:
    """What was found.

    Attributes:
        faults: Sentences, none where all is well.
        tensors: How many were looked at.
        change: Mean difference of the pictures with and without, 0 to 255; None if none was drawn.
    """

    faults: list[str] = field(default_factory=list)
    tensors: int = 0
    change: float | None = None

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    @property
    def verdict(self) -> str:
        """What was found, in one sentence."""
        if self.faults:
            return FAULT + " ".join(self.faults)
        changed = f"; a picture changes by {self.change:.1f} of 255" if self.change else ""
        return (
            f"The self-check is passed: read again, all {self.tensors} tensors finite and "
            f"learned{changed}."
        )


def digests(tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
    """Give by what tensors are known again, which takes no memory as a copy of a model would."""
    return {name: hashlib.blake2b(_bytes_of(values)).digest() for name, values in tensors.items()}


def _bytes_of(values: Tensor) -> memoryview:
    flat = values.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def check_tensors(
    check: Check, initial: Mapping[str, bytes], learned: Mapping[str, Tensor], steps: int
) -> None:
    """Look for what is no number, and for what did not learn at all.

    Args:
        check: What was found is added to it.
        initial: The digests of what learns, before the first step.
        learned: The same, now.
        steps: How many were taken.
    """
    check.tensors = len(learned)
    bad = [name for name, values in learned.items() if not bool(torch.isfinite(values).all())]
    now = digests(learned)
    same = [name for name in learned if now[name] == initial[name]]
    zero = [name for name, values in learned.items() if not bool(values.any())]
    rest = [name for name in same if name not in zero]
    if steps == 1:
        # An up-projection begins at zero, which leaves the one below it without a gradient.
        rest = [name for name in rest if _DOWN not in name]
    for names, what in ((bad, "not finite"), (zero, "all zero"), (rest, "as before the training")):
        if names:
            check.faults.append(f"{len(names)} of {len(learned)} tensors are {what} ({names[0]}).")


def check_picture(
    check: Check, engine: Engine, before: TextToImage, after: TextToImage
) -> Iterator[Event]:
    """Draw the same picture without and with what was learned.

    Args:
        check: What was found is added to it.
        engine: What reads the file as it reads anybody's.
        before: Without.
        after: With.

    Yields:
        The engine's events.
    """
    pictures: list[Pixels] = []
    for request in (before, after):
        try:
            events = engine.generate(request, preview=PreviewSettings(decoder=PreviewDecoder.OFF))
            with closing(events):
                for event in events:
                    if isinstance(event, ImageReady):
                        pictures.append(event.pixels)
                    else:
                        yield event
        except CoreError as error:
            check.faults.append(f"It cannot be used: {error}")
            return
    first, second = (picture.astype(np.float64) for picture in pictures)
    check.change = float(np.abs(first - second).mean())
    if check.change < SMALLEST_CHANGE:
        check.faults.append(
            f"A picture with it is as without it (a mean difference of {check.change:.3f} of 255)."
        )
