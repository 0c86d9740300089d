"""Masks, painting on beyond the edges and second passes, by the command line and the starter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core import cli
from core.images.infotext import parse_infotext
from core.images.metadata import read_metadata
from core.request import DeviceName, Enlarging, Inpaint, Outpaint, SecondPass, Tiling

WIDTH, HEIGHT = 100, 75
SMALL = ("--width", "32", "--height", "32")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """One engine for all of this file's runs, so that the starter model is loaded once."""
    from core.engine import TorchEngine

    return TorchEngine(DeviceName.CPU, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def call(tmp_path, capsys, engine):
    """Carry out ``generate`` and give its exit status, its events and what it said."""

    def run(*words: str, out: str = "out"):
        options = ["--profile", str(tmp_path / "profile"), "--out", str(tmp_path / out), "--json"]
        if "--from" not in words:
            options += ["--seed", "5"] + ([] if "--steps" in words else ["--steps", "3"])
        status = cli.main(["generate", *words, *options], make_engine=lambda *_: engine)
        captured = capsys.readouterr()
        return status, [json.loads(line) for line in captured.out.splitlines()], captured.err

    return run


@pytest.fixture
def made(call):
    """Carry out ``generate`` and give the one picture's path."""

    def make(*words: str, out: str = "out") -> Path:
        status, events, err = call(*words, out=out)
        assert status == 0, err
        (path,) = [Path(event["path"]) for event in events if event["event"] == "image"]
        return path

    return make


@pytest.fixture
def photo(tmp_path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def mask(tmp_path) -> Path:
    """A disc around (50, 37) with a radius of 15."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    disc = np.where((x - 50) ** 2 + (y - 37) ** 2 < 15**2, 255, 0).astype(np.uint8)
    Image.fromarray(disc).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture.convert("RGB"))


def masked(mask: Path) -> np.ndarray:
    with Image.open(mask) as picture:
        return np.asarray(picture) > 0


def test_only_what_is_masked_changes_and_is_repeated_bit_for_bit(made, photo, mask):
    words = ("a red circle", "--init", str(photo), "--mask", str(mask))
    path = made(*words, "--mask-blur", "0", "--steps", "4")
    old, new, inside = pixels(photo), pixels(path), masked(mask)
    np.testing.assert_array_equal(new[~inside], old[~inside])
    assert (new[inside] != old[inside]).any(axis=1).mean() > 0.9
    request = read_metadata(path).request
    assert isinstance(request, Inpaint)
    assert (request.width, request.height, request.vae_tiling) == (104, 80, Tiling.OFF)
    assert len(request.mask_sha256) == 64
    again = made("--from", str(path), out="again")
    assert again.read_bytes() == path.read_bytes()


def test_of_the_masked_part_alone_the_picture_keeps_its_size(made, photo, mask):
    words = ("a star", "--init", str(photo), "--mask", str(mask), "--only-masked", "4")
    path = made(*words, "--width", "64", "--height", "64")
    old, new, inside = pixels(photo), pixels(path), masked(mask)
    assert new.shape == old.shape
    np.testing.assert_array_equal(new[~inside], old[~inside])
    assert not np.array_equal(new, old)
    assert read_metadata(path).request.padding == 4
    assert made("--from", str(path), out="again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("before", "option"),
    [
        ((), ("--mask-invert",)),
        ((), ("--mask-blur", "12")),
        ((), ("--strength", "0.5")),
        ((), ("--only-masked",)),
        (("--only-masked",), ("--only-masked", "2")),
    ],
    ids=lambda words: " ".join(words),
)
def test_every_option_of_a_mask_has_an_effect(made, photo, mask, before, option):
    words = ("a star", "--init", str(photo), "--mask", str(mask))
    size = ("--width", "96", "--height", "72")
    plain = pixels(made(*words, *size, *before))
    other = pixels(made(*words, *size, *option, out="other"))
    assert plain.shape != other.shape or not np.array_equal(plain, other)


def test_an_inverted_mask_keeps_what_is_white(made, photo, mask):
    path = made("moon", "--init", str(photo), "--mask", str(mask), "--mask-invert")
    old, new, white = pixels(photo), pixels(path), masked(mask)
    np.testing.assert_array_equal(new[white], old[white])
    assert not np.array_equal(new[~white], old[~white])


def test_a_picture_is_painted_on_beyond_its_edges(made, photo):
    path = made("a blue square", "--init", str(photo), "--outpaint", "left=30,bottom=5")
    new = pixels(path)
    # 130 pixels are no multiple of 8: the run has room for 6 more, which are cut off again.
    assert new.shape == (80, 130, 3)
    np.testing.assert_array_equal(new[:75, 30:], pixels(photo))
    assert len(np.unique(new[:75, :30].reshape(-1, 3), axis=0)) > 100
    request = read_metadata(path).request
    assert isinstance(request, Outpaint)
    assert (request.left, request.top, request.right, request.bottom) == (30, 0, 0, 5)
    assert made("--from", str(path), out="again").read_bytes() == path.read_bytes()
    softer = made("--from", str(path), "--mask-blur", "6", out="softer")
    np.testing.assert_array_equal(pixels(softer)[:69, 36:], pixels(photo)[:69, 6:])
    assert not np.array_equal(pixels(softer)[:75, 30:], pixels(photo))


def test_a_second_pass_makes_larger_pictures_that_are_repeated_bit_for_bit(call, made):
    words = ("a star", *SMALL, "--hires-scale", "1.5", "--hires-strength", "0.7")
    status, events, err = call(*words, "--hires-steps", "6", "--count", "2", "--steps", "2")
    assert status == 0, err
    steps = [event for event in events if event["event"] == "step"]
    assert [step["index"] for step in steps] == list(range(1, 7))
    assert {step["total"] for step in steps} == {6}  # 2, and 0.7 of 6.
    images = [event for event in events if event["event"] == "image"]
    assert [(image["width"], image["height"]) for image in images] == [(48, 48)] * 2
    for image in images:
        path = Path(image["path"])
        assert pixels(path).shape == (48, 48, 3)
        assert read_metadata(path).request.second_pass == SecondPass(
            scale=1.5, strength=0.7, steps=6
        )
        assert made("--from", str(path), out="again").read_bytes() == path.read_bytes()
    with Image.open(images[0]["path"]) as picture:
        said = parse_infotext(picture.text["parameters"]).parameters
    assert (said["Size"], said["Hires upscale"], said["Hires steps"]) == ("32x32", "1.5", "6")
    # One of its settings changed leaves the others.
    other = made("--from", images[1]["path"], "--hires-upscaler", "latent", out="other")
    assert read_metadata(other).request.second_pass == SecondPass(
        scale=1.5, strength=0.7, steps=6, upscaler=Enlarging.LATENT
    )


@pytest.mark.parametrize(
    "option",
    [
        ("--hires-scale", "1.5"),
        ("--hires-strength", "0.8"),
        ("--hires-steps", "9"),
        ("--hires-upscaler", "latent"),
        ("--hires-window", "32"),
    ],
    ids=lambda words: words[0],
)
def test_every_option_of_a_second_pass_has_an_effect(made, option):
    words = ("a star", *SMALL, "--steps", "4", "--hires-scale", "2")
    plain = pixels(made(*words))
    assert plain.shape == (64, 64, 3)
    other = pixels(made(*words, *option, out="other"))
    assert plain.shape != other.shape or not np.array_equal(plain, other)


def test_a_second_pass_goes_with_a_start_picture(made, photo):
    words = ("a star", *SMALL, "--init", str(photo), "--steps", "4", "--hires-scale", "1.5")
    path = made(*words)
    assert pixels(path).shape == (48, 48, 3)
    assert made("--from", str(path), out="again").read_bytes() == path.read_bytes()


def test_the_vae_works_in_tiles_where_it_is_told_to(made):
    words = ("a star", "--width", "704", "--height", "32", "--steps", "1")
    whole, tiled = (made(*words, "--vae-tiling", how, out=how) for how in ("auto", "on"))
    assert read_metadata(whole).request.vae_tiling is Tiling.OFF
    assert read_metadata(tiled).request.vae_tiling is Tiling.ON
    difference = np.abs(pixels(whole).astype(int) - pixels(tiled))
    assert 0 < difference.mean() < 8
    assert made("--from", str(tiled), out="again").read_bytes() == tiled.read_bytes()


def test_a_grid_takes_masks_and_second_passes_too(tmp_path, engine, photo, mask, capsys):
    def cells(*words: str) -> list[Path]:
        words = ("grid", "a star", "--x", "guidance=1,3", "--steps", "2", "--seed", "5", *words)
        folders = ("--profile", str(tmp_path / "profile"), "--out", str(tmp_path / "grid"))
        assert cli.main([*words, *folders, "--json"], make_engine=lambda *_: engine) == 0
        events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [Path(event["path"]) for event in events if event["event"] == "image"]

    inside = masked(mask)
    painted = cells("--init", str(photo), "--mask", str(mask), "--format", "webp")
    for path in painted:
        assert path.suffix == ".webp"
        np.testing.assert_array_equal(pixels(path)[~inside], pixels(photo)[~inside])
    assert not np.array_equal(*map(pixels, painted))
    assert {pixels(path).shape for path in cells(*SMALL, "--hires-scale", "1.5")} == {(48, 48, 3)}


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (8, 8)])
def test_an_empty_mask_is_one_sentence(call, photo, mask, size):
    Image.new("L", size).save(mask)
    status, _, err = call("moon", "--init", str(photo), "--mask", str(mask))
    assert status == 1
    assert err.count("\n") == 1
    assert "marks nothing of the picture" in err


@pytest.mark.parametrize("name", ["photo", "mask"])
def test_a_picture_that_has_changed_since_is_refused(call, made, photo, mask, name):
    path = made("moon", "--init", str(photo), "--mask", str(mask))
    Image.new("RGB", (WIDTH, HEIGHT), "white").save({"photo": photo, "mask": mask}[name])
    status, _, err = call("--from", str(path), out="again")
    assert status == 1
    assert "has changed since" in err
    another = call("--from", str(path), "--mask", str(mask), "--init", str(photo), out="new")
    assert another[0] == 0
