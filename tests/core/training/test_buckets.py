import math
import random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidRequest
from core.models.identify import identify
from core.training.buckets import cover, fit, make_buckets, resolution_of, step_of
from core.training.config_parts import Crop, DataSettings

steps = st.sampled_from([16, 32, 64])
sides = st.integers(1, 6000)


@given(step=steps, cells=st.integers(1, 20), more=st.integers(0, 15))
def test_shapes_have_about_as_many_pixels_as_the_square(step, cells, more):
    resolution = step * cells + more
    shapes = make_buckets(resolution, step)
    assert shapes[0] == (step * cells, step * cells)
    assert len(set(shapes)) == len(shapes)
    assert {(height, width) for width, height in shapes} == set(shapes)
    for width, height in shapes[1:]:
        assert width % step == height % step == 0
        assert resolution**2 - step * resolution < width * height <= resolution**2
    ratios = [width / height for width, height in shapes]
    assert max(ratios) <= 4 * (1 + more / (step * cells)) ** 2


def test_the_shapes_of_known_models():
    assert make_buckets(128, 32) == ((128, 128), (96, 160), (160, 96), (64, 256), (256, 64))
    assert make_buckets(512, 64) == (
        (512, 512), (448, 576), (576, 448), (384, 640), (640, 384),
        (320, 768), (768, 320), (256, 1024), (1024, 256),
    )  # fmt: skip
    assert make_buckets(1000, 64, square=True) == ((960, 960),)


def test_a_resolution_that_holds_no_cell_is_refused():
    with pytest.raises(InvalidRequest, match=r"resolution: 56 is too small .* at least 64"):
        make_buckets(56, 64)


@given(width=sides, height=sides, step=steps)
def test_a_picture_comes_to_the_shape_most_like_it(width, height, step):
    shapes = make_buckets(512, step)
    chosen = fit(width, height, shapes)
    off = [abs(math.log(w / h * height / width)) for w, h in shapes]
    assert abs(math.log(chosen.bucket[0] / chosen.bucket[1] * height / width)) == pytest.approx(
        min(off)
    )


@given(width=sides, height=sides, seed=st.integers(0, 9))
def test_a_picture_just_covers_its_shape(width, height, seed):
    at = cover(width, height, (320, 448))
    assert min(at.room) == 0
    assert at.scaled[0] / at.scaled[1] == pytest.approx(width / height, rel=0.01, abs=2)
    for kind in Crop:
        left, top = at.crop(kind, random.Random(seed))
        assert 0 <= left <= at.room[0]
        assert 0 <= top <= at.room[1]
    assert at.crop(Crop.CENTRE, random.Random(seed)) == (at.room[0] // 2, at.room[1] // 2)
    assert at.is_fixed(Crop.CENTRE)
    assert at.is_fixed(Crop.RANDOM) == (at.room == (0, 0))


def test_a_crop_by_chance_reaches_everywhere():
    at = cover(20, 10, (8, 8))
    crops = {at.crop(Crop.RANDOM, random.Random(seed)) for seed in range(200)}
    assert crops == {(left, 0) for left in range(9)}


def test_cells_and_resolution_come_from_the_model(tiny_model):
    identity = identify(tiny_model)
    assert step_of(identity) == 16  # The VAE's 8 pixels, halved once more by the UNet.
    assert resolution_of(DataSettings(folder="x"), identity) == 64
    assert resolution_of(DataSettings(folder="x", resolution=96), identity) == 96
    usual = SimpleNamespace(vae_scale=8, configs={"unet": {"block_out_channels": [0] * 4}})
    assert step_of(usual) == 64
