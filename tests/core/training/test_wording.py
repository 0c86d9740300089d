import random
from pathlib import Path

import pytest

from core.training.config_parts import DataSettings
from core.training.wording import shown_caption, shuffled, with_trigger, words_of


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("red_star_0001.png", "red star"),
        ("007_a red star (2).jpg", "a red star"),
        ("red-star.png", "red star"),
        ("blue-green_star-1.png", "blue-green star-1"),
        ("a.star.webp", "a.star"),
        ("IMG_20240131_120000.jpg", ""),
        ("DSC00012.JPG", ""),
        ("dsc_0012 (1).jpg", ""),
        ("P1010001.JPG", ""),
        ("image_of_12_stars_8k.png", "image of 12 stars 8k"),
        ("img_0012_star.png", "img 0012 star"),
        ("3f2a9c0011223344aabbccdd_star.png", "star"),
        ("0001.png", ""),
        ("étoile_rouge.png", "étoile rouge"),
        ("\udce9toile.png", "?toile"),
    ],
)
def test_a_name_is_read_as_words(name, words):
    assert words_of(Path("folder", name)) == words


@pytest.mark.parametrize(
    ("caption", "shown"),
    [
        ("a red star", "zork, a red star"),
        ("", "zork"),
        ("a Zork star", "a Zork star"),
        ("zorky star", "zork, zorky star"),
    ],
)
def test_the_trigger_word_is_said_once(caption, shown):
    assert with_trigger(caption, " zork ") == shown
    assert with_trigger(caption, "") == caption


def test_a_trigger_of_any_letters_is_found():
    assert with_trigger("by c++ (old)", "c++ (old)") == "by c++ (old)"


def test_tags_are_shuffled_after_those_that_are_kept():
    tags = "a, b,  c,, d , e"
    seen = {shuffled(tags, 2, random.Random(seed)) for seed in range(60)}
    assert all(one.startswith("a, b, ") for one in seen)
    assert len(seen) == 6
    assert {tuple(sorted(one.split(", "))) for one in seen} == {tuple("abcde")}
    assert len({shuffled("a, b", 0, random.Random(seed)) for seed in range(20)}) == 2


def test_a_caption_is_left_out_as_often_as_is_wanted():
    settings = DataSettings(folder="x", trigger="zork", caption_dropout=0.25)
    shown = [shown_caption("a star", settings, random.Random(seed)) for seed in range(1000)]
    assert set(shown) == {"", "zork, a star"}
    assert 200 < shown.count("") < 300
    always = DataSettings(folder="x", trigger="zork", caption_dropout=1.0)
    assert shown_caption("a star", always, random.Random(1)) == ""


def test_the_trigger_stays_before_shuffled_tags():
    settings = DataSettings(folder="x", trigger="zork", shuffle_tags=True, keep_tags=0)
    shown = {shown_caption("a, b", settings, random.Random(seed)) for seed in range(20)}
    assert shown == {"zork, a, b", "zork, b, a"}
