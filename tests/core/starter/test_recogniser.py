import random

import torch

from core.starter import render
from core.starter.recogniser import Seen, Sighting, follows
from core.starter.world import Scene, Thing, sample_scene


def test_reads_renders_it_never_saw(recogniser):
    rng = random.Random(77)
    scenes = [
        s for s in (sample_scene(rng, held_out=None) for _ in range(120)) if s.style == "flat"
    ]
    marks = []
    for scene in scenes:
        seen = recogniser.read(render.draw_scenes([scene], rng)[0])
        marks.append(follows(seen, scene))
    for key, least in (("ground", 0.99), ("count", 0.95), ("colour", 0.95), ("shape", 0.95)):
        assert sum(mark[key] for mark in marks) / len(marks) >= least, key


def test_does_not_nod_at_everything(recogniser):
    rng = random.Random(78)
    shown = [sample_scene(rng) for _ in range(60)]
    asked = [sample_scene(rng) for _ in range(60)]
    right = [
        follows(recogniser.read(render.draw_scenes([a], rng)[0]), b)["colour_and_shape"]
        for a, b in zip(shown, asked, strict=True)
    ]
    assert sum(right) / len(right) < 0.1


def test_an_empty_picture_has_a_ground_and_no_things(recogniser):
    assert recogniser.read(torch.full((3, 128, 128), 0.96)) == Seen("white", ())


def sighting(shape, colour, x=0.0, y=0.0):
    return Sighting(shape, colour, x, y, 0.1)


def test_two_things_must_stand_in_their_places():
    scene = Scene((Thing("circle", "red"), Thing("star", "blue")), "white")
    right = Seen("white", (sighting("circle", "red", -0.5), sighting("star", "blue", 0.5)))
    swapped = Seen("white", (sighting("circle", "red", 0.5), sighting("star", "blue", -0.5)))
    mixed = Seen("white", (sighting("star", "red", -0.5), sighting("circle", "blue", 0.5)))
    one = Seen("white", (sighting("circle", "red", -0.5),))
    assert all(follows(right, scene).values())
    assert follows(swapped, scene)["colour_and_shape"]
    assert not follows(swapped, scene)["position"]
    assert follows(mixed, scene)["colour"]
    assert follows(mixed, scene)["shape"]
    assert not follows(mixed, scene)["colour_and_shape"]
    assert not any(follows(one, scene)[k] for k in ("count", "colour", "shape", "position"))
