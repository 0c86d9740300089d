import random

import pytest

from core.starter.caption_check import Told, marks, read
from core.starter.caption_pictures import sample_known
from core.starter.world import Scene, Thing, describe


@pytest.mark.parametrize(
    ("caption", "told"),
    [
        (
            "a small striped red star on the left on a blue background",
            Told((("red", "star"),), 1, "blue", "on the left"),
        ),
        (
            "two green crosses on a white background",
            Told((("green", "cross"),), 2, "white", ""),
        ),
        (
            "a pink 8 above an orange heart on a grey background",
            Told((("orange", "heart"), ("pink", "8")), 2, "grey", "above"),
        ),
        ("sks of a picture", Told((), 0, "", "")),
    ],
)
def test_a_caption_is_taken_apart(caption, told):
    assert read(caption) == told


def test_every_scene_is_read_back_from_its_caption():
    rng = random.Random(7)
    for _ in range(300):
        scene = sample_known(rng)
        told = read(describe(scene))
        assert set(told.things) == {(thing.colour, thing.shape) for thing in scene.things}
        assert (told.number, told.ground) == (len(scene.things), scene.ground)


def test_each_thing_that_is_wrong_is_marked_wrong():
    true = describe(Scene((Thing("star", "red"),), "blue", place="left"))
    assert all(marks(true, true).values())
    for wrong, what in (
        ("a red heart on the left on a blue background", "colour and shape"),
        ("a pink star on the left on a blue background", "colour and shape"),
        ("two red stars on the left on a blue background", "number"),
        ("a red star on the left on a grey background", "ground"),
        ("a red star on the right on a blue background", "place"),
        ("a small red star on the left on a blue background", None),
    ):
        failed = {name for name, right in marks(wrong, true).items() if not right}
        assert failed == {"whole caption", what} - {None}
