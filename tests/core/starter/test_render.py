import random

import torch

from core.starter import render, shapes
from core.starter.world import COLOURS, DIGITS, SHAPES, Scene, Thing, sample_scene


def draw(scene, seed=0, side=render.SIDE):
    return render.draw_scenes([scene], random.Random(seed), side)[0]


def test_the_same_chance_draws_the_same_pixels():
    scenes = [sample_scene(random.Random(k)) for k in range(8)]
    first = render.draw_scenes(scenes, random.Random(4))
    assert torch.equal(first, render.draw_scenes(scenes, random.Random(4)))
    assert not torch.equal(first, render.draw_scenes(scenes, random.Random(5)))


def test_pictures_have_the_range_and_size_they_promise():
    drawn = render.draw_scenes([sample_scene(random.Random(k)) for k in range(8)], random.Random(0))
    assert drawn.shape == (8, 3, render.SIDE, render.SIDE)
    assert drawn.dtype == torch.float32
    assert drawn.min() >= 0
    assert drawn.max() <= 1


def test_ground_and_thing_have_their_colours():
    picture = draw(Scene((Thing("circle", "red", "big"),), "blue", place="centre"))
    middle, corner = picture[:, 64, 64] * 255, picture[:, 2, 2] * 255
    assert (middle - torch.tensor(COLOURS["red"])).abs().max() <= 7
    assert (corner - torch.tensor(COLOURS["blue"])).abs().max() <= 7


def test_places_are_where_they_say():
    for place, axis, sign in (("left", 1, -1), ("right", 1, 1), ("top", 0, -1), ("bottom", 0, 1)):
        picture = draw(Scene((Thing("square", "black"),), "white", place=place))
        dark = (picture.mean(0) < 0.5).nonzero().float().mean(0) / 64 - 1
        assert dark[axis] * sign > 0.2, place


def test_every_shape_differs_from_every_other():
    fields = shapes.fields()
    assert len(fields) == len(shapes.NAMES)
    inside = fields < 0
    for a in range(len(fields)):
        for b in range(a):
            overlap = (inside[a] & inside[b]).sum() / (inside[a] | inside[b]).sum()
            assert overlap < 0.9, (shapes.NAMES[a], shapes.NAMES[b])


def test_distances_are_distances():
    """A signed distance changes by at most one a unit of length (the eikonal equation)."""
    spacing = 2 * shapes.FIELD_EXTENT / shapes.FIELD_SIZE
    for name, field in zip(shapes.NAMES, shapes.fields(), strict=True):
        slope = (field[:, 1:] - field[:, :-1]).abs().max() / spacing
        assert slope < 1.02, name


def test_no_known_thing_leaves_the_picture():
    for shape in (*SHAPES, *DIGITS):
        for seed in range(3):
            picture = draw(Scene((Thing(shape, "black", "big"),), "white"), seed)
            border = torch.cat([picture[:, 0], picture[:, -1], picture[:, :, 0], picture[:, :, -1]])
            assert (border > 0.8).float().mean() > 0.9, shape


def test_held_out_texture_and_style_can_be_drawn():
    plain = draw(Scene((Thing("circle", "red", "big"),), "white", place="centre"))
    checks = draw(
        Scene((Thing("circle", "red", "big", texture="checkered"),), "white", place="centre")
    )
    neon = draw(Scene((Thing("circle", "red", "big"),), "white", place="centre", style="neon"))
    assert (plain - checks).abs().mean() > 0.02
    assert neon[:, 2, 2].max() < 0.2
