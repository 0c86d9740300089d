import pytest

from core.images.samplers import SAMPLERS, match_sampler
from core.request import SchedulerName


@pytest.mark.parametrize("name", SchedulerName)
def test_our_own_names_come_back_as_the_same(name):
    match = match_sampler(SAMPLERS[name])
    assert (match.scheduler, match.same_method, match.same_schedule) == (name, True, True)


@pytest.mark.parametrize(
    ("sampler", "schedule", "scheduler"),
    [
        ("DPM++ 2M Karras", "", SchedulerName.DPMPP_2M_KARRAS),
        ("DPM++ 2M", "Karras", SchedulerName.DPMPP_2M_KARRAS),
        ("DPM++ 2M Karras", "Automatic", SchedulerName.DPMPP_2M_KARRAS),
        ("dpmpp_2m", "karras", SchedulerName.DPMPP_2M_KARRAS),
        ("dpmpp_2m_k", "", SchedulerName.DPMPP_2M_KARRAS),
        ("dpm++2m karras", "", SchedulerName.DPMPP_2M_KARRAS),
        ("k_dpmpp_2m", "native", SchedulerName.DPMPP_2M),
        ("dpmpp_2m_sde_gpu", "normal", SchedulerName.DPMPP_SDE),
        ("k_euler_a", "", SchedulerName.EULER_ANCESTRAL),
        ("k_euler_ancestral", "native", SchedulerName.EULER_ANCESTRAL),
        ("euler_a", "discrete", SchedulerName.EULER_ANCESTRAL),
        ("k_lms", "", SchedulerName.LMS),
        ("uni_pc_bh2", "normal", SchedulerName.UNIPC),
        ("ddim", "ddim_uniform", SchedulerName.DDIM),
        ("lcm", "normal", SchedulerName.LCM),
    ],
)
def test_names_that_mean_the_same(sampler, schedule, scheduler):
    match = match_sampler(sampler, schedule)
    assert (match.scheduler, match.same_method, match.same_schedule) == (scheduler, True, True)


@pytest.mark.parametrize(
    ("sampler", "schedule", "scheduler", "same_method"),
    [
        ("DPM++ SDE", "", SchedulerName.DPMPP_SDE, False),
        ("DPM++ 2S a Karras", "", SchedulerName.EULER_ANCESTRAL, False),
        ("Euler", "Karras", SchedulerName.EULER, True),
        ("euler_k", "", SchedulerName.EULER, True),
        ("Euler A Trailing", "", SchedulerName.EULER_ANCESTRAL, True),
        ("DPM++ 2M", "SGM Uniform", SchedulerName.DPMPP_2M, True),
        ("DPM++ 2M SDE Karras", "", SchedulerName.DPMPP_SDE, True),
        ("euler", "simple", SchedulerName.EULER, True),
    ],
)
def test_names_that_mean_nearly_the_same(sampler, schedule, scheduler, same_method):
    match = match_sampler(sampler, schedule)
    assert (match.scheduler, match.same_method) == (scheduler, same_method)
    assert not (match.same_method and match.same_schedule)


@pytest.mark.parametrize("sampler", ["", "unheard of", "karras", "😀", "x" * 10**6])
def test_names_that_mean_nothing(sampler):
    assert match_sampler(sampler) is None
