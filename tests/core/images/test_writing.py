from collections.abc import Iterator
from contextlib import closing
from datetime import datetime

import numpy as np
import pytest
from PIL import Image

from core.errors import SaveFailed
from core.events import Event, Finished, ImageReady, Loading, Saved
from core.images.formats import PictureFormat
from core.images.metadata import description_of, read_metadata
from core.images.writing import (
    converted,
    encode_picture,
    encode_pixels,
    encode_png,
    file_stem,
    save_picture,
    saved,
)
from core.images.xmp import read_packet
from core.request import TextToImage

WHEN = datetime(2026, 3, 4, 15, 6, 7)
RESERVED = '<>:"/\\|?*\0'


def ready(prompt: str = "a red circle", seed: int = 7) -> ImageReady:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 16, 3), dtype=np.uint8)
    return ImageReady(
        request=TextToImage(prompts=(prompt,), seed=seed),
        picture=0,
        seed=seed,
        pixels=pixels,
        seconds=1.0,
        model_sha256="ab" * 32,
        device="cpu",
    )


class Run:
    """A run that gives some events and says whether it was closed."""

    def __init__(self, *events: Event) -> None:
        self.events: Iterator[Event] = iter(events)
        self.closed = False

    def __iter__(self) -> "Run":
        return self

    def __next__(self) -> Event:
        return next(self.events)

    def close(self) -> None:
        self.closed = True


def test_the_name_is_date_seed_and_slug():
    assert file_stem(ready("A red circle, on blue!"), WHEN) == (
        "20260304-150607-7-a-red-circle-on-blue"
    )


@pytest.mark.parametrize(
    ("prompt", "slug"),
    [
        ("CON", "-con"),
        ("", ""),
        ("...", ""),
        ("../../etc/passwd", "-etc-passwd"),
        ("a" * 300, "-" + "a" * 60),
        ("赤い円" * 40, "-" + ("赤い円" * 40)[:20]),
        ("nai\u0308ve CAFÉ", "-naïve-café"),
        ("😀", ""),
        ("trailing dot. ", "-trailing-dot"),
        ("İstanbul", "-i̇stanbul"),
        ("a\nb\tc", "-a-b-c"),
    ],
)
def test_slugs(prompt, slug):
    assert file_stem(ready(prompt), WHEN) == f"20260304-150607-7{slug}"


@pytest.mark.parametrize("start", range(0, 0x3000, 60))
def test_no_letter_makes_a_name_that_a_system_refuses(start):
    prompt = "".join(map(chr, range(max(start, 1), start + 60)))
    stem = file_stem(ready(prompt), WHEN)
    assert not set(stem) & set(RESERVED)
    assert all(letter.isprintable() and not letter.isspace() for letter in stem)
    assert len(stem.encode()) < 120


def test_a_picture_is_kept_pixel_for_pixel(tmp_path):
    image = ready()
    path = save_picture(image, tmp_path / "new" / "folder")
    with Image.open(path) as picture:
        np.testing.assert_array_equal(np.array(picture), image.pixels)
    assert [path] == list(path.parent.iterdir())


def test_equal_pictures_are_equal_files():
    for picture_format in PictureFormat:
        first, again = (encode_picture(ready(), picture_format) for _ in range(2))
        assert first == again


@pytest.mark.parametrize("picture_format", PictureFormat)
def test_every_format_is_the_picture_and_says_how_it_was_made(tmp_path, picture_format):
    image = ready("赤い円 <&> 😀")
    path = save_picture(image, tmp_path, picture_format)
    assert path.suffix == picture_format.suffix
    with Image.open(path) as picture:
        assert picture.format == picture_format.upper()
        difference = np.array(picture).astype(int) - image.pixels
    assert np.abs(difference).mean() < (4 if picture_format is PictureFormat.JPEG else 0.001)
    found = read_metadata(path)
    assert (found.request, found.seed, found.device) == (image.request, 7, "cpu")


@pytest.mark.parametrize("picture_format", [PictureFormat.JPEG, PictureFormat.WEBP])
def test_other_programs_find_the_prompt_in_exif(tmp_path, picture_format):
    path = save_picture(ready("赤い円 😀"), tmp_path, picture_format)
    with Image.open(path) as picture:
        comment = picture.getexif().get_ifd(0x8769)[0x9286]
    assert comment.startswith(b"UNICODE\0")
    text = comment.removeprefix(b"UNICODE\0").decode("utf-16-be")
    assert text.startswith("赤い円 😀\nSteps: 20, Sampler: DDIM, ")


