"""Masks of every kind, and the soft edge that stays inside of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import InvalidRequest
from core.images.mask import as_mask, read_mask, softened

SQUARE = np.zeros((20, 24), np.bool_)
SQUARE[5:12, 6:15] = True
WHITE_SQUARE = np.where(SQUARE, 255, 0).astype(np.uint8)


def rgba(colour, alpha):
    pixels = np.zeros((20, 24, 4), np.uint8)
    pixels[..., :3] = colour
    pixels[..., 3] = alpha
    return Image.fromarray(pixels)


def read(tmp_path: Path, image: Image.Image, *, invert: bool = False, **options) -> np.ndarray:
    path = tmp_path / "mask.png"
    image.save(path, **options)
    found, size = read_mask(path, invert=invert)
    assert size == image.size
    return as_mask(found, path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_white_is_painted_anew_in_every_mode(tmp_path, mode):
    image = Image.fromarray(WHITE_SQUARE)
    if mode == "I;16":
        image = Image.fromarray(WHITE_SQUARE.astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    np.testing.assert_array_equal(read(tmp_path, image), SQUARE)
    np.testing.assert_array_equal(read(tmp_path, image, invert=True), ~SQUARE)


def test_grey_counts_from_the_middle_on(tmp_path):
    greys = np.tile(np.arange(0, 240, 10, np.uint8), (20, 1))
    np.testing.assert_array_equal(read(tmp_path, Image.fromarray(greys)), greys >= 128)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (220, 20, 30)])
def test_what_one_brush_drew_is_the_mask(tmp_path, colour):
    np.testing.assert_array_equal(read(tmp_path, rgba(colour, WHITE_SQUARE)), SQUARE)


def test_of_visible_greys_the_white_ones_are_the_mask(tmp_path):
    greys = WHITE_SQUARE[..., None]
    alpha = np.full((20, 24), 255, np.uint8)
    alpha[:, :10] = 0
    expected = SQUARE.copy()
    expected[:, :10] = False
    np.testing.assert_array_equal(read(tmp_path, rgba(greys, alpha)), expected)


def test_the_holes_of_a_coloured_picture_are_the_mask(tmp_path):
    colours = np.zeros((20, 24, 3), np.uint8)
    colours[..., 0] = np.arange(24) * 10
    np.testing.assert_array_equal(read(tmp_path, rgba(colours, 255 - WHITE_SQUARE)), SQUARE)


def test_a_palette_with_a_transparent_entry_is_read(tmp_path):
    image = Image.fromarray(WHITE_SQUARE).convert("P")
    np.testing.assert_array_equal(read(tmp_path, image, transparency=0), SQUARE)


def test_an_empty_mask_is_said_in_one_sentence(tmp_path):
    with pytest.raises(InvalidRequest, match="marks nothing of the picture") as caught:
        read(tmp_path, Image.new("L", (20, 24)))
    assert caught.value.field == "mask_image"


def test_what_is_no_picture_is_refused_as_the_mask(tmp_path):
    path = tmp_path / "mask.png"
    path.write_bytes(b"no picture")
    with pytest.raises(InvalidRequest) as caught:
        read_mask(path, invert=False)
    assert caught.value.field == "mask_image"


def test_the_soft_edge_lies_inside():
    share = softened(SQUARE, 2)
    assert (share[~SQUARE] == 0).all()
    assert (share[SQUARE] > 0).all()
    np.testing.assert_allclose(share[8, 5:10], [0, 1 / 3, 2 / 3, 1, 1], atol=1e-6)
    np.testing.assert_array_equal(softened(SQUARE, 0), SQUARE)


def test_the_pictures_border_is_no_edge():
    mask = np.zeros((8, 8), np.bool_)
    mask[:, 4:] = True
    np.testing.assert_allclose(softened(mask, 1), [[0, 0, 0, 0, 0.5, 1, 1, 1]] * 8)
