"""Canny's edges: one pixel wide, in the right places, held together by the two thresholds."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.images.canny import edges


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(np.asarray(values, dtype=np.uint8)[..., None], 3, axis=2)


def found(pixels: np.ndarray, low: int = 100, high: int = 200) -> np.ndarray:
    made = edges(pixels, low, high)
    assert made.shape == pixels.shape
    assert made.dtype == np.uint8
    assert set(np.unique(made)) <= {0, 255}
    assert (made == made[..., :1]).all()
    return made[..., 0] == 255


def test_a_flat_picture_has_none() -> None:
    assert not found(np.full((9, 7, 3), 90, dtype=np.uint8)).any()


def test_a_square_has_an_outline_of_one_pixel() -> None:
    picture = np.zeros((16, 16))
    picture[4:12, 4:12] = 255
    outline = found(grey(picture))
    # On each line through the middle, one pixel for each side that it crosses.
    assert outline[8].sum() == 2
    assert outline[:, 8].sum() == 2
    assert set(np.flatnonzero(outline[8])) <= {3, 4, 11, 12}
    assert not outline[6:10, 6:10].any()


def test_a_diagonal_is_followed() -> None:
    y, x = np.mgrid[0:20, 0:20]
    line = found(grey(np.where(x > y, 255, 0)))
    assert line.any(axis=1)[1:-1].all()
    assert line.sum(axis=1).max() <= 2


@pytest.mark.parametrize(("high", "expected"), [(199, True), (200, False)])
def test_the_gradient_must_lie_above_the_threshold(high: int, *, expected: bool) -> None:
    picture = np.zeros((5, 8))
    picture[:, 4:] = 50  # |dx| = 4 * 50, as the filter's weights add up to 4
    assert found(grey(picture), 0, high).any() == expected


def test_weak_pixels_live_by_strong_ones() -> None:
    picture = np.zeros((40, 12))
    picture[:, 6:] = 40  # a weak edge from top to bottom
    weak_alone = found(grey(picture), 100, 200)
    assert not weak_alone.any()
    picture[:4, 6:] = 90  # strong at its top end
    together = found(grey(picture), 100, 200)
    assert together.any(axis=1).all()


def test_the_channel_that_changes_most_counts() -> None:
    picture = np.zeros((6, 8, 3), dtype=np.uint8)
    picture[:, 4:, 2] = 255
    assert found(picture).any(axis=1).all()


def test_a_map_as_opencv_draws_it() -> None:
    """Made once and found equal to ``cv2.Canny`` 5.0 of the same pixels."""
    y, x = np.mgrid[0:48, 0:64].astype(np.float64)
    waves = np.stack([np.sin(x / 5 + y / 9), np.cos(x * y / 90), np.sin(y / 4)], axis=-1)
    made = edges((127.5 + 127.5 * waves).astype(np.uint8), 80, 160)
    assert (
        hashlib.sha256(made[..., 0].tobytes()).hexdigest()
        == "c0c4d447ae95bf8689e85aba6239cdef47e5a303a052bbe1d6b50669492aadf1"
    )


@given(
    width=st.integers(1, 12),
    height=st.integers(1, 12),
    seed=st.integers(0, 99),
    low=st.integers(0, 300),
    more=st.integers(0, 300),
)
def test_any_picture_has_a_map(width: int, height: int, seed: int, low: int, more: int) -> None:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    strict, loose = found(pixels, low + more, low + more), found(pixels, low, low + more)
    # A lower threshold only adds, and what it adds hangs together with what was there.
    assert not (strict & ~loose).any()
    assert loose.any() == strict.any()
