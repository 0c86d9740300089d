"""The VAE in tiles against the whole picture, on the starter's real VAE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import nn

from core.models import catalog
from core.sampling import tiled_vae
from tests.benchmarks.tiled_decode import smooth


@pytest.fixture(scope="module")
def vae() -> Any:
    folder = catalog.resolve(catalog.STARTER) / "vae"
    return diffusers.AutoencoderKL.from_pretrained(Path(folder), local_files_only=True).eval()


@torch.inference_mode()
def test_a_smooth_picture_has_no_seams(vae: Any) -> None:
    picture = smooth(704, 712)
    latents = vae.encode(picture).latent_dist.mean
    tiled_latents = tiled_vae.encode(vae, picture, 8).mean
    assert float((tiled_latents - latents).abs().mean() / latents.std()) < 0.03
    whole = vae.decode(latents).sample
    difference = (tiled_vae.decode(vae, latents, 8) - whole) * 127.5  # Of 255.
    assert float(difference.abs().mean()) < 1
    seam = 8 * tiled_vae.TILE
    assert float((difference[..., seam] - difference[..., seam - 1]).abs().mean()) < 0.1
    assert float((difference[..., seam, :] - difference[..., seam - 1, :]).abs().mean()) < 0.1


@torch.inference_mode()
def test_given_the_true_statistics_tiles_are_the_whole(
    vae: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    latents = vae.encode(smooth(672, 96)).latent_dist.mean

    def whole(source: torch.Tensor, reads: int) -> Any:
        yield source, torch.ones(1, 1, source.shape[-2] // reads, source.shape[-1] // reads)

    monkeypatch.setattr(tiled_vae, "_patch_groups", whole)
    tiled = tiled_vae.decode(vae, latents, 8)
    assert float((tiled - vae.decode(latents).sample).abs().max()) < 1e-3
    assert not any("forward" in m.__dict__ for m in vae.modules() if isinstance(m, nn.GroupNorm))


@torch.inference_mode()
@pytest.mark.parametrize("side", [8, 96])
def test_a_narrow_picture_goes_through_tiles_too(
    vae: Any, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiled_vae, "TILE", 32)
    for picture in (smooth(side, 336), smooth(336, side)):
        latents = vae.encode(picture).latent_dist.mean
        tiled_latents = tiled_vae.encode(vae, picture, 8).mean
        assert float((tiled_latents - latents).abs().mean() / latents.std()) < 0.1
        difference = (tiled_vae.decode(vae, latents, 8) - vae.decode(latents).sample) * 127.5
        assert float(difference.abs().mean()) < 3


def test_patches_count_for_the_whole_axis() -> None:
    for limit in (1, 4, 12, 24, 25, 81, 128, 256, 511):
        spans = tiled_vae._patch_spans(limit)
        assert sum(float(counts.sum()) for _, counts in spans) == pytest.approx(limit)
