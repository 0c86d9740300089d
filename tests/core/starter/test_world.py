import random
from itertools import pairwise

import pytest

from core.starter.world import (
    ATTRIBUTES,
    COLOURS,
    DIGITS,
    HELD_OUT_SHAPES,
    HELD_OUT_STYLE,
    HELD_OUT_TEXTURE,
    SHAPES,
    Scene,
    Thing,
    attributes,
    caption,
    describe,
    sample_scene,
    variants,
    vocabulary,
    word_salad,
)


def test_training_scenes_never_show_what_is_held_out():
    rng = random.Random(0)
    for _ in range(3000):
        scene = sample_scene(rng)
        assert not scene.is_held_out
        assert scene.style != HELD_OUT_STYLE
        for thing in scene.things:
            assert thing.shape not in HELD_OUT_SHAPES
            assert thing.texture != HELD_OUT_TEXTURE
            assert thing.colour != scene.ground


def test_easy_scenes_show_one_plain_shape_and_nothing_that_is_held_out():
    rng = random.Random(0)
    scenes = [sample_scene(rng, easy=True) for _ in range(500)]
    for scene in scenes:
        (thing,) = scene.things
        assert thing.shape in SHAPES
        assert (thing.texture, scene.style) == ("plain", "flat")
        assert not scene.is_held_out
        assert thing.colour != scene.ground
    assert {scene.things[0].shape for scene in scenes} == set(SHAPES)
    assert len({scene.place for scene in scenes}) == 6


def test_held_out_scenes_are_held_out():
    rng = random.Random(0)
    assert all(sample_scene(rng, held_out=True).is_held_out for _ in range(300))


def test_a_ninth_of_the_pairs_is_held_out_and_no_shape_or_colour_wholly():
    known = (*SHAPES, *DIGITS)
    pairs = {(s, c): Thing(s, c).is_held_out for s in known for c in COLOURS}
    assert 0.08 < sum(pairs.values()) / len(pairs) < 0.14
    for shape in known:
        assert sum(pairs[shape, c] for c in COLOURS) <= 3
    for colour in COLOURS:
        assert sum(pairs[s, colour] for s in known) <= 4


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        (Scene((Thing("circle", "red"),), "blue"), "a red circle on a blue background"),
        (
            Scene((Thing("star", "orange", "small"),), "grey", place="top"),
            "a small orange star at the top on a grey background",
        ),
        (
            Scene((Thing("8", "orange"),), "orange", place="centre"),
            "an orange 8 in the centre on an orange background",
        ),
        (
            Scene((Thing("cross", "red"), Thing("ring", "black")), "white"),
            "a red cross left of a black ring on a white background",
        ),
        (
            Scene((Thing("cross", "red"), Thing("ring", "black")), "white", relation="above"),
            "a red cross above a black ring on a white background",
        ),
        (Scene((Thing("cross", "red"),) * 3, "white"), "three red crosses on a white background"),
        (
            Scene((Thing("heart", "pink"),), "white", style="outline"),
            "an outline pink heart on a white background",
        ),
        (
            Scene((Thing("heart", "pink", texture="striped"),), "white", place="left"),
            "a striped pink heart on the left on a white background",
        ),
    ],
)
def test_describe(scene, words):
    assert describe(scene) == words


def test_captions_tell_no_lies():
    rng = random.Random(1)
    for _ in range(2000):
        scene = sample_scene(rng)
        words = set(caption(scene, rng).replace(",", "").split())
        colours = {thing.colour for thing in scene.things} | {scene.ground}
        assert words & set(COLOURS) <= colours
        shapes = {thing.shape for thing in scene.things}
        assert words & {*SHAPES, *DIGITS, *HELD_OUT_SHAPES} <= shapes


def test_captions_include_bare_fragments():
    rng = random.Random(2)
    words = {caption(sample_scene(rng), rng) for _ in range(4000)}
    assert {"red", "circle", "blue background", "small"} <= words


def test_the_vocabulary_has_every_word_of_the_grammar():
    rng = random.Random(3)
    known = set(vocabulary())
    for _ in range(2000):
        scene = sample_scene(rng, held_out=None)
        assert set(describe(scene).split()) <= known


def test_variants_differ_in_one_thing_and_may_be_trained_on():
    rng = random.Random(4)
    for _ in range(300):
        scene = sample_scene(rng)
        drawn = variants(scene, rng, 3)
        assert len({scene, *drawn}) == 4
        for variant in drawn:
            assert not variant.is_held_out
            answers, others = attributes(scene), attributes(variant)
            differing = {name for name in answers if answers[name] != others[name]}
            # Shape and colour are told twice, as the first thing's and as the last thing's.
            kinds = {name.split()[-1] for name in differing}
            assert len(kinds) <= (1 if len(set(scene.things)) == 1 else 2)


def test_every_answer_about_a_scene_is_one_that_can_be_given():
    rng = random.Random(5)
    for _ in range(500):
        for name, answer in attributes(sample_scene(rng)).items():
            assert answer is None or answer in ATTRIBUTES[name]


def test_word_salads_use_every_word_and_no_pair_that_is_held_out():
    rng = random.Random(0)
    salads = [word_salad(rng).split() for _ in range(6000)]
    assert {word for salad in salads for word in salad} == set(vocabulary()) - {","}
    pairs = {pair for salad in salads for pair in pairwise(salad)}
    for colour in COLOURS:
        for shape in (*SHAPES, *DIGITS):
            assert ((colour, shape) in pairs) != Thing(shape, colour).is_held_out
    assert ("grey", "triangles") not in pairs


def test_no_digit_is_small():
    """Its strokes would be narrower than a latent."""
    rng = random.Random(0)
    scenes = [sample_scene(rng) for _ in range(2000)]
    scenes += [other for scene in scenes[:300] for other in variants(scene, rng, 2)]
    digits = [thing for scene in scenes for thing in scene.things if thing.shape in DIGITS]
    assert {thing.size for thing in digits} == {"", "big"}
