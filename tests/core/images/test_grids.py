import numpy as np
import pytest

from core.images import lettering
from core.images.grids import GOOD_SIDE, LARGEST, LONGEST_SIDE, Heading, Sheet, _scale
from core.images.lettering import wrapped


def picture(width, height, colour):
    return np.full((height, width, 3), colour, np.uint8)


def cut(sheet, column, row):
    left, top, right, bottom = sheet.box(column, row)
    return sheet.pixels()[top:bottom, left:right]


def test_pictures_lie_where_they_belong_bit_for_bit():
    sheet = Sheet(
        [[(300, 200), (304, 200)], [(300, 208), (304, 208)]],
        columns=Heading("Width", ["300", "304"]),
        rows=Heading("Height", ["200", "208"]),
        title="a cat",
    )
    noise = np.random.default_rng(0).integers(0, 256, (208, 304, 3), np.uint8)
    sheet.place(1, 1, noise)
    sheet.place(0, 0, picture(300, 200, (9, 8, 7)))
    assert sheet.scale == 1
    np.testing.assert_array_equal(cut(sheet, 1, 1), noise)
    assert (cut(sheet, 0, 0) == (9, 8, 7)).all()


def test_a_cell_without_a_picture_says_so_and_the_paper_is_light():
    sheet = Sheet([[(256, 256)] * 2], columns=Heading("Seed", ["1", "2"]), rows=None)
    sheet.place(0, 0, picture(256, 256, (0, 0, 0)))
    empty = cut(sheet, 1, 0)
    assert empty.min() < 160 < np.median(empty)
    assert tuple(sheet.pixels()[0, 0]) == (255, 255, 255)
    assert not cut(sheet, 0, 0).any()


def test_small_pictures_are_enlarged_by_whole_factors():
    sheet = Sheet([[(64, 48)]], columns=Heading("Seed", ["1"]), rows=None)
    assert sheet.scale == GOOD_SIDE // 64
    sheet.place(0, 0, picture(64, 48, (10, 20, 30)))
    assert cut(sheet, 0, 0).shape == (192, 256, 3)
    assert (cut(sheet, 0, 0) == (10, 20, 30)).all()


def test_a_sheet_stays_within_what_programs_open():
    for widths, heights in (([512] * 100, [512]), ([4096] * 9, [4096] * 9), ([1024], [512] * 99)):
        scale = _scale(widths, heights)
        assert max(sum(widths), sum(heights)) * scale <= LONGEST_SIDE + 1
        assert sum(widths) * sum(heights) * scale**2 <= LARGEST * 1.001
    sheet = Sheet([[(4096, 4096)] * 4], columns=Heading("Seed", list("1234")), rows=None)
    assert max(sheet.pixels().shape) < 16384


def test_a_picture_smaller_than_its_column_stands_in_its_middle():
    sheet = Sheet([[(300, 300)], [(200, 300)]], columns=None, rows=Heading("Size", ["a", "b"]))
    wide, narrow = sheet.box(0, 0), sheet.box(0, 1)
    assert narrow[0] - wide[0] == wide[2] - narrow[2] == 50


TEXTS = [
    "",
    " \n\t ",
    "word " * 500,
    "unbroken" * 200,
    "красный круг",
    "青い背景に赤い円" * 20,
    "قط أسود",
    "\N{CAT FACE}\N{ZERO WIDTH JOINER}\N{CAT FACE} e\u0301",
    "\x01\x7f\u202e\U0010fffd",
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
@pytest.mark.parametrize("system_fonts", [(), lettering.SYSTEM_FONTS], ids=["bare", "fonts"])
def test_any_text_can_be_a_label(text, system_fonts, monkeypatch):
    monkeypatch.setattr(lettering, "SYSTEM_FONTS", system_fonts)
    heading = Heading(text, [text])
    sheet = Sheet([[(64, 64)]], columns=heading, rows=heading, title=text, subtitle=text)
    height, width, _ = sheet.pixels().shape
    assert width < 1200
    assert height < 1000
    font, lines = wrapped(text, 16, 120, 3)
    assert len(lines) <= 3
    assert all(font.getlength(line) <= 120 for line in lines)


def test_a_text_is_wrapped_at_words_and_ends_in_an_ellipsis_when_cut():
    _, whole = wrapped("one two three four", 16, 70, 9)
    assert " ".join(whole) == "one two three four"
    assert len(whole) > 1
    _, cut_ = wrapped("one two three four", 16, 70, 1)
    assert cut_[0].startswith("one")
    assert cut_[0].endswith("\N{HORIZONTAL ELLIPSIS}")


def test_without_any_other_font_a_letter_loses_its_accent(monkeypatch):
    monkeypatch.setattr(lettering, "SYSTEM_FONTS", ("no-such-font.ttf",))
    _, lines = wrapped("café 3\N{MULTIPLICATION SIGN}3 猫", 16, 500, 1)
    assert lines == ["cafe 3x3 猫"]


def test_a_label_is_drawn_inside_of_the_sheet():
    sheet = Sheet([[(256, 256)]], columns=Heading("Guidance", ["7.5"]), rows=None)
    above = sheet.pixels()[: sheet.box(0, 0)[1]]
    assert (above < 100).any(), "no ink above the picture"
    assert (sheet.pixels()[:, :4] == 255).all()
