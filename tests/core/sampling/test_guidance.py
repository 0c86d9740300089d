"""Guidance: when the unconditional half is computed, and what is made of the two."""

from __future__ import annotations

import pytest
import torch

from core.sampling.conditioning import Conditioning
from core.sampling.guidance import Guidance, GuidanceSettings, rescale

LATENTS = torch.zeros(2, 4, 1, 1)
TIMESTEP = torch.tensor(1)
POSITIVE = Conditioning(text=torch.full((2, 3, 5), 3.0))
NEGATIVE = Conditioning(text=torch.full((2, 3, 5), 1.0))


class Recorder:
    """A denoiser that answers with its conditioning and writes down the batch sizes."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(
        self, latents: torch.Tensor, timestep: torch.Tensor, conditioning: Conditioning
    ) -> torch.Tensor:
        self.sizes.append(len(latents))
        return conditioning.text[:, :1, :4].reshape(-1, 4, 1, 1)


def guided(settings: GuidanceSettings, *progress: float) -> tuple[list[int], list[float]]:
    """Give the batch size and the first value of the prediction at each share of the run."""
    denoiser = Recorder()
    guidance = Guidance(denoiser, settings, positive=POSITIVE, negative=NEGATIVE)
    values = [guidance(LATENTS, TIMESTEP, share) for share in progress]
    assert {value.shape for value in values} == {LATENTS.shape}
    return denoiser.sizes, [float(value[0, 0]) for value in values]


@pytest.mark.parametrize(("scale", "expected"), [(2.0, 5.0), (7.5, 16.0), (1.5, 4.0)])
def test_the_prediction_is_led_away_from_the_negative_prompt(scale: float, expected: float) -> None:
    assert guided(GuidanceSettings(scales=(scale,) * 2), 0.0) == ([4], [expected])


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_at_one_and_below_the_conditional_half_is_all(scale: float) -> None:
    assert guided(GuidanceSettings(scales=(scale,) * 2), 0.0, 0.5) == ([2, 2], [3.0, 3.0])


def test_without_guidance_no_negative_prompt_is_needed() -> None:
    off = GuidanceSettings(scales=(1.0,) * 2)
    empty = GuidanceSettings(scales=(9.0,) * 2, start=0.3, end=0.3)
    for settings in (off, empty):
        assert not settings.is_used
        Guidance(Recorder(), settings, positive=POSITIVE, negative=None)
    with pytest.raises(AssertionError, match="negative"):
        Guidance(Recorder(), GuidanceSettings(scales=(9.0,) * 2), positive=POSITIVE, negative=None)


def test_the_interval_holds_its_start_and_not_its_end() -> None:
    settings = GuidanceSettings(scales=(2.0,) * 2, start=0.2, end=0.6)
    sizes, values = guided(settings, 0.0, 0.19, 0.2, 0.4, 0.59, 0.6, 0.8)
    assert sizes == [2, 2, 4, 4, 4, 2, 2]
    assert values == [3.0, 3.0, 5.0, 5.0, 5.0, 3.0, 3.0]


def test_rescale_by_hand() -> None:
    # Standard deviations 2 and 1 (of -1, 1 and of -1/2, 1/2, times sqrt(2) each: unbiased).
    guided = torch.tensor([-1.0, 1.0]).reshape(1, 2, 1, 1) + 3
    conditional = torch.tensor([-0.5, 0.5]).reshape(1, 2, 1, 1)
    wholly = rescale(guided, conditional, 1.0).flatten().tolist()
    assert wholly == pytest.approx([1.0, 2.0])
    assert rescale(guided, conditional, 0.25).flatten().tolist() == pytest.approx([1.75, 3.5])
    assert torch.equal(rescale(guided, conditional, 0.0), guided)


def test_rescale_gives_each_picture_its_own_contrast() -> None:
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([1.0, 5.0]).reshape(2, 1, 1, 1)
    guided = torch.randn((2, 4, 8, 8), generator=generator) * 3
    conditional = torch.randn((2, 4, 8, 8), generator=generator) * scales
    rescaled = rescale(guided, conditional, 1.0)
    torch.testing.assert_close(rescaled.std(dim=(1, 2, 3)), conditional.std(dim=(1, 2, 3)))


def test_rescaling_is_part_of_the_prediction() -> None:
    class Spread(Recorder):
        def __call__(
            self, latents: torch.Tensor, timestep: torch.Tensor, conditioning: Conditioning
        ) -> torch.Tensor:
            return super().__call__(latents, timestep, conditioning) * torch.tensor(
                [1.0, 2.0, 3.0, 4.0]
            ).reshape(1, 4, 1, 1)

    settings = GuidanceSettings(scales=(2.0,) * 2, rescale=1.0)
    guidance = Guidance(Spread(), settings, positive=POSITIVE, negative=NEGATIVE)
    # Guided is 5 times the ramp and conditional 3 times: wholly rescaled it is the conditional.
    assert guidance(LATENTS, TIMESTEP, 0.0)[0].flatten().tolist() == pytest.approx([3, 6, 9, 12])


def test_each_picture_has_a_scale_of_its_own() -> None:
    settings = GuidanceSettings(scales=(2.0, 7.5))
    guidance = Guidance(Recorder(), settings, positive=POSITIVE, negative=NEGATIVE)
    assert guidance(LATENTS, TIMESTEP, 0.0)[:, 0].flatten().tolist() == [5.0, 16.0]
