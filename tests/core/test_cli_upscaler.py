"""Upscalers' files at work: pictures made larger by one, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core import cli
from core.images.infotext import parse_infotext
from core.images.metadata import Recorded, read_metadata
from core.models.library import Library
from core.models.verdict import Kind
from core.paths import Profile
from core.request import DeviceName, Upscale
from tests.fixtures.upscalers import tiny_esrgan, write_esrgan

pytest.importorskip("spandrel")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """One engine for all of this file's runs, so that the tiny model is loaded once."""
    from core.engine import TorchEngine

    return TorchEngine(DeviceName.CPU, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def call(tmp_path, capsys, engine):
    """Carry out a command; gives its exit status, its events and what it said."""
    profile = tmp_path / "profile"
    engine._find_upscaler = Library(Profile(profile)).finder(Kind.UPSCALER)

    def run(command: str, *words: object, out: str = "out"):
        options = ["--profile", str(profile), "--out", str(tmp_path / out), "--json"]
        status = cli.main([command, *map(str, words), *options], make_engine=lambda *_: engine)
        captured = capsys.readouterr()
        return status, [json.loads(line) for line in captured.out.splitlines()], captured.err

    return run


@pytest.fixture
def file(tmp_path) -> Path:
    return write_esrgan(tmp_path / "2x-tiny.pth")


def made(answer) -> Path:
    status, events, err = answer
    assert (status, err) == (0, "")
    (path,) = [Path(event["path"]) for event in events if event["event"] == "image"]
    return path


def of_kind(answer, kind: str) -> list[dict]:
    return [event for event in answer[1] if event["event"] == kind]


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def request_of(path: Path) -> Upscale:
    found = read_metadata(path)
    assert isinstance(found, Recorded)
    assert isinstance(found.request, Upscale)
    return found.request


def parameters_of(path: Path) -> dict[str, str]:
    with Image.open(path) as image:
        return parse_infotext(image.info["parameters"]).parameters


def enlarged(pixels: np.ndarray, scale: int = 2) -> np.ndarray:
    unit = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.inference_mode():
        larger = tiny_esrgan(scale)(unit).clamp(0, 1)[0].permute(1, 2, 0)
    return (larger * 255).round().to(torch.uint8).numpy()


def test_a_file_alone_enlarges_a_picture_and_no_model_takes_part(call, file, start_picture):
    answer = call("upscale", start_picture, "--upscaler", file, "--strength", 0)
    path = made(answer)
    np.testing.assert_array_equal(pixels_of(path), enlarged(pixels_of(start_picture)))
    assert [event["what"] for event in of_kind(answer, "loading")][1:] == [
        f"the upscaler {file.name}"
    ]
    (step,) = of_kind(answer, "step")
    assert (step["index"], step["total"]) == (1, 1)
    assert of_kind(answer, "notice") == []
    request = request_of(path)
    assert (request.upscaler, request.strength) == (str(file), 0)
    assert len(request.upscaler_sha256) == 64
    said = parameters_of(path)
    assert (said["Upscaler"], said["Upscaler hash"]) == ("2x-tiny", request.upscaler_sha256[:10])
    assert "Model" not in said
    np.testing.assert_array_equal(
        pixels_of(made(call("generate", "--from", path, out="again"))), pixels_of(path)
    )


def test_another_factor_than_the_files_is_reached_by_a_filter(call, tmp_path, start_picture):
    file = write_esrgan(tmp_path / "4x.safetensors", 4)
    words = ("--upscaler", file, "--strength", 0, "--scale", 3)
    larger = enlarged(pixels_of(start_picture), 4)
    scaled = Image.fromarray(larger).resize((288, 240), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(pixels_of(made(call("upscale", start_picture, *words))), scaled)


def test_tiles_are_one_picture(call, file, tmp_path):
    y, x = np.mgrid[0:80, 0:520]
    pixels = np.stack([x / 2.1, y * 3, 255 - x / 3], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    answer = call("upscale", tmp_path / "wide.png", "--upscaler", file, "--strength", 0)
    assert [event["index"] for event in of_kind(answer, "step")] == [1, 2, 3]
    ours, theirs = pixels_of(made(answer)).astype(int), enlarged(pixels)
    assert np.abs(ours - theirs).max() <= 1
    assert (ours != theirs).mean() < 0.01


def test_the_larger_picture_is_refined_as_any_other(call, file, tmp_path, tiny_model):
    pixels = np.random.default_rng(2).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "small.png")
    model = ("--model", tiny_model, "--seed", 3, "--steps", 6, "--strength", 0.5)
    words = (tmp_path / "small.png", "--prompt", "moon", *model)
    answer = call("upscale", *words, "--window", 32, "--upscaler", file)
    path = made(answer)
    request = request_of(path)
    assert (request.width, request.height, request.upscaler) == (64, 48, str(file))
    assert [event["total"] for event in of_kind(answer, "step")] == [1, 3, 3, 3]
    # What it starts from is what the network makes.
    Image.fromarray(enlarged(pixels)).save(tmp_path / "large.png")
    start = ("--init", tmp_path / "large.png", "--width", 64, "--height", 48)
    by_hand = made(call("generate", "moon", *model, *start, out="hand"))
    whole = made(call("upscale", *words, "--upscaler", file, "--window", 0, out="whole"))
    np.testing.assert_array_equal(pixels_of(whole), pixels_of(by_hand))
    again = made(call("generate", "--from", path, out="again"))
    np.testing.assert_array_equal(pixels_of(again), pixels_of(path))
    lanczos = made(call("upscale", *words, "--window", 32, out="lanczos"))
    assert not np.array_equal(pixels_of(lanczos), pixels_of(path))


def test_it_enlarges_between_two_passes_by_its_name_in_the_library(
    call, file, tmp_path, tiny_model
):
    list(Library(Profile(tmp_path / "profile")).add(file))
    size = ("--width", 32, "--height", 24, "--steps", 4, "--seed", 5, "--model", tiny_model)
    hires = ("--hires-scale", 2, "--hires-strength", 0.5)
    first = made(call("generate", "moon", *size, out="first"))
    answer = call("generate", "moon", *size, *hires, "--hires-upscaler", "2x-tiny")
    path = made(answer)
    steps = of_kind(answer, "step")
    assert [event["index"] for event in steps] == list(range(1, 8))
    assert {event["total"] for event in steps} == {7}
    found = read_metadata(path)
    assert found.request.second_pass.upscaler == str(file)
    said = parameters_of(path)
    assert said["Hires upscaler"] == "2x-tiny"
    assert said["Hires upscaler hash"] == found.request.second_pass.upscaler_sha256[:10]
    again = made(call("generate", "--from", path, out="again"))
    np.testing.assert_array_equal(pixels_of(again), pixels_of(path))
    other = call("generate", "--from", path, "--hires-upscaler", "lanczos", out="other")
    assert not np.array_equal(pixels_of(made(other)), pixels_of(path))
    assert pixels_of(first).shape == (24, 32, 3)
    # Another program's picture that names it is made with it.
    info = PngInfo()
    info.add_text(
        "parameters",
        "moon\nSteps: 4, Sampler: DDIM, CFG scale: 4, Seed: 5, Size: 32x24, "
        "Denoising strength: 0.5, Hires upscale: 2, Hires upscaler: 2x-tiny",
    )
    Image.new("RGB", (64, 48)).save(tmp_path / "theirs.png", pnginfo=info)
    answer = call("generate", "--from", tmp_path / "theirs.png", "--model", tiny_model, out="t")
    assert read_metadata(made(answer)).request.second_pass.upscaler == str(file)
    assert "2x-tiny" not in json.dumps(of_kind(answer, "notice"))


def test_what_changes_nothing_without_a_model_is_said(call, file, start_picture, tiny_model):
    words = ("--upscaler", file, "--strength", 0, "--model", tiny_model, "--steps", 3)
    answer = call("upscale", start_picture, *words)
    assert request_of(made(answer)).model == "starter"
    (notice,) = of_kind(answer, "notice")
    assert notice["message"] == "Without effect at strength 0: model, steps."


def test_a_file_that_changed_is_not_repeated_with(call, file, start_picture):
    path = made(call("upscale", start_picture, "--upscaler", file, "--strength", 0))
    write_esrgan(file, seed=1)
    status, _, err = call("generate", "--from", path)
    assert status == 1
    assert "has changed since this request was made" in err


def test_a_picture_that_is_too_large_for_it_is_refused(call, file, start_picture, monkeypatch):
    from core import enlarger

    monkeypatch.setattr(enlarger, "LARGEST", 96 * 80 * 4 - 1)
    status, _, err = call("upscale", start_picture, "--upscaler", file, "--strength", 0)
    assert status == 1
    assert "IMAGE: " in err
    assert "96 x 80 pixels, of which 2x-tiny.pth makes 2 times as many on a side" in err


def test_what_the_model_refuses_is_refused_before_the_first_tile(
    call, file, start_picture, tiny_model
):
    words = ("--upscaler", file, "--model", tiny_model, "--scheduler", "lcm", "--steps", 60)
    answer = call("upscale", start_picture, *words)
    assert answer[0] == 1
    assert "lcm cannot take 60" in answer[2]
    assert of_kind(answer, "step") == []
