"""Canvases: what the run sees, and that nothing but the mask's part comes back changed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.images.canvas import canvas_of, result_size
from core.request import Inpaint, Outpaint, SecondPass, TextToImage

WIDTH, HEIGHT = 100, 61


@pytest.fixture
def picture(tmp_path: Path) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return pixels


def inpaint(tmp_path: Path, box: tuple[int, int, int, int], **changes: Any) -> Inpaint:
    left, top, right, bottom = box
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top:bottom, left:right] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    settings: dict[str, Any] = {
        "prompts": ("a",),
        "init_image": str(tmp_path / "picture.png"),
        "mask_image": str(tmp_path / "mask.png"),
        "width": 64,
        "height": 64,
    }
    return Inpaint(**(settings | changes))


@pytest.mark.parametrize("blur", [0, 5])
@pytest.mark.parametrize("box", [(40, 20, 60, 40), (0, 0, 9, 61), (95, 55, 100, 61)])
@pytest.mark.parametrize("padding", [0, 12, 500])
def test_only_the_masked_part_changes(tmp_path, picture, box, padding, blur):
    request = inpaint(tmp_path, box, only_masked=True, padding=padding, mask_blur=blur)
    canvas = canvas_of(request)
    assert canvas.start().shape == (64, 64, 3)
    left, top, right, bottom = canvas.box
    assert right - left == bottom - top
    result = canvas.finish(np.full((64, 64, 3), 255, np.uint8))
    np.testing.assert_array_equal(result[~canvas.mask], picture[~canvas.mask])
    if not blur:
        assert (result[canvas.mask] == 255).all()
    assert result.shape == picture.shape


def test_the_part_is_cut_around_the_mask(tmp_path, picture):
    canvas = canvas_of(inpaint(tmp_path, (40, 20, 60, 40), only_masked=True, padding=5))
    assert canvas.box == (35, 15, 65, 45)
    wide = inpaint(tmp_path, (40, 20, 60, 40), only_masked=True, padding=5, width=128)
    assert canvas_of(wide).box == (20, 15, 80, 45)


def test_the_whole_picture_is_cropped_and_not_scaled_to_a_multiple_of_8(tmp_path, picture):
    canvas = canvas_of(inpaint(tmp_path, (40, 20, 60, 40), width=96, height=56))
    np.testing.assert_array_equal(canvas.start(), picture[2:58, 2:98])
    assert np.argwhere(canvas.area())[0].tolist() == [18, 38]


def test_a_picture_keeps_its_size_where_the_run_has_room_for_it(tmp_path, picture):
    request = inpaint(tmp_path, (40, 20, 60, 61), width=104, height=64)
    canvas = canvas_of(request)
    start = canvas.start()
    assert (start.shape, canvas.area().shape) == ((64, 104, 3), (64, 104))
    np.testing.assert_array_equal(start[:HEIGHT, :WIDTH], picture)
    np.testing.assert_array_equal(start[HEIGHT:, :WIDTH], np.repeat(picture[-1:], 3, axis=0))
    result = canvas.finish(np.full((64, 104, 3), 255, np.uint8))
    assert result.shape == picture.shape
    assert result_size(request) == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(result[~canvas.mask], picture[~canvas.mask])


def test_pixels_that_are_cut_off_are_said(tmp_path, picture):
    canvas = canvas_of(inpaint(tmp_path, (40, 20, 60, 40), width=96, height=56))
    (notice,) = canvas.notices
    assert notice.startswith("Of the picture's 100 x 61 pixels 96 x 56 are kept")


def test_a_picture_grows_by_what_is_asked_for_and_no_more(tmp_path, picture):
    request = Outpaint(
        prompts=("a",),
        init_image=str(tmp_path / "picture.png"),
        width=112,
        height=64,
        left=5,
        top=1,
    )
    canvas = canvas_of(request)
    assert canvas.start().shape == (64, 112, 3)
    result = canvas.finish(np.full((64, 112, 3), 255, np.uint8))
    assert result.shape == (62, 105, 3)
    assert result_size(request) == (105, 62)
    np.testing.assert_array_equal(result[1:, 5:], picture)
    assert (result[0] == 255).all()


def test_a_mask_of_another_size_is_scaled_and_it_is_said(tmp_path, picture):
    request = inpaint(tmp_path, (40, 20, 60, 40), only_masked=True)
    mask = np.zeros((2, 2), np.uint8)
    mask[0, 0] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    canvas = canvas_of(request)
    assert canvas.notices == (
        "The mask has 2 x 2 pixels and the picture 100 x 61; the mask was scaled to the picture.",
    )
    assert canvas.mask[5, 5]
    assert not canvas.mask[55, 90]


def test_a_thin_stroke_is_painted_at_a_smaller_size_too(tmp_path, picture):
    request = inpaint(tmp_path, (10, 30, 90, 31), only_masked=True, width=16, height=16)
    area = canvas_of(request).area()
    assert area.any(axis=1).sum() in (1, 2)
    assert area.any(axis=0).sum() > 10


@pytest.mark.parametrize("blur", [0, 3])
def test_outpainting_keeps_the_picture(tmp_path, picture, blur):
    request = Outpaint(
        prompts=("a",),
        init_image=str(tmp_path / "picture.png"),
        width=128,
        height=64,
        left=24,
        right=4,
        bottom=3,
        mask_blur=blur,
    )
    canvas = canvas_of(request)
    result = canvas.finish(np.full((64, 128, 3), 255, np.uint8))
    np.testing.assert_array_equal(
        result[: 61 - blur, 24 + blur : 124 - blur], picture[: 61 - blur, blur : 100 - blur]
    )
    assert (result[:, :24] == 255).all()
    assert (result[61:] == 255).all()


def test_the_size_of_the_result_is_told_before_it_is_made(
    tmp_path: Path, picture: np.ndarray
) -> None:
    masked = inpaint(tmp_path, (40, 20, 60, 40), only_masked=True, width=64, height=64)
    assert result_size(masked) == (WIDTH, HEIGHT)
    whole = inpaint(tmp_path, (40, 20, 60, 40), width=64, height=32)
    assert result_size(whole) == (64, 32)
    larger = TextToImage(prompts=("a",), width=64, height=32, second_pass=SecondPass(scale=1.5))
    assert result_size(larger) == (96, 48)
