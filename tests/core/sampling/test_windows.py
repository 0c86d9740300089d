import pytest
import torch

from core.sampling.conditioning import Conditioning
from core.sampling.windows import Windowed


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 40), (17, 33), (64, 24)])
def test_windows_of_a_local_denoiser_are_the_whole(height, width):
    seen = []

    def denoiser(latents, timestep, conditioning):
        seen.append(tuple(latents.shape[-2:]))
        return 2 * latents + timestep

    latents = torch.randn(2, 4, height, width, generator=torch.Generator().manual_seed(0))
    time = torch.tensor(3.0)
    predicted = Windowed(denoiser, 16)(latents, time, Conditioning(text=torch.zeros(2, 1, 1)))
    torch.testing.assert_close(predicted, denoiser(latents, time, None))
    assert max(max(shape) for shape in seen[:-1]) <= 16
