import random
import shutil
from contextlib import closing

import pytest
from PIL import Image

from core.errors import DatasetInvalid, ModelMissing
from core.events import Loading
from core.starter.caption_check import to_image
from core.starter.render import draw_scenes
from core.starter.world import Place, Scene, Thing
from core.training.caption_events import Captioned, CaptionsDone, PassedOver
from core.training.caption_request import CaptionRequest, CaptionSettings
from core.training.captioning import write_captions


def star(ground: str = "blue", place: Place = "centre") -> Image.Image:
    scene = Scene((Thing("star", "red"),), ground, place=place)
    return to_image(draw_scenes([scene], random.Random(2))[0])


@pytest.fixture
def folder(tmp_path):
    """Two pictures, one with a caption."""
    place = tmp_path / "pictures"
    place.mkdir()
    star().save(place / "a.png")
    star("white").save(place / "b.jpg")
    (place / "b.txt").write_text("mine\n")
    return place


def request(folder, **more) -> CaptionRequest:
    return CaptionRequest(folder=folder, **more)


def test_captions_are_written_and_those_that_are_there_are_kept(folder):
    events = list(write_captions(request(folder)))
    assert events == [
        Loading(what="the captioner starter"),
        Captioned(
            picture=folder / "a.png",
            path=folder / "a.txt",
            caption=(folder / "a.txt").read_text().strip(),
            kept=False,
            index=1,
            total=2,
            seconds=0,
        ),
        Captioned(
            picture=folder / "b.jpg",
            path=folder / "b.txt",
            caption="mine",
            kept=True,
            index=2,
            total=2,
            seconds=0,
        ),
        CaptionsDone(written=1, kept=1, passed_over=0, seconds=0),
    ]
    assert "red star" in events[1].caption
    assert "blue background" in events[1].caption


def test_captions_are_written_anew_if_asked(folder):
    settings = CaptionSettings(prefix="sks style,", suffix=", flat")
    done = list(write_captions(request(folder, overwrite=True, settings=settings)))[-1]
    assert done == CaptionsDone(written=2, kept=0, passed_over=0, seconds=0)
    for name, ground in (("a", "blue"), ("b", "white")):
        words = (folder / f"{name}.txt").read_text()
        assert words.startswith("sks style, a ")
        assert words.endswith(f"on a {ground} background, flat\n")


def test_an_empty_caption_is_none(folder):
    (folder / "b.txt").write_text(" \n")
    assert list(write_captions(request(folder)))[-1].written == 2


def test_no_model_is_needed_where_nothing_is_to_be_written(folder, tmp_path):
    (folder / "a.txt").write_text("mine too")
    events = list(write_captions(request(folder)))
    assert not any(isinstance(event, Loading) for event in events)
    assert events[-1].kept == 2


def test_what_cannot_be_used_is_passed_over_with_the_reason(folder):
    (folder / "c.png").write_bytes(b"no picture")
    star().save(folder / "d.png")
    star().save(folder / "d.webp")
    star().save(folder / "e.png")
    (folder / "e.txt").write_bytes(b"\xff\xff\xff")
    events = list(write_captions(request(folder)))
    over = {event.picture.name: event.reason for event in events if isinstance(event, PassedOver)}
    assert over == {
        "c.png": f"{folder / 'c.png'} is not a picture that can be read; save it as PNG or JPEG "
        "first.",
        "d.webp": f"{folder / 'd.webp'} would share d.txt with d.png; rename one of the two.",
        "e.png": f"{folder / 'e.txt'} is no text in UTF-8; save it anew in that.",
    }
    assert events[-1] == CaptionsDone(written=2, kept=1, passed_over=3, seconds=0)
    assert (folder / "e.txt").read_bytes() == b"\xff\xff\xff"


def test_folders_that_say_how_often_they_are_shown_belong_to_it(folder):
    (folder / "3_star").mkdir()
    star().save(folder / "3_star" / "c.png")
    done = list(write_captions(request(folder)))[-1]
    assert done.written == 2
    assert "red star" in (folder / "3_star" / "c.txt").read_text()


def test_pictures_are_seen_upright_and_over_white(tmp_path):
    turned = star(place="top").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # Shown turned by 90 degrees clockwise.
    turned.save(tmp_path / "a.jpg", exif=exif, quality=95)
    white = star("white")
    see_through = white.convert("RGBA")
    see_through.putalpha(white.getchannel("G").point(lambda level: 0 if level > 200 else 255))
    see_through.save(tmp_path / "b.png")
    list(write_captions(request(tmp_path)))
    assert "at the top" in (tmp_path / "a.txt").read_text()
    assert "on a white background" in (tmp_path / "b.txt").read_text()


def test_to_stop_keeps_what_was_written_and_leaves_the_rest(folder):
    with closing(write_captions(request(folder, overwrite=True))) as events:
        next(events)
        next(events)
    assert "red star" in (folder / "a.txt").read_text()
    assert (folder / "b.txt").read_text() == "mine\n"
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "a.txt", "b.jpg", "b.txt"]


def test_a_folder_without_a_picture_that_can_be_used_is_an_error(tmp_path):
    with pytest.raises(DatasetInvalid, match="holds no pictures; give the folder"):
        list(write_captions(request(tmp_path)))
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DatasetInvalid, match=r"^None of the pictures .* \(1\); the first:"):
        list(write_captions(request(tmp_path)))


def test_a_model_that_is_not_there_is_said_so_before_any_picture_is_read(folder):
    shutil.copy(folder / "a.png", folder / "c.png")
    with pytest.raises(ModelMissing):
        next(write_captions(request(folder, model=str(folder / "gone"))))
