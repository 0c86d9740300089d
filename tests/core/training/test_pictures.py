import json
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.errors import DatasetInvalid
from core.events import Prepared
from core.training.config_parts import DataSettings
from core.training.pictures import Fault, Problem, scan, scanning


@pytest.fixture
def save(tmp_path):
    """Save a picture of noise that no other has."""
    count = 0

    def make(name, size=(64, 64), mode="RGB", **options):
        nonlocal count
        count += 1
        width, height = size
        pixels = np.random.default_rng(count).integers(0, 256, (height, width, 4), np.uint8)
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels, "RGBA").convert(mode).save(path, **options)
        return path

    return make


@pytest.fixture
def look(tmp_path):
    def scanned(prompt=None, **settings):
        return scan(DataSettings(folder=str(tmp_path), **settings), prompt=prompt)

    return scanned


def captions(found):
    return {example.path.name: example.caption for example in found.examples}


def faults(found):
    return {problem.path.name: problem.fault for problem in found.problems}


def test_captions_come_from_beside_from_the_list_from_the_folder_or_from_the_name(
    save, look, tmp_path
):
    for name in ("beside.png", "listed.png", "a_named_star_01.png", "10_red star/x_1.png"):
        save(name)
    save("10_red star/listed too.png")
    save("deeper/only listed.png")
    save("deeper/nowhere.png")
    (tmp_path / "beside.txt").write_text("from beside\n")
    lines = [
        ("beside.png", "never read"),
        ("listed.png", "from the list"),
        ("10_red star/listed too.png", "from the list above"),
        ("deeper/only listed.png", "from the list below"),
    ]
    (tmp_path / "metadata.jsonl").write_text(
        "\n".join(json.dumps({"file_name": name, "text": text}) for name, text in lines)
    )
    found = look()
    assert captions(found) == {
        "beside.png": "from beside",
        "listed.png": "from the list",
        "a_named_star_01.png": "a named star",
        "x_1.png": "red star",
        "listed too.png": "from the list above",
        "only listed.png": "from the list below",
    }
    assert found.problems == ()
    assert {example.path.name: example.repeats for example in found.examples} == {
        "beside.png": 1, "listed.png": 1, "a_named_star_01.png": 1, "x_1.png": 10,
        "listed too.png": 10, "only listed.png": 1,
    }  # fmt: skip
    assert set(captions(look(prompt="a sks star")).values()) == {"a sks star"}


def test_a_folder_has_a_list_of_its_own(save, look, tmp_path):
    save("3_star/a.png")
    (tmp_path / "3_star" / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "mine"}')
    assert captions(look()) == {"a.png": "mine"}


def test_what_cannot_be_learned_from_is_named_with_the_reason(save, look, tmp_path):
    good = save("good.png")
    whole = save("cut.jpg", quality=95).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "text.png").write_text("this is no picture")
    (tmp_path / "empty.webp").touch()
    (tmp_path / "notes.md").write_text("notes")
    (tmp_path / "alone.txt").write_text("a caption")
    (tmp_path / "alone.mask.png").write_bytes(good.read_bytes())
    save("small.png", (200, 31))
    (tmp_path / "twice.png").write_bytes(good.read_bytes())
    Image.open(good).save(tmp_path / "good again.bmp")
    save("odd.png")
    (tmp_path / "odd.txt").write_bytes(b"\xff\xfe\x00")
    Image.new("RGBA", (64, 64)).save(tmp_path / "nothing.png")
    (tmp_path / ".hidden.png").write_text("hidden")
    (tmp_path / "metadata.jsonl").write_text("{")
    found = look(resolution=128)
    assert [example.path.name for example in found.examples] == ["good again.bmp"]
    assert faults(found) == {
        "cut.jpg": Fault.UNREADABLE,
        "text.png": Fault.UNREADABLE,
        "empty.webp": Fault.UNREADABLE,
        "notes.md": Fault.NO_PICTURE,
        "alone.txt": Fault.STRAY,
        "alone.mask.png": Fault.STRAY,
        "small.png": Fault.TOO_SMALL,
        "good.png": Fault.DUPLICATE,
        "twice.png": Fault.DUPLICATE,
        "odd.txt": Fault.NO_CAPTION,
        "nothing.png": Fault.EMPTY,
        "metadata.jsonl": Fault.BAD_LINE,
    }
    reasons = {problem.path.name: problem.reason for problem in found.problems}
    assert reasons["small.png"] == "is 200 x 31 pixels; its shorter side must have 32 at least."
    assert reasons["twice.png"] == f"shows the same pixels as {tmp_path / 'good again.bmp'}."
    assert reasons["cut.jpg"].startswith("cannot be read to the end (")
    assert not any(str(tmp_path / name) in reason for name, reason in reasons.items())


