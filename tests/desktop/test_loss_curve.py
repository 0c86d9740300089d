import numpy as np
import pytest

from desktop.loss_curve import LossCurve, ticks


def curve_of(losses):
    curve = LossCurve()
    for step, loss in enumerate(losses, 1):
        curve.append(step, loss)
    return curve


def test_smoothed_loss_is_the_mean_at_first_and_follows_later():
    curve = curve_of([4.0, 2.0, 0.0])
    assert curve.at(3) == (3, 0.0, pytest.approx(2.0))
    flat = curve_of([1.0] * 100 + [0.0] * 300)
    assert flat.at(400)[2] < 1e-3


def test_steps_that_are_learned_again_take_the_place_of_the_first_time():
    curve = curve_of([1.0, 2.0, 3.0, 4.0])
    curve.append(3, 9.0)
    assert len(curve) == 3
    assert curve.at(3)[:2] == (3, 9.0)
    assert curve.at(2)[:2] == (2, 2.0)


def test_a_band_keeps_every_extreme():
    losses = np.random.default_rng(0).normal(1, 0.1, 5000)
    losses[1234], losses[4321] = 7.0, -7.0
    band = curve_of(losses).band(300)
    assert len(band.steps) <= 300
    assert band.high.max() == 7.0
    assert band.low.min() == -7.0
    assert (band.low <= band.high).all()
    assert band.steps[-1] == 5000


def test_few_losses_are_drawn_as_they_are():
    band = curve_of([3.0, 1.0, 2.0]).band(300)
    assert band.low.tolist() == band.high.tolist() == [3.0, 1.0, 2.0]


def test_outliers_do_not_set_the_range():
    losses = [0.1] * 999 + [50.0]
    assert curve_of(losses).spread()[1] < 5


def test_numbers_that_are_none_spoil_nothing():
    assert curve_of([float("nan")] * 3).spread() == (0.0, 1.0)
    assert curve_of([]).at(3) is None


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.5, 1]), (0.02, 0.31, [0.1, 0.2, 0.3]), (0, 400, [0, 200, 400])],
)
def test_marks_are_round_numbers(low, high, expected):
    assert ticks(low, high, 3) == expected
