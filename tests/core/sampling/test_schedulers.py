"""Plans: how many calls and steps a run has, and the sentence where there is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.errors import InvalidRequest, ModelInvalid, Unsupported
from core.models.families import PredictionType, refused_schedulers
from core.request import MAX_STEPS, SchedulerName
from core.sampling.conditioning import Conditioning
from core.sampling.denoise import Leg, denoise
from core.sampling.guidance import Guidance, GuidanceSettings
from core.sampling.noise import draw, generators_of
from core.sampling.schedulers import Plan, hand_over, make_plan
from tests.conftest import SCHEDULER_CONFIG

MORE_CALLS = {SchedulerName.PNDM: 1}
"""PNDM calls once more, for its multistep start."""


def calls_of(name: SchedulerName, steps: int) -> int:
    if name is SchedulerName.HEUN:
        return 2 * steps - 1  # Twice a step, the last one excepted.
    return steps + MORE_CALLS.get(name, 0)


def walk(plan: Plan) -> torch.Tensor:
    """Run the loop with a denoiser that finds a bit of noise in everything."""
    text = Conditioning(text=torch.zeros(1, 1, 1))

    def answer(
        latents: torch.Tensor, timestep: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        return 0.9 * latents

    guidance = Guidance(answer, GuidanceSettings(scales=(1.0,)), positive=text, negative=None)
    generators = generators_of([0])
    latents = draw(generators, (4, 2, 2)) * plan.scheduler.init_noise_sigma
    for moment in denoise(latents, [Leg(plan, guidance)], generators):
        latents = moment.latents
    return latents


@pytest.mark.parametrize("steps", [2, 5, 20])
@pytest.mark.parametrize("name", SchedulerName)
def test_a_run_from_noise_has_the_steps_asked_for(name: SchedulerName, steps: int) -> None:
    plan = make_plan(name, SCHEDULER_CONFIG, steps=steps)
    assert plan.steps == steps
    assert len(plan.calls) == calls_of(name, steps)
    assert sorted({call.step for call in plan.calls}) == list(range(1, steps + 1))
    ends = [call for call in plan.calls if call.ends_step]
    assert [call.step for call in ends] == list(range(1, steps + 1))
    assert [call.progress for call in ends] == [i / steps for i in range(steps)]


@pytest.mark.parametrize(
    ("steps", "strength", "expected"),
    [(10, 0.3, 3), (10, 0.35, 3), (20, 0.8, 16), (20, 0.05, 1), (7, 1.0, 7), (50, 0.999, 49)],
)
@pytest.mark.parametrize("name", SchedulerName)
def test_strength_leaves_its_share_of_the_steps(
    name: SchedulerName, steps: int, strength: float, expected: int
) -> None:
    whole = make_plan(name, SCHEDULER_CONFIG, steps=steps)
    plan = make_plan(name, SCHEDULER_CONFIG, steps=steps, strength=strength)
    assert plan.steps == expected
    assert [call.step for call in plan.calls if call.ends_step] == list(range(1, expected + 1))
    # The run is the end of the whole one: at the same timesteps, from the same noise.
    part = [float(call.timestep) for call in plan.calls]
    assert part == [float(call.timestep) for call in whole.calls][-len(part) :]
    assert plan.calls[0].progress == 0.0


@pytest.mark.parametrize("name", SchedulerName)
def test_noise_falls_along_the_run(name: SchedulerName) -> None:
    shares = [call.alpha_bar for call in make_plan(name, SCHEDULER_CONFIG, steps=20).calls]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.02
    assert 0.7 < shares[-1] < 1


MOST_STEPS = {
    SchedulerName.DPMPP_2M: 998,
    SchedulerName.DPMPP_SDE: 998,
    SchedulerName.UNIPC: 998,
    SchedulerName.DPMPP_2M_KARRAS: MAX_STEPS,
    SchedulerName.LCM: 50,
    SchedulerName.TCD: 50,
}
"""With timesteps from 1 on there are 999 of the model's 1000; three methods need one more."""


@pytest.mark.parametrize("steps", [998, 999, MAX_STEPS])
@pytest.mark.parametrize("name", SchedulerName)
def test_many_steps_end_well_or_are_refused(name: SchedulerName, steps: int) -> None:
    if steps <= MOST_STEPS.get(name, 999):
        assert torch.isfinite(walk(make_plan(name, SCHEDULER_CONFIG, steps=steps))).all()
        return
    with pytest.raises(InvalidRequest, match=r"steps: .* use fewer"):
        make_plan(name, SCHEDULER_CONFIG, steps=steps)


