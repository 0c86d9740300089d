"""Large pictures denoised in overlapping windows of the size that the model knows."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from core.sampling.conditioning import Conditioning
from core.sampling.guidance import Denoiser


class Windowed:
    """A denoiser that predicts window by window and takes the mean where they overlap.

    Every step sees the whole picture's latents agree, so that no seam is left (MultiDiffusion,
    Bar-Tal et al. 2023, arXiv:2302.08113, equation 5; here the weight of a window falls towards its
    edges). Memory and time of attention are those of a window.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        side: int,
        before: Callable[[slice, slice], None] | None = None,
    ) -> None:
        """Wrap a denoiser.

        Args:
            denoiser: What predicts.
            side: Of a window, in latents; half of it overlaps with the next one.
            before: Is told the rows and columns of each window before it is predicted.
        """
        self._before = before
        self._denoiser = denoiser
        self._side = side

    def __call__(self, latents: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """Predict; see ``Denoiser``."""
        height, width = latents.shape[-2:]
        rows, columns = _spans(height, self._side), _spans(width, self._side)
        if len(rows) == len(columns) == 1:
            return self._denoiser(latents, timestep, conditioning)
        total, weights = torch.zeros_like(latents), torch.zeros(height, width)
        for row in rows:
            for column in columns:
                if self._before is not None:
                    self._before(row, column)
                weight = torch.outer(_weights(row), _weights(column))
                prediction = self._denoiser(latents[..., row, column], timestep, conditioning)
                total[..., row, column] += weight * prediction
                weights[row, column] += weight
        return total / weights


def _spans(limit: int, side: int) -> list[slice]:
    """Cover an axis by windows that overlap by half or more, evenly spread."""
    if limit <= side:
        return [slice(0, limit)]
    count = math.ceil((limit - side) / max(side // 2, 1)) + 1
    starts = [round(i * (limit - side) / (count - 1)) for i in range(count)]
    return [slice(start, start + side) for start in starts]


def _weights(span: slice) -> Tensor:
    """Rise from the edges to the middle; nowhere 0, as a corner has but one window."""
    size = span.stop - span.start
    steps = torch.arange(size, dtype=torch.float32)
    return torch.minimum(steps + 1, size - steps)
