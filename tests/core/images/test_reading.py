import os
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from core.errors import InvalidRequest
from core.images.reading import read_start_image, sha256_of


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header promises a size and whose data is a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100))
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def reason(path: Path) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read_start_image(path, 16, 24)
    assert caught.value.field == "init_image"
    assert str(path) in caught.value.reason
    assert "\n" not in caught.value.reason
    return caught.value.reason


HELD = {
    "png": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "tiff": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "YCbCr", "LAB"],
    "jpg": ["1", "L", "RGB", "CMYK", "YCbCr"],
    "gif": ["1", "L", "P", "RGB", "RGBA"],
    "webp": ["L", "P", "RGB", "RGBA"],
    "bmp": ["1", "L", "P", "RGB", "RGBA"],
}


@pytest.mark.parametrize(
    ("suffix", "mode"), [(suffix, mode) for suffix, modes in HELD.items() for mode in modes]
)
def test_every_mode_becomes_rgb_of_the_size_asked_for(tmp_path, suffix, mode):
    path = tmp_path / f"start.{suffix}"
    Image.new(mode, (40, 30)).save(path)
    pixels = read_start_image(path, 16, 24)
    assert pixels.shape == (24, 16, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous


def test_pixels_of_the_right_size_are_untouched(tmp_path):
    original = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    Image.fromarray(original).save(tmp_path / "start.png")
    np.testing.assert_array_equal(read_start_image(tmp_path / "start.png", 16, 24), original)


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "start.png")
    pixels = read_start_image(tmp_path / "start.png", 64, 64)
    assert (pixels[0, 0, 0], pixels[-1, -1, 0]) == (0, 255)
    assert abs(int(pixels[32, 0, 0]) - 128) <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(tmp_path, mode):
    Image.new(mode, (8, 8), 0).save(tmp_path / "start.png")
    assert (read_start_image(tmp_path / "start.png", 8, 8) == 255).all()


def test_transparent_palette_colour_lies_over_white(tmp_path):
    Image.new("P", (8, 8), 0).save(tmp_path / "start.png", transparency=0)
    assert (read_start_image(tmp_path / "start.png", 8, 8) == 255).all()


def test_half_transparent_black_is_grey(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 128)).save(tmp_path / "start.png")
    assert (read_start_image(tmp_path / "start.png", 8, 8) == 127).all()


def test_camera_orientation_is_applied(tmp_path):
    picture = Image.new("RGB", (32, 16), "red")
    picture.paste("blue", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise to stand upright
    picture.save(tmp_path / "start.png", exif=exif)
    pixels = read_start_image(tmp_path / "start.png", 16, 32)
    assert tuple(pixels[4, 8]) == (0, 0, 255)
    assert tuple(pixels[28, 8]) == (255, 0, 0)


def test_the_middle_is_kept_when_the_shape_differs(tmp_path):
    picture = Image.new("RGB", (300, 100), "white")
    picture.paste("green", (100, 0, 200, 100))
    picture.save(tmp_path / "start.png")
    middle = read_start_image(tmp_path / "start.png", 64, 64)[8:-8, 8:-8]
    assert (middle == (0, 128, 0)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes_are_fitted(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "start.png")
    assert read_start_image(tmp_path / "start.png", 64, 48).shape == (48, 64, 3)


def test_a_colour_profile_becomes_srgb(tmp_path):
    swapped = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = swapped.index(b"rXYZ"), swapped.index(b"bXYZ")
    swapped[red], swapped[blue] = swapped[blue], swapped[red]
    Image.new("RGB", (8, 8), "red").save(tmp_path / "start.png", icc_profile=bytes(swapped))
    assert tuple(read_start_image(tmp_path / "start.png", 8, 8)[0, 0]) == (0, 0, 255)


@pytest.mark.parametrize("space", ["LAB", "XYZ", None])
def test_a_colour_profile_that_does_not_fit_changes_nothing(tmp_path, space):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes() if space else b"?"
    Image.new("RGB", (8, 8), "red").save(tmp_path / "start.png", icc_profile=profile)
    assert tuple(read_start_image(tmp_path / "start.png", 8, 8)[0, 0]) == (255, 0, 0)


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    assert "does not exist" in reason(tmp_path / "none.png")


def test_a_folder_is_no_picture(tmp_path):
    assert "not a file" in reason(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_a_pipe_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a file" in reason(tmp_path / "pipe")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_what_is_no_picture_is_said_to_be_none(tmp_path, content):
    (tmp_path / "start.png").write_bytes(content)
    assert "not a picture" in reason(tmp_path / "start.png")


@pytest.mark.parametrize("size", [(20_000, 20_000), (10_000, 10_000)])
def test_a_decompression_bomb_is_refused_from_its_header(tmp_path, size):
    (tmp_path / "bomb.png").write_bytes(png_of_size(*size))
    assert "million pixels" in reason(tmp_path / "bomb.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tiff", "bmp"])
def test_damaged_files_are_read_or_refused(tmp_path, suffix):
    whole = tmp_path / f"whole.{suffix}"
    Image.effect_noise((60, 60), 90).convert("RGB").save(whole)
    content = whole.read_bytes()
    chance = random.Random(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(content[: chance.randrange(len(content))])
        for _ in range(chance.randrange(8)):
            if damaged:
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path = tmp_path / "damaged"
        path.write_bytes(damaged)
        try:
            assert read_start_image(path, 16, 16).shape == (16, 16, 3)
        except InvalidRequest:
            refused += 1
    assert refused > 20


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_of(tmp_path / "file").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_sha256_of_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InvalidRequest, match="does not exist"):
        sha256_of(tmp_path / "none")
