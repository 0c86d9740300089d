import dataclasses

import pytest

from core.errors import InvalidRequest
from core.grid_axes import PARAMETERS, read_axis
from core.request import ImageToImage, SchedulerName


def values(words):
    return list(read_axis("x", words).values)


def test_every_parameter_names_fields_of_a_request_and_no_other():
    fields = {f.name for f in dataclasses.fields(ImageToImage)}
    assert all(set(p.fields) <= fields for p in PARAMETERS)
    assert len({p.name for p in PARAMETERS}) == len(PARAMETERS)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("guidance=1,3,7.5,14", [1.0, 3.0, 7.5, 14.0]),
        ("steps= 10 , 20 ", [10, 20]),
        ("steps=10..50:10", [10, 20, 30, 40, 50]),
        ("steps=1,10..30:15", [1, 10, 25]),
        ("seed=3..5", [3, 4, 5]),
        ("strength=0.1..0.3:0.1", [0.1, 0.2, 0.3]),
        ("prompt=a, b|c d | e", ["a, b", "c d", "e"]),
        (r"prompt=a \| b|c", ["a | b", "c"]),
        ("prompt={red|blue} cat|a {dog|{cat|fox}}", ["{red|blue} cat", "a {dog|{cat|fox}}"]),
        ("prompt=a { b|c", ["a { b", "c"]),
        (r"model=a\,b,c", ["a,b", "c"]),
        ("model=/m/a,b|/m/c", ["/m/a,b", "/m/c"]),
        ("negative=|blur", ["", "blur"]),
        ("Scheduler=DDIM,euler-a", [SchedulerName.DDIM, SchedulerName.EULER_ANCESTRAL]),
        ("size=512x768,64", [(512, 768), (64, 64)]),
    ],
)
def test_words_become_values(words, expected):
    assert values(words) == expected


def test_labels_are_short_unless_they_would_be_equal():
    assert read_axis("x", "model=/a/one,/b/two").labels == ("one", "two")
    assert read_axis("x", "vae=|/a/soft").labels == ("(own)", "soft")
    assert read_axis("x", "model=/a/one,/b/one").labels == ("/a/one", "/b/one")
    assert read_axis("x", "guidance=1.0,7.50").labels == ("1", "7.5")
    assert read_axis("x", "size=64").labels == ("64 x 64",)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("colour=red", "prompt, negative, model"),
        ("steps", "NAME=V1"),
        ("", "NAME=V1"),
        ("steps=", "empty"),
        ("prompt=a||b", "empty"),
        ("steps=10,", "empty"),
        ("steps=ten", "'ten' is no whole number"),
        ("steps=1..2:0.5", "no whole number"),
        ("guidance=x", "'x' is no number"),
        ("scheduler=best", "none of pndm"),
        ("size=big", "512x768"),
        ("steps=50..10", "never ends"),
        ("steps=1..9:0", "never ends"),
        ("steps=1..", "no range"),
        ("seed=0..4000000000", "too many"),
        ("steps=1..1000,1001", "1001 pictures"),
        ("guidance=1,1.0", "1 stands there twice"),
        ("seed=0,0", "0 stands there twice"),
        ("vae=|", "own. stands there twice"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(words, reason):
    with pytest.raises(InvalidRequest, match=reason) as caught:
        read_axis("x", words)
    assert "\n" not in str(caught.value)
