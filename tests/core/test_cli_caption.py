import json
import random
import shutil
import signal
from pathlib import Path

import pytest

from core import cli
from core.starter.caption_check import to_image
from core.starter.render import draw_scenes
from core.starter.world import Scene, Thing
from core.training import captioning
from core.training.caption_models import SHIPPED
from core.training.captions import write_caption


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "pictures"
    place.mkdir()
    for name, ground in (("a", "blue"), ("b", "white")):
        scene = Scene((Thing("star", "red"),), ground)
        to_image(draw_scenes([scene], random.Random(2))[0]).save(place / f"{name}.png")
    return place


def call(*words, tmp_path):
    return cli.main(["caption", *map(str, words), "--profile", str(tmp_path / "profile")])


def test_a_person_sees_captions_and_what_became_of_all(folder, tmp_path, capsys):
    (folder / "b.txt").write_text("mine")
    (folder / "c.gif").write_bytes(b"")
    assert call(folder, tmp_path=tmp_path) == 0
    out, err = capsys.readouterr()
    caption = (folder / "a.txt").read_text().strip()
    assert "red star" in caption
    assert out == f"{folder / 'a.txt'}: {caption}\n"
    assert "Loading the captioner starter ..." in err
    assert f"{folder / 'c.gif'} is not a picture that can be read" in err
    assert "3/3" in err
    assert "1 caption written, 1 kept; --overwrite writes them anew, 1 passed over (" in err


def test_a_program_reads_an_event_a_line_and_nothing_else(folder, tmp_path, capsys):
    (folder / "c.gif").write_bytes(b"")
    words = ("--json", "--prefix", "sks,", "--suffix", "too", "--beams", "1", "--device", "cpu")
    assert call(folder, *words, tmp_path=tmp_path) == 0
    out, err = capsys.readouterr()
    assert err == ""
    events = [json.loads(line) for line in out.splitlines()]
    kinds = ["loading", "caption", "caption", "passed-over", "finished"]
    assert [event["event"] for event in events] == kinds
    first = events[1]
    assert (first["index"], first["total"], first["kept"]) == (1, 3, False)
    assert Path(first["path"]).read_text() == first["caption"] + "\n"
    assert first["caption"].startswith("sks, a ")
    assert first["caption"].endswith(" too")
    assert events[3]["picture"] == str(folder / "c.gif")
    finished = events[4]
    assert (finished["written"], finished["kept"], finished["passed_over"]) == (2, 0, 1)


def test_captions_are_written_anew_if_asked(folder, tmp_path, capsys):
    for name in "ab":
        (folder / f"{name}.txt").write_text("mine")
    assert call(folder, tmp_path=tmp_path) == 0
    assert (folder / "a.txt").read_text() == "mine"
    assert "0 captions written, 2 kept; --overwrite writes them anew (" in capsys.readouterr().err
    assert call(folder, "--overwrite", tmp_path=tmp_path) == 0
    assert "red star" in (folder / "a.txt").read_text()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--beams", "0"), "--beams: 0 is not from 1 to 64."),
        (("--max-tokens", "401"), "--max-tokens: 401 is not from 1 to 400."),
        (("--model", ""), "--model: is empty; give a name or a path."),
        (("--prefix", "x " * 200), "--prefix: leaves no room for a caption"),
    ],
)
def test_what_is_out_of_range_is_named_as_it_was_typed(folder, tmp_path, capsys, words, line):
    assert call(folder, *words, tmp_path=tmp_path) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"stepwise: {line}")


def test_a_folder_without_pictures_and_one_that_is_not_there(tmp_path, capsys):
    assert call(tmp_path, tmp_path=tmp_path) == 1
    assert "holds no pictures; give the folder that does." in capsys.readouterr().err
    assert call(tmp_path / "gone", tmp_path=tmp_path) == 1
    assert "gone cannot be listed" in capsys.readouterr().err


def test_a_captioner_of_the_library_goes_by_its_name(folder, tmp_path, capsys):
    copy = shutil.copytree(SHIPPED, tmp_path / "mine")
    assert cli.main(["models", "add", str(copy), "--profile", str(tmp_path / "profile")]) == 0
    assert "mine: BLIP captioner" in capsys.readouterr().out
    assert call(folder, "--model", "Mine", tmp_path=tmp_path) == 0
    assert "red star" in (folder / "a.txt").read_text()


def test_ctrl_c_ends_it_and_keeps_what_was_written(folder, tmp_path, capsys, monkeypatch):
    written = []

    def write(picture, text):
        written.append(write_caption(picture, text))
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(captioning, "write_caption", write)
    assert call(folder, "--json", tmp_path=tmp_path) == 130
    assert written == [folder / "a.txt"]
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "a.txt", "b.png"]
    assert "Traceback" not in capsys.readouterr().err
