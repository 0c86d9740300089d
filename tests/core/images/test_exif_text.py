import pytest
from PIL import Image

from core.images.exif_text import read_user_comment
from core.images.metadata import read_metadata

TEXT = "赤い円 😀 naïve\nNegative prompt: dog\nSteps: 20, Sampler: Euler, Seed: 5, Size: 8x8"


def saved(path, comment):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = comment
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    return path


@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + TEXT.encode("utf-16-be"),
        b"UNICODE\0" + TEXT.encode("utf-16-le"),
        b"UNICODE\0" + TEXT.encode("utf-16"),
        b"ASCII\0\0\0" + TEXT.encode(),
        b"\0" * 8 + TEXT.encode() + b"\0",
        TEXT.encode(),
    ],
    ids=["big-endian", "little-endian", "byte-order-mark", "ascii", "undefined", "no-prefix"],
)
@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_every_encoding_is_read(tmp_path, comment, suffix):
    path = saved(tmp_path / f"a.{suffix}", comment)
    with Image.open(path) as picture:
        assert read_user_comment(picture) == TEXT
    found = read_metadata(path)
    assert found.prompt == "赤い円 😀 naïve"
    assert found.settings()["seed"] == 5


@pytest.mark.parametrize("comment", [b"", b"UNICODE\0", b"\0" * 8])
def test_an_empty_comment_says_nothing(tmp_path, comment):
    path = saved(tmp_path / "a.jpg", comment)
    assert read_metadata(path) is None


def test_a_picture_without_exif_says_nothing(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    assert read_metadata(tmp_path / "a.jpg") is None


def test_pixels_are_not_decoded_to_find_nothing(tmp_path):
    Image.effect_noise((64, 64), 90).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:1000])
    assert read_metadata(tmp_path / "a.png") is None
