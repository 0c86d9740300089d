"""Optimisers learn, rates go as they should, and what is missing is named."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

from core.errors import Unsupported
from core.training.config_parts import OptimiserName, OptimiserSettings, RateSchedule
from core.training.optimisers import Group, optimiser_of, rate_factor, set_rates


@pytest.mark.parametrize("name", [n for n in OptimiserName if n is not OptimiserName.ADAMW_8BIT])
def test_an_optimiser_makes_a_loss_small(name):
    weights = nn.Parameter(torch.tensor([[3.0, -2.0]]))
    rate = 1.0 if name is OptimiserName.PRODIGY else 0.2
    optimiser = optimiser_of(OptimiserSettings(name=name), [Group([weights], rate)])
    for _ in range(80):
        optimiser.zero_grad()
        loss = weights.square().sum()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 6.0


@pytest.mark.parametrize("name", [OptimiserName.ADAMW, OptimiserName.ADAFACTOR])
def test_what_begins_at_zero_moves_at_its_rate(name):
    weights = nn.Parameter(torch.zeros(4, 4))
    optimiser = optimiser_of(OptimiserSettings(name=name), [Group([weights], 1e-2)])
    weights.grad = torch.ones(4, 4)
    optimiser.step()
    assert float(weights.data.abs().mean()) > 5e-3


def test_weight_decay_is_for_those_that_decay():
    decays, stays = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    groups = [Group([decays], 0.1), Group([stays], 0.1, decays=False)]
    optimiser = optimiser_of(OptimiserSettings(weight_decay=0.5), groups)
    decays.grad, stays.grad = torch.zeros(2), torch.zeros(2)
    optimiser.step()
    assert stays.tolist() == [1, 1]
    assert decays.tolist() == pytest.approx([0.95, 0.95])


def test_adamw_is_the_plain_one_in_a_single_pass():
    ours, plain = nn.Parameter(torch.linspace(-1, 1, 33)), nn.Parameter(torch.linspace(-1, 1, 33))
    optimisers = (
        optimiser_of(OptimiserSettings(), [Group([ours], 0.1)]),
        torch.optim.AdamW([plain], 0.1, weight_decay=OptimiserSettings().weight_decay),
    )
    assert optimisers[0].defaults["fused"]
    for step in range(3):
        for weights, optimiser in zip((ours, plain), optimisers, strict=True):
            weights.grad = torch.linspace(step, 2, 33)
            optimiser.step()
    torch.testing.assert_close(ours, plain)


@pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed"
)
def test_what_is_not_installed_is_named():
    settings = OptimiserSettings(name=OptimiserName.ADAMW_8BIT)
    with pytest.raises(Unsupported, match="bitsandbytes"):
        optimiser_of(settings, [Group([nn.Parameter(torch.ones(1))], 1e-3)])


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (RateSchedule.CONSTANT, [0.5, 1, 1, 1, 1, 1]),
        (RateSchedule.LINEAR, [0.5, 1, 1, 0.75, 0.5, 0.25]),
        (RateSchedule.COSINE, [0.5, 1, 1, 0.8536, 0.5, 0.1464]),
    ],
)
def test_rates_rise_and_go_on(schedule, expected):
    settings = OptimiserSettings(schedule=schedule, warm_up=2)
    found = [rate_factor(settings, step, 6) for step in range(6)]
    assert found == pytest.approx(expected, abs=1e-4)


def test_prodigy_steps_as_it_says():
    weights = nn.Parameter(torch.tensor([3.0, -2.0]))
    settings = OptimiserSettings(name=OptimiserName.PRODIGY, weight_decay=0)
    optimiser = optimiser_of(settings, [Group([weights], 1.0)])
    rates, lengths = [], []
    for _ in range(80):
        before = weights.data.clone()
        weights.grad = 2 * before
        rates.append(set_rates(optimiser, 1.0))
        optimiser.step()
        lengths.append(float((weights.data - before).abs().max()))
    # Like Adam's, a first step is as long as its rate.
    assert lengths[0] == pytest.approx(rates[0], rel=0.3)
    assert rates[-1] > 10 * rates[0]


def test_each_group_keeps_its_own_rate():
    groups = [Group([nn.Parameter(torch.ones(1))], 0.4), Group([nn.Parameter(torch.ones(1))], 0.2)]
    optimiser = optimiser_of(OptimiserSettings(), groups)
    assert set_rates(optimiser, 0.5) == 0.2
    assert set_rates(optimiser, 0.5) == 0.2
    assert [group["lr"] for group in optimiser.param_groups] == [0.2, 0.1]