def test_a_picture_that_would_fill_the_memory_is_not_decoded(save, look, tmp_path):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    save("good.png")
    (problem,) = look().problems
    assert problem == Problem(
        tmp_path / "bomb.png", Fault.UNREADABLE, "has more than 89 million pixels; scale it down."
    )


def test_sizes_are_those_of_the_picture_upright(save, look):
    exif = Image.Exif()
    exif[0x0112] = 6
    save("lying.jpg", (80, 48), exif=exif)
    (example,) = look().examples
    assert (example.width, example.height) == (48, 80)


def test_an_animation_shows_its_first_picture_and_says_so(look, tmp_path):
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue", "green")]
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:])
    found = look()
    assert len(found.examples) == 1
    assert any("Of 1 picture with several frames" in one.message for one in found.notices)


def test_what_should_be_known_is_said(save, look, tmp_path):
    save("IMG_0001.png", (100, 100))
    save("big star.png", (200, 200))
    save("other/a.png")
    save("0_never/a.png")
    save("20240131_holiday/a.png")
    said = " ".join(one.message for one in look(resolution=128).notices)
    assert "0_never, 20240131_holiday, other" in said
    assert "1 picture with a shorter side below 128" in said
    assert "1 picture without a caption" in said


def test_masks_belong_to_pictures(save, look, tmp_path):
    save("a.png")
    save("a.mask.png", mode="L")
    save("black.png")
    Image.new("L", (64, 64)).save(tmp_path / "black.mask.png")
    save("other shape.png")
    save("other shape.mask.png", (64, 40))
    save("smaller.png", (96, 64))
    save("smaller.mask.png", (48, 32))
    found = look(use_masks=True)
    masks = {example.path.name: example.mask for example in found.examples}
    assert masks == {
        "a.png": tmp_path / "a.mask.png", "smaller.png": tmp_path / "smaller.mask.png"
    }  # fmt: skip
    assert all(len(example.mask_sha256) == 64 for example in found.examples)
    assert faults(found) == {
        "black.mask.png": Fault.BAD_MASK, "other shape.mask.png": Fault.BAD_MASK
    }  # fmt: skip
    plain = look()
    assert len(plain.examples) == 4
    assert {example.mask for example in plain.examples} == {None}


def test_nothing_left_is_an_error_with_the_commonest_reason(save, look, tmp_path):
    with pytest.raises(DatasetInvalid, match="holds no pictures; put some there"):
        look()
    for number in range(3):
        save(f"{number}.png", (20, 20))
    (tmp_path / "notes.md").touch()
    said = r"learned from \(3 of 4 files: too small\); 0.png is 20 x 20"
    with pytest.raises(DatasetInvalid, match=said):
        look(resolution=512)


def test_an_empty_text_beside_a_picture_is_no_caption(save, look, tmp_path):
    for name in ("red_star.png", "2_blue moon/1.png", "listed.png"):
        save(name).with_suffix(".txt").write_text(" \n")
    line = {"file_name": "listed.png", "text": "a ring"}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(line))
    assert sorted(example.caption for example in look().examples) == [
        "a ring",
        "blue moon",
        "red star",
    ]


def test_a_folder_that_is_not_there_is_an_error(look, tmp_path):
    tmp_path.rmdir()
    with pytest.raises(DatasetInvalid, match=r"cannot be listed .* give a folder of pictures"):
        look()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(save, look, tmp_path):
    save("good.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert len(look().examples) == 1


def test_a_search_says_how_far_it_is(save, tmp_path):
    for number in range(3):
        save(f"{number}.png")
    steps = scanning(DataSettings(folder=str(tmp_path)))
    assert list(steps) == [Prepared(what="pictures", index=i, total=3) for i in (1, 2, 3)]


def test_the_hash_is_that_of_the_file(save, look):
    import hashlib

    path = save("a.png")
    assert look().examples[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_folder_within_that_cannot_be_listed_is_one_problem(save, look, tmp_path, monkeypatch):
    save("good.png")
    closed = save("3_star/a.png").parent
    listed = Path.iterdir

    def refusing(path):
        if path == closed:
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", refusing)
    (problem,) = look().problems
    assert problem.path == closed
    assert problem.reason.startswith("cannot be listed (Permission denied)")


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode here")
def test_a_name_that_is_no_unicode_gives_a_caption_that_is(save, look, tmp_path):
    save("a.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9toile.png"))
    assert [example.caption for example in look().examples] == ["?toile"]
