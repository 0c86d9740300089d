"""``upscale``: existing pictures made larger by a model, from the command line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core import cli
from core.images.metadata import Recorded, read_metadata
from core.request import DeviceName, Upscale

QUICK = ("--steps", "6", "--strength", "0.5", "--window", "16")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """One engine for all of this file's runs, so that the tiny model is loaded once."""
    from core.engine import TorchEngine

    return TorchEngine(DeviceName.CPU, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def call(tmp_path, capsys, engine, tiny_model):
    """Carry out a command; gives its exit status, its events and what it said."""

    def run(command: str, *words: str, out: str = "out"):
        options = ["--profile", str(tmp_path / "profile"), "--out", str(tmp_path / out), "--json"]
        status = cli.main([command, *words, *options], make_engine=lambda *_: engine)
        captured = capsys.readouterr()
        return status, [json.loads(line) for line in captured.out.splitlines()], captured.err

    return run


@pytest.fixture
def small(call, tiny_model) -> Path:
    """A picture of ours, 32 x 24 pixels."""
    words = ("red circle", "--negative", "moon", "--model", str(tiny_model), "--seed", "9")
    settings = ("--width", "32", "--height", "24", "--steps", "2", "--guidance", "3")
    _, events, _ = call("generate", *words, *settings, out="small")
    return paths(events)[0]


@pytest.fixture
def plain(tmp_path) -> Path:
    """A picture that says nothing, 40 x 32 pixels."""
    Image.new("RGB", (40, 32), "teal").save(tmp_path / "plain.png")
    return tmp_path / "plain.png"


def paths(events: list[dict]) -> list[Path]:
    return [Path(event["path"]) for event in events if event["event"] == "image"]


def record_of(path: Path) -> Recorded:
    found = read_metadata(path)
    assert isinstance(found, Recorded)
    return found


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def notices(events: list[dict]) -> str:
    return " ".join(event["message"] for event in events if event["event"] == "notice")


def test_a_picture_of_ours_grows_with_its_own_prompt_and_model(call, small, tiny_model):
    status, events, err = call("upscale", str(small), *QUICK)
    assert (status, err) == (0, "")
    (path,) = paths(events)
    assert size_of(path) == (64, 48)
    found = record_of(path)
    assert isinstance(found.request, Upscale)
    assert found.request.prompts == ("red circle",)
    assert (found.request.negative_prompt, found.request.guidance_scale) == ("moon", 3.0)
    assert (found.request.model, found.seed) == (str(tiny_model), 9)
    assert (found.request.window, found.request.strength) == (16, 0.5)
    assert found.ancestors == (hashlib.sha256(small.read_bytes()).hexdigest(),)
    status, events, _ = call("generate", "--from", str(path), out="again")
    assert status == 0
    (again,) = paths(events)
    np.testing.assert_array_equal(pixels_of(again), pixels_of(path))


def test_windows_matter_and_the_usual_one_is_the_models_own_size(call, small):
    (whole,) = paths(call("upscale", str(small), *QUICK[:4], out="whole")[1])
    assert record_of(whole).request.window == 64
    (parted,) = paths(call("upscale", str(small), *QUICK, out="parted")[1])
    assert not np.array_equal(pixels_of(whole), pixels_of(parted))


def test_a_picture_of_few_steps_takes_as_many_as_it_needs(call, small):
    (path,) = paths(call("upscale", str(small), "--window", "32")[1])
    assert (record_of(path).request.steps, record_of(path).request.strength) == (5, 0.2)
    status, _, err = call("upscale", str(small), "--strength", "0.2", "--steps", "4")
    assert status == 1
    assert "--strength: 0.2 of 4 steps leaves none to run" in err


@pytest.mark.slow
def test_a_plain_background_stays_plain(call):
    words = ("a red circle on a blue background", "--seed", "7")
    (path,) = paths(call("generate", *words, out="before")[1])
    (larger,) = paths(call("upscale", str(path))[1])

    def right_half(path: Path) -> np.ndarray:
        with Image.open(path) as picture:
            coarse = picture.convert("RGB").resize((8, 8), Image.Resampling.BOX)
        return np.asarray(coarse, np.float64)[:, 5:]

    # At a strength of 0.35 a second disc came up there, 34 away from the blue.
    assert np.abs(right_half(larger) - right_half(path)).max() < 10


def test_several_pictures_are_made_by_one_command(call, small, plain, tiny_model):
    words = ("--model", str(tiny_model), "--prompt", "moon", "--scale", "1.5", "--seed", "3")
    status, events, _ = call("upscale", str(small), str(plain), *words, *QUICK)
    assert status == 0
    first, second = paths(events)
    assert size_of(first) == (48, 32)
    assert size_of(second) == (64, 48)
    for path in (first, second):
        assert (record_of(path).request.prompts, record_of(path).seed) == (("moon",), 3)
    loading = [event["what"] for event in events if event["event"] == "loading"]
    assert loading.count("the engine") == 1


def test_a_picture_that_says_nothing_is_made_larger_without_a_prompt(call, plain, tiny_model):
    status, events, _ = call("upscale", str(plain), "--model", str(tiny_model), *QUICK)
    assert status == 0
    assert "does not say what it shows; --prompt can say it" in notices(events)
    assert record_of(paths(events)[0]).request.prompts == ("",)


def test_another_programs_prompt_is_taken_and_its_strength_is_not(call, tmp_path, tiny_model):
    info = PngInfo()
    info.add_text(
        "parameters",
        "a cat\nSteps: 8, Sampler: Euler a, CFG scale: 4, Seed: 99, Size: 16x16, Model: other, "
        "Denoising strength: 0.9, Hires upscale: 2",
    )
    Image.new("RGB", (32, 32)).save(tmp_path / "theirs.png", pnginfo=info)
    words = ("--model", str(tiny_model), "--window", "16")
    status, events, _ = call("upscale", str(tmp_path / "theirs.png"), *words)
    assert status == 0
    request = record_of(paths(events)[0]).request
    assert (request.prompts, request.steps, request.strength) == (("a cat",), 8, 0.2)
    assert (request.width, request.second_pass) == (64, None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--scale", "1"], "--scale: 1 is no number above 1"),
        (["--scale", "nan"], "--scale: nan is no number above 1"),
        (["--scale", "200"], "--scale: 200 makes the width 6400"),
        (["--window", "100"], "--window: 100 must be a multiple of 8"),
        (["--strength", "0"], "--strength: 0 of"),
    ],
    ids=" ".join,
)
def test_nonsense_gets_one_sentence(call, small, words, said):
    status, events, err = call("upscale", str(small), *words)
    assert (status, events, err.count("\n")) == (1, [], 1)
    assert said in err


def test_no_picture_is_said_before_any_is_begun(call, small, tmp_path):
    status, events, err = call("upscale", str(small), str(tmp_path / "none.png"))
    assert (status, events) == (1, [])
    assert "IMAGE: " in err
    assert "none.png does not exist" in err
