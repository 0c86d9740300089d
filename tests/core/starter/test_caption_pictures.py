import random
from dataclasses import replace

import pytest
import torch

from core.starter.caption_pictures import (
    SHADES,
    as_seen,
    captioned,
    sample_known,
    spoil,
    words_before,
)
from core.starter.render import SIDE, draw_scenes, lay_out
from core.starter.world import COLOURS, Scene, Thing, describe, sample_scene, vocabulary

STAR = Scene((Thing("star", "red"),), "blue")


def drawn_at(scene: Scene, x: float, y: float) -> Scene:
    """Give what is seen of a scene whose thing was put there."""
    drawing = lay_out(scene, random.Random(0))
    layer = replace(drawing.layers[0], x=x, y=y)
    return as_seen(scene, replace(drawing, layers=(layer,)))


@pytest.mark.parametrize(
    ("x", "y", "place"),
    [
        (0.0, 0.1, "centre"),
        (-0.4, 0.0, "left"),
        (0.4, 0.1, "right"),
        (0.0, -0.4, "top"),
        (0.1, 0.4, "bottom"),
        (0.4, 0.4, "anywhere"),
    ],
)
def test_a_thing_put_anywhere_is_told_from_where_it_came_to_stand(x, y, place):
    assert drawn_at(STAR, x, y).place == place


def test_a_big_thing_stands_on_a_side_where_it_has_no_room_to_go_further():
    big = Scene((Thing("star", "red", size="big"),), "blue")
    assert drawn_at(big, 0.28, 0.0).place == "right"
    assert drawn_at(STAR, 0.28, 0.0).place == "anywhere"


@pytest.mark.parametrize("place", ["left", "right", "top", "bottom", "centre"])
def test_what_is_told_of_a_place_is_what_was_asked_for(place):
    """Where scenes say a place, telling it from the drawing gives the same."""
    rng = random.Random(3)
    for _ in range(50):
        scene = replace(sample_scene(rng, easy=True), place=place)
        drawing = lay_out(scene, rng)
        assert as_seen(replace(scene, place="anywhere"), drawing).place == place


def test_neon_is_seen_on_black():
    neon = replace(STAR, style="neon")
    (caption,) = captioned([neon], random.Random(0)).captions
    assert caption.startswith("a neon red star")
    assert caption.endswith("on a black background")


def test_all_of_the_world_comes_up_and_nothing_else():
    rng = random.Random(1)
    scenes = [sample_known(rng) for _ in range(1500)]
    words = {word for scene in scenes for word in describe(scene).split()}
    assert words <= set(vocabulary())
    assert {"moon", "arrow", "checkered", "striped", "neon", "outline", "two", "three"} <= words
    assert any(scene.is_held_out and scene.style == "flat" for scene in scenes)
    for scene in scenes:
        assert scene.ground not in {thing.colour for thing in scene.things}
    made = captioned(scenes[:8], rng)
    assert made.pictures.shape == (8, 3, SIDE, SIDE)
    assert len(made.captions) == 8


def test_other_shades_of_a_colour_have_its_name_and_no_other():
    rng = random.Random(5)
    scenes = [sample_scene(rng, easy=True) for _ in range(200)]
    made = captioned(scenes, rng, shades=True)
    grounds = made.pictures[:, :, 1, 1]
    palette = torch.tensor([COLOURS[scene.ground] for scene in scenes]) / 255
    assert 40 < ((grounds - palette).abs().amax(1) > 0.06).sum() < 160
    for name, shades in SHADES.items():
        for shade in shades:
            others = [other for key in SHADES if key != name for other in SHADES[key]]
            assert shade not in others


def test_spoiled_pictures_are_still_those_pictures():
    rng = random.Random(2)
    pictures = draw_scenes([sample_scene(rng) for _ in range(32)], rng)
    spoiled = spoil(pictures, rng)
    assert spoiled.shape == pictures.shape
    assert 0 <= spoiled.min() <= spoiled.max() <= 1
    distance = (spoiled - pictures).abs().mean(dim=(1, 2, 3))
    assert (distance > 0.002).sum() >= 24
    nearest = torch.cdist(spoiled.flatten(1), pictures.flatten(1)).argmin(1)
    assert nearest.tolist() == list(range(32))


def test_words_that_say_nothing_end_before_the_caption():
    rng = random.Random(4)
    for _ in range(100):
        words = words_before(rng)
        assert words == words.strip()
        assert words