@pytest.mark.parametrize("prediction_type", PredictionType)
@pytest.mark.parametrize("name", SchedulerName)
def test_what_a_model_predicts_is_stepped_from_or_refused(
    name: SchedulerName, prediction_type: PredictionType
) -> None:
    config = SCHEDULER_CONFIG | {"prediction_type": prediction_type.value}
    if name not in refused_schedulers(prediction_type):
        assert torch.isfinite(walk(make_plan(name, config, steps=3))).all()
        return
    with pytest.raises(Unsupported, match="Choose ddim"):
        make_plan(name, config, steps=3)


@pytest.mark.parametrize(
    "nonsense",
    [
        {"beta_schedule": "steep"},
        {"timestep_spacing": "random"},
        {"num_train_timesteps": "many"},
        {"num_train_timesteps": 0},
    ],
    ids=str,
)
def test_a_configuration_of_nonsense_is_named(nonsense: dict[str, Any]) -> None:
    with pytest.raises(ModelInvalid, match=r"scheduler_config\.json"):
        make_plan(SchedulerName.DDIM, SCHEDULER_CONFIG | nonsense, steps=3)


def test_pure_noise_says_nothing_to_a_prediction_of_the_noise() -> None:
    config = SCHEDULER_CONFIG | {"prediction_type": "epsilon", "rescale_betas_zero_snr": True}
    with pytest.raises(ModelInvalid, match=r"scheduler_config\.json, or the tensor ztsnr"):
        make_plan(SchedulerName.DDIM, config, steps=3)


@pytest.mark.parametrize("name", SchedulerName)
def test_a_schedule_that_ends_in_pure_noise_is_run_or_refused(name: SchedulerName) -> None:
    config = SCHEDULER_CONFIG | {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    }
    if name in refused_schedulers(PredictionType.V, zero_terminal_snr=True):
        with pytest.raises(Unsupported, match="begin at pure noise"):
            make_plan(name, config, steps=3)
        return
    plan = make_plan(name, config, steps=3)
    assert plan.calls[0].alpha_bar < 1e-7
    assert torch.isfinite(walk(plan)).all()


def arrived(plans: tuple[Plan, ...]) -> torch.Tensor:
    """Run the loop with denoisers that know the clean latents."""
    text = Conditioning(text=torch.zeros(1, 1, 1))
    clean = draw(generators_of([1]), (4, 8, 8))
    bars = iter(call.alpha_bar for plan in plans for call in plan.calls)

    def oracle(z: torch.Tensor, timestep: Any, conditioning: Any) -> torch.Tensor:
        bar = next(bars)
        return (z - bar**0.5 * clean) / (1 - bar) ** 0.5

    guidance = Guidance(oracle, GuidanceSettings(scales=(1.0,)), positive=text, negative=None)
    generators = generators_of([0])
    latents = draw(generators, (4, 8, 8)) * plans[0].scheduler.init_noise_sigma
    for moment in denoise(latents, [Leg(plan, guidance) for plan in plans], generators):
        latents = moment.latents
    return latents


@pytest.mark.parametrize("start", [0.35, 0.8])
@pytest.mark.parametrize("name", SchedulerName)
def test_a_run_of_two_models_is_one_run(name: SchedulerName, start: float) -> None:
    whole, *again = (make_plan(name, SCHEDULER_CONFIG, steps=12) for _ in range(3))
    first, second = hand_over(again[0], again[1], start)
    assert (*first.calls, *second.calls) == whole.calls
    assert first.calls[-1].ends_step
    assert float(first.calls[-1].timestep) > float(second.calls[0].timestep) or (
        # These come to a timestep twice.
        name in (SchedulerName.HEUN, SchedulerName.PNDM)
    )
    assert float(second.calls[0].timestep) < 1000 - 1000 * start
    begun = [call for call in first.calls if call.step == first.calls[-1].step]
    assert float(begun[0].timestep) >= 1000 - 1000 * start
    # Whoever finds the same clean latents brings a run to the same end.
    torch.testing.assert_close(arrived((first, second)), arrived((whole,)), rtol=0, atol=2e-3)
