"""Where an export stands, and how long it will take. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable

from coreml_export.events import ExportStep, Stage, StageBegan
from coreml_export.plan import PartPlan, Planned


class Progress:
    """Reckons by how long each stage of each part was expected to take, and how long it took."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Know nothing yet.

        Args:
            clock: Gives seconds.
        """
        self._clock = clock
        self._expected: dict[tuple[str, Stage], float] = {}
        self._done: set[tuple[str, Stage]] = set()
        self._at: tuple[str, Stage] | None = None
        self._at_since = 0.0
        self._spent = 0.0

    def note(self, event: object) -> None:
        """Take in what happened."""
        match event:
            case Planned():
                self._expected = _stages(event.parts)
            case StageBegan():
                self._finish()
                self._at, self._at_since = (event.part, event.stage), self._clock()

    def step(self) -> ExportStep | None:
        """Say where it stands; None before the first stage."""
        if self._at is None:
            return None
        total = sum(self._expected.values())
        done = sum(self._expected[one] for one in self._done)
        pace = self._spent / done if done else 1.0
        here = self._clock() - self._at_since
        expected = self._expected[self._at]
        # It never comes to a stand, however much longer than expected the stage takes.
        done += expected * -math.expm1(-here / (pace * expected))
        pace = max(pace, here / expected)
        part, stage = self._at
        return ExportStep(
            part=part,
            stage=stage,
            share=done / total,
            # The first stage alone says nothing of the others.
            seconds_left=(total - done) * pace if self._done else None,
        )

    def _finish(self) -> None:
        """Count the stage before as done; one that comes again, in another size, counts once."""
        if self._at is None or self._at in self._done:
            return
        self._done.add(self._at)
        self._spent += self._clock() - self._at_since


def _stages(parts: tuple[PartPlan, ...]) -> dict[tuple[str, Stage], float]:
    return {(part.name, stage): part.seconds(stage) for part in parts for stage in part.stages}
