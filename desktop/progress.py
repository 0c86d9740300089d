"""How far a run is, told from its steps."""

from __future__ import annotations

from dataclasses import dataclass

from core.events import Step


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one moment.

    Attributes:
        step: Steps done of the present batch.
        steps: Steps of that batch.
        pictures: Indices of the pictures in flight.
        total_pictures: Pictures of the whole request.
        steps_per_second: Speed of this batch; 0 while it is not known.
        seconds_left: Time to the end of the whole request at that speed.
    """

    step: int
    steps: int
    pictures: tuple[int, ...]
    total_pictures: int
    steps_per_second: float
    seconds_left: float

    @property
    def fraction(self) -> float:
        """Share of the whole request that is done, 0 to 1."""
        before = self.pictures[0]
        return (before + len(self.pictures) * self.step / self.steps) / self.total_pictures

    @classmethod
    def of(cls, step: Step) -> Progress:
        """Tell it from a step. Batches to come count as long as the present one."""
        speed = step.index / step.seconds if step.seconds > 0 else 0.0
        after = step.total_pictures - step.pictures[-1] - 1
        batches_left = after / len(step.pictures)
        steps_left = step.total - step.index + batches_left * step.total
        return cls(
            step=step.index,
            steps=step.total,
            pictures=step.pictures,
            total_pictures=step.total_pictures,
            steps_per_second=speed,
            seconds_left=steps_left / speed if speed else 0.0,
        )


def duration(seconds: float) -> str:
    """Give a time as a person says it: ``8 s``, ``2 min 5 s``, ``1 h 12 min``."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
