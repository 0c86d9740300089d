import pytest

from core.errors import DatasetInvalid
from core.training.captions import (
    caption_path,
    picture_folders,
    picture_paths,
    read_caption,
    write_caption,
)


def test_the_pictures_of_a_folder_come_by_name(tmp_path):
    for name in ("b.png", "a.JPG", ".hidden.png", "a.txt", "notes.md", "c.v2.webp"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in picture_paths(tmp_path)] == ["a.JPG", "b.png", "c.v2.webp"]


def test_folders_that_say_how_often_they_are_shown_belong_to_it(tmp_path):
    for name in ("10_red star", "2_dog", "masks", ".1_cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "3_file").touch()
    names = ["10_red star", "2_dog"]
    assert picture_folders(tmp_path) == (tmp_path, *(tmp_path / name for name in names))


def test_a_folder_that_is_not_there_is_said_so(tmp_path):
    for listed in (picture_paths, picture_folders):
        with pytest.raises(DatasetInvalid, match=r"gone cannot be listed .* give a folder"):
            listed(tmp_path / "gone")


def test_a_caption_is_read_as_it_was_written(tmp_path):
    picture = tmp_path / "my.star.png"
    assert read_caption(picture) is None
    assert write_caption(picture, "ein grüner Stern") == tmp_path / "my.star.txt"
    assert caption_path(picture).read_bytes() == "ein grüner Stern\n".encode()
    assert read_caption(picture) == "ein grüner Stern"


def test_a_caption_of_another_program_is_put_on_one_line(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeff a star,\r\n red \r\n".encode())
    assert read_caption(tmp_path / "a.png") == "a star, red"


def test_a_caption_that_is_no_text_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetInvalid, match=r"a\.txt is no text in UTF-8"):
        read_caption(tmp_path / "a.png")
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(DatasetInvalid, match=r"b\.txt cannot be opened"):
        read_caption(tmp_path / "b.png")
