"""The losses of a training: as they were, smoothed, and few enough to be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SMOOTHING = 0.05
"""Share of each step in the smoothed loss, but for the first steps, which share evenly."""

Floats = npt.NDArray[np.float64]
_FIRST_ROOM = 1024


@dataclass(frozen=True, slots=True)
class Band:
    """What a curve is drawn from: one entry for each column of pixels.

    Attributes:
        steps: ``(N,) float64``, rising.
        low: ``(N,) float64``, the least loss of the steps in a column.
        high: ``(N,) float64``, the largest.
        smooth: ``(N,) float64``, the smoothed loss at its last step.
    """

    steps: Floats
    low: Floats
    high: Floats
    smooth: Floats


class LossCurve:
    """Takes losses as they come and gives them back as a band."""

    def __init__(self) -> None:
        """Start with none."""
        self._values = np.zeros((3, _FIRST_ROOM))  # Steps, losses, smoothed losses.
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, step: int, loss: float) -> None:
        """Take the loss of a step; those of that step and later ones are forgotten.

        A training that goes on from a checkpoint learns some steps a second time.
        """
        if self._count and self._values[0, self._count - 1] >= step:
            self._count = int(np.searchsorted(self._values[0, : self._count], step))
        if self._count == self._values.shape[1]:
            self._values = np.concatenate([self._values, np.zeros_like(self._values)], axis=1)
        before = self._values[2, self._count - 1] if self._count else loss
        share = max(SMOOTHING, 1 / (self._count + 1))
        self._values[:, self._count] = step, loss, before + share * (loss - before)
        self._count += 1

    def at(self, step: float) -> tuple[int, float, float] | None:
        """Give the step that comes nearest, its loss and its smoothed loss; None without any."""
        if not self._count:
            return None
        steps = self._values[0, : self._count]
        right = min(int(np.searchsorted(steps, step)), self._count - 1)
        left = max(right - 1, 0)
        index = left if step - steps[left] < steps[right] - step else right
        return int(steps[index]), float(self._values[1, index]), float(self._values[2, index])

    def band(self, columns: int) -> Band:
        """Give the curve in so many columns at most."""
        steps, losses, smooth = self._values[:, : self._count]
        if self._count <= columns:
            return Band(steps, losses, losses, smooth)
        starts = np.unique(np.linspace(0, self._count, columns, endpoint=False).astype(int))
        ends = np.append(starts[1:], self._count) - 1
        return Band(
            steps[ends],
            np.minimum.reduceat(losses, starts),
            np.maximum.reduceat(losses, starts),
            smooth[ends],
        )

    def spread(self) -> tuple[float, float]:
        """Give the least and the largest loss worth drawing; a few far outliers are left out."""
        if not self._count:
            return 0.0, 1.0
        losses, smooth = self._values[1, : self._count], self._values[2, : self._count]
        finite = losses[np.isfinite(losses)]
        if not len(finite):
            return 0.0, 1.0
        low, high = np.percentile(finite, (0.5, 99.5))
        smooth = smooth[np.isfinite(smooth)]
        if len(smooth):
            low, high = min(low, smooth.min()), max(high, smooth.max())
        return float(low), float(high)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Give round numbers from ``low`` to ``high``, ``most`` of them at most, and two at least."""
    span = max(high - low, 1e-12)
    power = 10.0 ** np.floor(np.log10(span / max(most, 2)))
    step = next(
        power * factor
        for factor in (1, 2, 5, 10, 20, 50, 100)
        if span / (power * factor) <= max(most, 2)
    )
    first = np.ceil(low / step - 1e-9)
    last = np.floor(high / step + 1e-9)
    return [float(np.round(step * number, 12)) for number in np.arange(first, last + 1)]
