import hashlib

import numpy as np
import pytest
from PIL import Image

from core.errors import DatasetInvalid
from core.training.buckets import cover
from core.training.showing import Example, View, read_mask, read_upright, show


def example_of(path, mask=None):
    with Image.open(path) as picture:
        width, height = picture.size
    return Example(
        path=path,
        caption="",
        width=width,
        height=height,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        mask=mask,
        mask_sha256=hashlib.sha256(mask.read_bytes()).hexdigest() if mask else "",
    )


def view_of(size, bucket, crop=(0, 0), *, flip=False, background="#ffffff"):
    return View(fit=cover(*size, bucket), crop=crop, flip=flip, background=background)


@pytest.fixture
def ramp(tmp_path):
    """40 x 20 pixels, each of which says where it is."""
    y, x = np.mgrid[0:20, 0:40]
    pixels = np.stack([x * 5, y * 10, np.zeros_like(x)], axis=-1).astype(np.uint8)
    path = tmp_path / "ramp.png"
    Image.fromarray(pixels).save(path)
    return path, pixels


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("left", [0, 7, 20])
def test_a_picture_is_cropped_and_mirrored(ramp, left, flip):
    path, pixels = ramp
    view = view_of((40, 20), (20, 20), (left, 0), flip=flip)
    shown, mask = show(example_of(path), view, masked=True)
    cut = pixels[:, left : left + 20]
    np.testing.assert_array_equal(shown, cut[:, ::-1] if flip else cut)
    assert mask is None
    # Where the crop begins in the whole picture as it is seen: mirrored, if it is.
    whole = pixels[:, ::-1] if flip else pixels
    corner = view.corner[0]
    np.testing.assert_array_equal(shown, whole[:, corner : corner + 20])


def test_a_picture_is_scaled_to_cover(ramp):
    path, _ = ramp
    shown, _ = show(example_of(path), view_of((40, 20), (16, 10), (2, 0)), masked=False)
    assert shown.shape == (10, 16, 3)
    assert shown.dtype == np.uint8
    with Image.open(path) as picture:
        scaled = np.array(picture.resize((20, 10), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(shown, scaled[:, 2:18])


def test_the_cameras_orientation_is_applied(ramp, tmp_path):
    _, pixels = ramp
    exif = Image.Exif()
    exif[0x0112] = 8  # To be turned by 90 degrees against the clock.
    path = tmp_path / "turned.png"
    Image.fromarray(pixels).save(path, exif=exif)
    assert np.array_equal(np.array(read_upright(path, "#ffffff").image), np.rot90(pixels))


def test_what_is_transparent_shows_the_background(tmp_path):
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:, 4:] = (200, 100, 0, 255)
    rgba[:, 3] = (200, 100, 0, 128)
    path = tmp_path / "a.png"
    Image.fromarray(rgba, "RGBA").save(path)
    view = view_of((8, 8), (8, 8), background="#0000ff")
    shown, mask = show(example_of(path), view, masked=True)
    assert shown[0].tolist() == [[0, 0, 255]] * 3 + [[100, 50, 127]] + [[200, 100, 0]] * 4
    assert mask is not None
    assert mask[0].tolist() == [0, 0, 0, 128, 255, 255, 255, 255]
    assert show(example_of(path), view, masked=False)[1] is None


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("L", 90, (90, 90, 90)),
        ("1", 1, (255, 255, 255)),
        ("LA", (90, 0), (0, 128, 0)),
        ("P", 0, (10, 20, 30)),
        ("I;16", 90 * 257, (90, 90, 90)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
    ],
)
def test_every_kind_of_pixel_is_taken(tmp_path, mode, colour, seen):
    picture = Image.new(mode, (16, 16), colour)
    if mode == "P":
        picture.putpalette([10, 20, 30] * 256)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    picture.save(path)
    shown, _ = show(
        example_of(path), view_of((16, 16), (16, 16), background="#008000"), masked=False
    )
    assert shown.shape == (16, 16, 3)
    assert tuple(shown[3, 3]) == pytest.approx(seen, abs=1)


def test_a_mask_beside_goes_before_transparency_and_the_way_of_its_picture(ramp, tmp_path):
    _, pixels = ramp
    path, mask = tmp_path / "b.png", tmp_path / "b.mask.png"
    Image.fromarray(pixels).convert("RGBA").save(path)
    greys = np.zeros((10, 20), np.uint8)
    greys[:, 15:] = 255
    Image.fromarray(greys).save(mask)
    view = view_of((40, 20), (20, 20), (20, 0), flip=True)
    _, shown = show(example_of(path, mask), view, masked=True)
    assert shown is not None
    assert shown.shape == (20, 20)
    assert (shown[:, :8] == 255).all()
    assert (shown[:, 12:] == 0).all()
    example = example_of(path, mask)
    Image.fromarray(255 - greys).save(mask)
    with pytest.raises(DatasetInvalid, match=r"b.mask.png has changed"):
        show(example, view, masked=True)


def test_a_mask_of_another_shape_is_refused(ramp):
    path, _ = ramp
    assert read_mask(path, (80, 40)).size == (80, 40)
    with pytest.raises(DatasetInvalid, match="is 40 x 20 pixels and its picture 40 x 40"):
        read_mask(path, (40, 40))


def test_a_picture_that_went_or_changed_ends_in_a_sentence(ramp):
    path, pixels = ramp
    example, view = example_of(path), view_of((40, 20), (20, 20))
    Image.fromarray(pixels[::-1]).save(path)
    with pytest.raises(DatasetInvalid, match=r"ramp.png has changed since the training began"):
        show(example, view, masked=False)
    path.unlink()
    with pytest.raises(
        DatasetInvalid, match=r"ramp.png cannot be read any more since .* put it back"
    ):
        show(example, view, masked=False)
