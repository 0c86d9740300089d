import pytest
from PIL import Image

from core.images.exif_text import read_exif, write_exif
from core.images.metadata import read_metadata

TEXT = "赤い円 😀 naïve\nNegative prompt: dog\nSteps: 20, Sampler: Euler, Seed: 5, Size: 8x8"
ENCODINGS = {
    "big-endian": b"UNICODE\0" + TEXT.encode("utf-16-be"),
    "little-endian": b"UNICODE\0" + TEXT.encode("utf-16-le"),
    "byte-order-mark": b"UNICODE\0" + TEXT.encode("utf-16"),
    "utf-8-all-the-same": b"UNICODE\0" + TEXT.encode(),
    "ascii": b"ASCII\0\0\0" + TEXT.encode(),
    "undefined": b"\0" * 8 + TEXT.encode() + b"\0",
    "no-prefix": TEXT.encode(),
}


@pytest.mark.parametrize("comment", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("kind", ["jpeg", "webp", "png"])
def test_every_encoding_is_read_in_every_container(build, comment, order, kind):
    block = build.exif(comment, order=order)
    if kind == "jpeg":
        path = build.jpeg_exif(block)
    elif kind == "webp":
        path = build.webp((b"EXIF", block))
    else:
        path = build.png(build.chunk(b"eXIf", block))
    with Image.open(path) as picture:
        picture.load()  # What was built is a picture.
    found = read_metadata(path)
    assert (found.prompt, found.negative_prompt, found.seed) == ("赤い円 😀 naïve", "dog", 5)


def test_an_exif_head_inside_a_webp_is_passed_over(build):
    path = build.webp((b"EXIF", b"Exif\0\0" + build.exif(ENCODINGS["ascii"])))
    assert read_metadata(path).seed == 5


def test_what_is_written_is_read():
    assert read_exif(write_exif(TEXT)) == {"exif:UserComment": TEXT}


def test_other_programs_find_the_comment_in_utf_16_big_endian(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + write_exif(TEXT))
    with Image.open(tmp_path / "a.jpg") as picture:
        comment = picture.getexif().get_ifd(0x8769)[0x9286]
    assert comment == b"UNICODE\0" + TEXT.encode("utf-16-be")


def test_texts_of_the_first_directory_are_read(build):
    block = build.exif(main={0x010F: b"make", 0x0110: b"model", 0x0131: "名前".encode()})
    assert read_exif(block) == {
        "exif:Make": "make",
        "exif:Model": "model",
        "exif:Software": "名前",
    }


@pytest.mark.parametrize("comment", [b"UNICODE\0", b"\0" * 8, b"ASCII\0\0\0"])
def test_an_empty_comment_says_nothing(build, comment):
    assert read_metadata(build.jpeg_exif(build.exif(comment))) is None


@pytest.mark.parametrize("block", [b"", b"MM", b"MM\0*", b"II*\0\xff\xff\xff\xff", b"x" * 100])
def test_a_damaged_block_has_no_texts(block):
    assert read_exif(block) == {}


def test_a_block_cut_anywhere_is_no_error(build):
    block = build.exif(ENCODINGS["big-endian"], main={0x010F: b"make", 0x0110: b"model"})
    for end in range(len(block)):
        read_exif(block[:end])


def test_a_camera_comment_is_no_prompt(build):
    assert read_metadata(build.jpeg_exif(build.exif(b"ASCII\0\0\0Created with GIMP"))) is None


def test_pixels_are_not_decoded_to_find_nothing(tmp_path):
    Image.effect_noise((64, 64), 90).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:1000])
    assert read_metadata(tmp_path / "a.png") is None
