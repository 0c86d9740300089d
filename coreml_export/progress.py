"""Where an export stands, and how long it will take. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable

from coreml_export.events import ExportStep, Stage, StageBegan
from coreml_export.plan import Planned


class Progress:
    """Reckons by how long each stage of each part was expected to take, and how long it took."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Know nothing yet.

        Args:
            clock: Gives seconds.
        """
        self._clock = clock
        self._expected: dict[tuple[str, Stage], float] = {}
        self._total = self._done = 0.0
        self._at: tuple[str, Stage] | None = None
        self._at_since = 0.0
        self._spent = 0.0

    def note(self, event: object) -> None:
        """Take in what happened."""
        match event:
            case Planned():
                stages = [(part, stage) for part in event.parts for stage in part.stages]
                self._expected = {(p.name, stage): p.seconds(stage) for p, stage in stages}
                self._total = sum(part.seconds(stage) for part, stage in stages)
            case StageBegan():
                self._finish()
                self._at, self._at_since = (event.part, event.stage), self._clock()

    def step(self) -> ExportStep | None:
        """Say where it stands; None before the first stage."""
        if self._at is None:
            return None
        done = self._done
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
            share=done / self._total,
            # The first stage alone says nothing of the others.
            seconds_left=(self._total - done) * pace if self._done else None,
        )

    def _finish(self) -> None:
        """Count the stage before as done."""
        if self._at is not None:
            self._done += self._expected[self._at]
            self._spent += self._clock() - self._at_since
