"""Noise, targets and weights are those of the papers and of diffusers' schedulers."""

from __future__ import annotations

import diffusers
import pytest
import torch

from core.models.families import PredictionType
from core.training.config_parts import LossKind, LossSettings
from core.training.loss import NoiseSchedule, losses_of, noised, snr_weights

CONFIG = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SEEDS = [5, 2**62, 7]


def latents(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 4, 8, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", list(PredictionType))
def test_latents_and_targets_are_those_of_the_scheduler(kind):
    batch = noised(NoiseSchedule.of(CONFIG, kind), latents(), SEEDS)
    scheduler = diffusers.DDPMScheduler(**CONFIG)
    noises = []
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        torch.randint(1000, (), generator=generator)
        noises.append(torch.randn(4, 8, 6, generator=generator))
    noise = torch.stack(noises)
    expected = scheduler.add_noise(latents(), noise, batch.timesteps)
    assert torch.allclose(batch.latents, expected, atol=1e-6)
    targets = {
        PredictionType.EPSILON: noise,
        PredictionType.V: scheduler.get_velocity(latents(), noise, batch.timesteps),
        PredictionType.SAMPLE: latents(),
    }
    assert torch.allclose(batch.target, targets[kind], atol=1e-6)


def test_a_showing_is_noised_by_its_own_seed_alone():
    schedule = NoiseSchedule.of(CONFIG, PredictionType.EPSILON)
    together = noised(schedule, latents(), SEEDS, offset_noise=0.1)
    alone = noised(schedule, latents()[1:2], SEEDS[1:2], offset_noise=0.1)
    assert torch.equal(together.latents[1:2], alone.latents)
    assert torch.equal(together.timesteps[1:2], alone.timesteps)


def test_offset_noise_moves_whole_channels():
    schedule = NoiseSchedule.of(CONFIG, PredictionType.EPSILON)
    plain = noised(schedule, latents(), SEEDS)
    moved = noised(schedule, latents(), SEEDS, offset_noise=0.5)
    apart = moved.target - plain.target
    assert torch.allclose(apart, apart[..., :1, :1].expand_as(apart), atol=1e-6)
    assert apart.abs().max() > 0.05


def test_a_schedule_that_ends_in_noise_does_so_here():
    schedule = NoiseSchedule.of(CONFIG | {"rescale_betas_zero_snr": True}, PredictionType.V)
    assert float(schedule.alphas_bar[-1]) < 1e-6
    assert snr_weights(torch.tensor([0.0]), 5.0, PredictionType.EPSILON).tolist() == [1.0]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (PredictionType.EPSILON, [1.0, 1.0, 0.5]),
        (PredictionType.V, [0.5 / 1.5, 5 / 6, 5 / 11]),
        (PredictionType.SAMPLE, [0.5, 5.0, 5.0]),
    ],
)
def test_min_snr_weights(kind, expected):
    weights = snr_weights(torch.tensor([0.5, 5.0, 10.0]), 5.0, kind)
    assert weights.tolist() == pytest.approx(expected)
    assert snr_weights(torch.tensor([0.5, 10.0]), 0.0, kind).tolist() == [1, 1]


def test_losses_are_means_of_each_showing():
    batch = noised(NoiseSchedule.of(CONFIG, PredictionType.EPSILON), latents(), SEEDS)
    apart = torch.tensor([0.0, 1.0, 2.0])[:, None, None, None]
    found = losses_of(batch.target + apart, batch, LossSettings(), PredictionType.EPSILON)
    assert found.tolist() == pytest.approx([0, 1, 4], abs=1e-5)
    huber = LossSettings(kind=LossKind.HUBER, huber_delta=0.1)
    found = losses_of(batch.target + apart, batch, huber, PredictionType.EPSILON)
    assert found.tolist() == pytest.approx([0, 0.2 * (1.01**0.5 - 0.1), 0.2 * (4.01**0.5 - 0.1)])


def test_a_mask_counts_what_it_covers_however_small_it_is():
    batch = noised(NoiseSchedule.of(CONFIG, PredictionType.EPSILON), latents(1), SEEDS[:1])
    masks = torch.zeros(1, 1, 8, 6)
    masks[..., :2, :3] = 1
    outside = batch.target.clone()
    outside[..., 4:, :] += 100
    inside = batch.target.clone()
    inside[..., :2, :3] += 2
    settings, kind = LossSettings(), PredictionType.EPSILON
    assert float(losses_of(outside, batch, settings, kind, masks)) == pytest.approx(0, abs=1e-5)
    assert float(losses_of(inside, batch, settings, kind, masks)) == pytest.approx(4, rel=1e-4)