@pytest.mark.parametrize("picture_format", [PictureFormat.JPEG, PictureFormat.WEBP])
def test_other_programs_find_that_a_model_made_it(tmp_path, picture_format):
    path = save_picture(ready(), tmp_path, picture_format)
    with Image.open(path) as picture:
        packet = picture.info["xmp"]
    assert read_packet(packet)["xmp:DigitalSourceType"].endswith("/trainedAlgorithmicMedia")


@pytest.mark.parametrize("picture_format", PictureFormat)
@pytest.mark.parametrize("length", [20_000, 40_000, 70_000, 400_000])
def test_a_request_of_any_length_comes_back(tmp_path, picture_format, length):
    image = ready("é" * length)
    path = save_picture(image, tmp_path, picture_format)
    with Image.open(path) as picture:
        picture.load()
    assert read_metadata(path).request == image.request


@pytest.mark.parametrize("before", PictureFormat)
@pytest.mark.parametrize("after", PictureFormat)
def test_a_picture_of_another_kind_says_the_same(tmp_path, before, after):
    path = tmp_path / f"a{before.suffix}"
    path.write_bytes(encode_picture(ready("ein Füchschen"), before))
    copy = tmp_path / f"b{after.suffix}"
    copy.write_bytes(converted(path, after))
    assert description_of(copy) == description_of(path) is not None
    assert read_metadata(copy) == read_metadata(path)
    if PictureFormat.JPEG not in (before, after):
        with Image.open(copy) as picture:
            assert np.array_equal(np.array(picture), ready().pixels)


def test_what_other_programs_say_of_a_picture_is_kept_with_another_kind(tmp_path):
    path, plain = tmp_path / "a.png", tmp_path / "plain.png"
    picture = Image.fromarray(ready().pixels)
    path.write_bytes(
        encode_png(picture, {"parameters": "a fox\nSteps: 20, Sampler: Euler, Seed: 5"})
    )
    picture.save(plain)
    for picture_format in (PictureFormat.JPEG, PictureFormat.WEBP):
        copy = tmp_path / f"b{picture_format.suffix}"
        copy.write_bytes(converted(path, picture_format))
        assert read_metadata(copy) == read_metadata(path)
        copy.write_bytes(converted(plain, picture_format))
        assert read_metadata(copy) is None


def test_a_text_that_had_no_room_stays_out(tmp_path):
    path, copy = tmp_path / "a.jpg", tmp_path / "b.png"
    path.write_bytes(encode_picture(ready("x" * 70_000), PictureFormat.JPEG))
    copy.write_bytes(converted(path, PictureFormat.PNG))
    assert read_metadata(copy) == read_metadata(path)
    with Image.open(copy) as picture:
        assert "parameters" not in picture.info


@pytest.mark.parametrize("picture_format", PictureFormat)
def test_pixels_alone_can_be_kept_without_a_word(tmp_path, picture_format):
    path = tmp_path / "a"
    path.write_bytes(encode_pixels(ready().pixels, picture_format=picture_format))
    assert read_metadata(path) is None


def test_a_taken_name_is_numbered_and_nothing_is_overwritten(tmp_path):
    paths = [save_picture(ready(), tmp_path) for _ in range(4)]
    assert len(set(paths)) == 4
    assert sorted(paths) == sorted(tmp_path.iterdir())


def test_saved_follows_each_picture_and_all_else_passes(tmp_path):
    loading, first, second, end = (
        Loading(what="x"),
        ready(seed=1),
        ready(seed=2),
        Finished(pictures=2, seconds=1),
    )
    run = Run(loading, first, second, end)
    events = list(saved(run, tmp_path))
    paths = [event.path for event in events if isinstance(event, Saved)]
    assert events == [
        loading,
        first,
        Saved(path=paths[0], image=first),
        second,
        Saved(path=paths[1], image=second),
        end,
    ]
    assert all(path.exists() for path in paths)
    assert run.closed


def test_a_run_stopped_at_a_finished_picture_has_kept_it(tmp_path):
    run = Run(ready(seed=1), ready(seed=2))
    with closing(saved(run, tmp_path)) as stream:
        assert isinstance(next(stream), ImageReady)
    assert run.closed
    assert len(list(tmp_path.iterdir())) == 1


def test_a_picture_that_cannot_be_saved_is_shown_before_the_error(tmp_path):
    (tmp_path / "file").write_text("")
    run = Run(ready())
    stream = saved(run, tmp_path / "file")
    assert isinstance(next(stream), ImageReady)
    with pytest.raises(SaveFailed, match="file"):
        next(stream)
    assert run.closed


def test_an_error_of_the_run_comes_through_and_closes_it(tmp_path):
    class Broken(Run):
        def __next__(self) -> Event:
            raise SaveFailed("no")

    run = Broken()
    with pytest.raises(SaveFailed):
        next(saved(run, tmp_path))
    assert run.closed
