"""Tiles of a picture that a network enlarges, against the whole picture at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.sampling import enlarge
from core.sampling.enlarge import Enlargement, tile_count


class Convolutions(nn.Module):
    """Sees ``depth`` pixels far and doubles the picture."""

    factor = 2

    def __init__(self, depth: int) -> None:
        super().__init__()
        torch.manual_seed(3)
        layers = [nn.Conv2d(3, 3, 3, padding=1, bias=False) for _ in range(depth)]
        for layer in layers:
            with torch.no_grad():
                layer.weight.abs_()
                layer.weight /= layer.weight.sum(dim=(1, 2, 3), keepdim=True)
        self.layers = nn.Sequential(*layers)
        self.sizes: list[tuple[int, int]] = []

    @torch.inference_mode()
    def forward(self, picture: Tensor) -> Tensor:
        self.sizes.append((picture.shape[-1], picture.shape[-2]))
        return F.interpolate(self.layers(picture), scale_factor=2).clamp(0, 1)


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of a size that is quick; they fade over 4 pixels and see 12 beyond that."""
    for name, pixels in (("CORE", 32), ("MARGIN", 16), ("FADE", 4)):
        monkeypatch.setattr(enlarge, name, pixels)


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


def made(network: Convolutions, pixels: np.ndarray) -> np.ndarray:
    enlargement = Enlargement(network, pixels)
    assert list(enlargement) == list(range(1, enlargement.tiles + 1))
    return enlargement.result


def whole(network: Convolutions, pixels: np.ndarray) -> np.ndarray:
    unit = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]
    return (network(unit)[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


def difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(int) - other)


@pytest.mark.parametrize("size", [(96, 64), (97, 131), (65, 20), (130, 65), (1, 1)], ids=str)
def test_it_is_the_whole_pictures_where_the_network_sees_no_farther(small_tiles, size):
    network, pixels = Convolutions(depth=12), noise(*size)
    ours = made(network, pixels)
    assert ours.shape == (2 * size[1], 2 * size[0], 3)
    # What fades is a sum of two, which may round the other way.
    assert difference(ours, whole(network, pixels)).max() <= 1
    assert len(network.sizes) - 1 == tile_count(*size)


def test_no_tile_is_larger_than_a_bound_whatever_the_picture(small_tiles):
    network = Convolutions(depth=1)
    made(network, noise(300, 170))
    assert max(max(size) for size in network.sizes) <= 32 + 2 * 16


def test_what_the_network_sees_beyond_the_margin_leaves_no_seam(small_tiles):
    network = Convolutions(depth=40)
    y, x = np.mgrid[0:100, 0:140]
    smooth = np.stack([x * 1.7, y * 2.4, 255 - x - y], axis=-1).clip(0, 255).astype(np.uint8)
    ours, theirs = made(network, smooth), whole(network, smooth)
    inner = slice(40, -40), slice(40, -40)
    assert difference(ours[inner], theirs[inner]).mean() < 1
    for axis in (0, 1):
        steps = np.abs(np.diff(ours[inner].astype(int), axis=axis)).max()
        assert steps <= np.abs(np.diff(theirs[inner].astype(int), axis=axis)).max() + 1


def test_hardly_more_than_a_tile_is_one():
    assert tile_count(256, 256) == 1
    assert tile_count(257, 256) == 2
    # A last tile of less than a margin goes with the one before it.
    assert tile_count(384 + 31, 8) == tile_count(384, 8) == 2
    assert tile_count(384 + 32, 8) == 3
