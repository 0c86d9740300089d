import dataclasses
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from core import cli
from core.errors import CoreError, OutOfMemory
from core.events import (
    Event,
    Finished,
    ImageReady,
    Loading,
    Notice,
    Preview,
    PreviewSettings,
    Step,
)
from core.images.metadata import read_metadata
from core.models import catalog
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.library import Library
from core.paths import Profile
from core.request import (
    MAX_SEED,
    DeviceName,
    EmbeddingUse,
    Enlarging,
    ImageToImage,
    Inpaint,
    LoraUse,
    Outpaint,
    Precision,
    PreviewDecoder,
    Request,
    SchedulerName,
    SecondPass,
    TextToImage,
    Tiling,
)
from core.request_json import to_json


class ScriptedEngine:
    """Acts out a run: one batch, a step of previews each, then the pictures.

    Attributes:
        request: What was asked for last.
        only: Likewise.
        at_step: Called before each step with its number.
    """

    def __init__(self, model: Path) -> None:
        self.model_sha256 = Fingerprints(model / "none").of_model(identify(model).weights)
        self.request: Request | None = None
        self.only: int | None = None
        self.preview: PreviewSettings | None = None
        self.device: DeviceName | None = None
        self.closed = 0
        self.at_step = lambda index: None

    def make(self, device: DeviceName, profile: object) -> "ScriptedEngine":
        self.device = device
        return self

    def generate(
        self, request: Request, *, preview: PreviewSettings, only: int | None = None
    ) -> Iterator[Event]:
        self.request, self.only, self.preview = request, only, preview
        request = dataclasses.replace(request, batch_size=1, precision=Precision.FP32)
        pictures = tuple(range(request.total)) if only is None else (only,)
        try:
            yield Loading(what="the model")
            yield Notice(message="words were cut")
            for picture in pictures:
                for index in range(1, 3):
                    self.at_step(index)
                    pixels = np.full((8, 8, 3), index, np.uint8)
                    shown = Preview(picture=picture, pixels=pixels, decoder=preview.decoder)
                    yield Step(
                        index=index,
                        total=2,
                        pictures=(picture,),
                        total_pictures=request.total,
                        seconds=index / 10,
                        previews=() if preview.decoder is PreviewDecoder.OFF else (shown,),
                    )
                yield ImageReady(
                    request=request,
                    picture=picture,
                    seed=request.seed_of(picture),
                    pixels=np.full((request.height, request.width, 3), picture, np.uint8),
                    seconds=0.2,
                    model_sha256=self.model_sha256,
                    device=self.device.value,
                )
            yield Finished(pictures=len(pictures), seconds=0.3)
        finally:
            self.closed += 1

    def warm_up(self, model: str) -> Iterator[Event]:
        raise AssertionError("the command line does not warm up")


@pytest.fixture
def engine(tiny_model):
    return ScriptedEngine(tiny_model)


@pytest.fixture
def run(engine, tmp_path, tiny_model):
    """Carry out ``generate`` with the scripted engine and the tiny model."""

    def generate(*words: str) -> int:
        options = ["--profile", str(tmp_path / "profile")]
        if "--model" not in words and "--from" not in words:
            options += ["--model", str(tiny_model)]
        return cli.main(["generate", *words, *options], make_engine=engine.make)

    return generate


@pytest.fixture
def pictures(tmp_path):
    return tmp_path / "profile" / "pictures"


def one_line(capsys) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err


def test_an_error_cannot_colour_the_terminal(tmp_path, capsys):
    words = ["inspect", str(tmp_path / "a\x1b[31mb.png"), "--profile", str(tmp_path / "profile")]
    assert cli.main(words) == 1
    said = one_line(capsys)
    assert r"a\x1b[31mb.png" in said
    assert "\x1b" not in said


def test_what_is_not_given_is_the_models_own(run, engine, tiny_model):
    assert run("a cat") == 0
    card = catalog.card(str(tiny_model))
    request = engine.request
    assert isinstance(request, TextToImage)
    assert request == TextToImage(
        prompts=("a cat",),
        model=str(tiny_model),
        steps=card.steps,
        guidance_scale=card.guidance_scale,
        scheduler=card.scheduler,
        width=card.width,
        height=card.height,
        seed=request.seed,
    )
    assert engine.only is None
    assert engine.device is DeviceName.AUTO
    assert engine.preview.decoder is PreviewDecoder.OFF


def test_every_option_reaches_the_request(run, engine, tiny_model, start_picture):
    words = (
        "a cat|a dog|--negative|blur|--steps|9|--guidance|3.5|--guidance-rescale|0.1|"
        "--guidance-start|0.2|--guidance-end|0.9|--scheduler|DPM++2M-Karras|--width|72|"
        f"--height|80|--seed|4294967290|--count|2|--batch|3|--init|{start_picture}|"
        "--strength|0.4|--dtype|BF16|--device|cpu"
    )
    assert run(*words.split("|")) == 0
    assert engine.request == ImageToImage(
        model=str(tiny_model),
        prompts=("a cat", "a dog"),
        negative_prompt="blur",
        steps=9,
        guidance_scale=3.5,
        guidance_rescale=0.1,
        guidance_start=0.2,
        guidance_end=0.9,
        scheduler=SchedulerName.DPMPP_2M_KARRAS,
        width=72,
        height=80,
        seed=4294967290,
        count=2,
        batch_size=3,
        init_image=str(start_picture),
        strength=0.4,
        precision=Precision.BF16,
    )
    assert engine.device is DeviceName.CPU


def test_every_option_of_a_mask_reaches_the_request(run, engine, start_picture):
    words = (
        f"a|--init|{start_picture}|--mask|{start_picture}|--mask-invert|--mask-blur|7|"
        "--only-masked|9|--vae-tiling|on"
    )
    assert run(*words.split("|")) == 0
    request = engine.request
    assert isinstance(request, Inpaint)
    assert Path(request.mask_image).samefile(start_picture)
    assert (request.mask_invert, request.mask_blur, request.strength) == (True, 7, 1.0)
    assert (request.only_masked, request.padding) == (True, 9)
    assert request.vae_tiling is Tiling.ON
    card = catalog.card(request.model)
    assert (request.width, request.height) == (card.width, card.height)


def test_a_painted_picture_has_the_size_of_its_start_picture(run, engine, start_picture):
    Image.new("RGB", (101, 77)).save(start_picture)
    mask = ("a", "--init", str(start_picture), "--mask", str(start_picture))
    assert run(*mask) == 0
    assert (engine.request.width, engine.request.height) == (104, 80)
    assert run(*mask, "--width", "64") == 0
    assert engine.request.width == 64
    assert run("a", "--init", str(start_picture), "--outpaint", "top=3,right=8") == 0
    assert isinstance(engine.request, Outpaint)
    # Room for the picture and what is painted on, of which the result keeps 109 x 80.
    assert (engine.request.width, engine.request.height) == (112, 80)


def test_every_option_of_a_second_pass_reaches_the_request(run, engine):
    words = "--hires-scale 3 --hires-strength .6 --hires-steps 9 --hires-upscaler latent"
    assert run("a", *words.split(), "--hires-window", "48") == 0
    assert engine.request.second_pass == SecondPass(
        scale=3.0, strength=0.6, steps=9, upscaler=Enlarging.LATENT, window=48
    )


def test_what_enlarges_is_a_filter_a_file_or_a_name(run, engine, tmp_path, monkeypatch):
    (tmp_path / "Lanczos").touch()
    (tmp_path / "4x.pth").touch()
    monkeypatch.chdir(tmp_path)
    meant = {
        "LANCZOS": "lanczos",
        "./Lanczos": str(tmp_path / "Lanczos"),
        "4x.pth": str(tmp_path / "4x.pth"),
        "UltraSharp": "UltraSharp",
    }
    for word, upscaler in meant.items():
        assert run("a", "--hires-upscaler", word) == 0
        assert engine.request.second_pass == SecondPass(upscaler=upscaler)


def test_relative_paths_are_made_whole(run, engine, tiny_model, start_picture, monkeypatch):
    monkeypatch.chdir(tiny_model.parent)
    assert run("a", "--model", tiny_model.name, "--init", os.path.relpath(start_picture)) == 0
    assert Path(engine.request.model) == tiny_model
    assert Path(engine.request.init_image).is_absolute()
    assert Path(engine.request.init_image).samefile(start_picture)


def test_adapters_reach_the_request(run, engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fox.safetensors").touch()
    (tmp_path / "wolf.pt").touch()
    words = "--lora|fox.safetensors:0.5|--lora|style|--embedding|wolf.pt|--embedding|bad=wolf.pt"
    assert run("a", *words.split("|")) == 0
    fox, wolf = str(Path.cwd() / "fox.safetensors"), str(Path.cwd() / "wolf.pt")
    # What is no file is a name, which the engine knows.
    assert engine.request.vae == ""
    for word, expected in (("fox.safetensors", fox), ("soft", "soft"), ("", "")):
        assert run("a", "--vae", word) == 0
        assert engine.request.vae == expected
    assert run("a", *words.split("|")) == 0
    assert engine.request.loras == (LoraUse(path=fox, weight=0.5), LoraUse(path="style"))
    assert engine.request.embeddings == (
        EmbeddingUse(path=wolf),
        EmbeddingUse(path=wolf, token="bad"),
    )


def test_an_unchosen_seed_leaves_room_for_every_picture(run, engine, monkeypatch):
    monkeypatch.setattr("secrets.randbelow", lambda limit: limit - 1)
    assert run("a", "--count", "5") == 0
    assert engine.request.seed_of(4) == MAX_SEED


def test_an_unchosen_seed_is_said(run, engine, capsys):
    assert run("a") == 0
    assert f"The seed is {engine.request.seed}." in capsys.readouterr().err


def test_a_person_gets_paths_on_stdout_and_progress_on_stderr(run, capsys, pictures):
    assert run("a cat", "--count", "2", "--seed", "5") == 0
    captured = capsys.readouterr()
    paths = captured.out.splitlines()
    assert sorted(paths) == sorted(str(path) for path in pictures.iterdir())
    assert [path.rsplit("-", 3)[1] for path in paths] == ["5", "6"]
    for word in (
        "Loading the engine",
        "Loading the model",
        "words were cut",
        "it/s",
        "4/4",
    ):
        assert word in captured.err


def test_a_program_gets_one_event_a_line_and_nothing_else(run, capsys, tiny_model):
    assert run("a café\n", "--seed", "7", "--json", "--preview", "linear") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    events = [json.loads(line) for line in captured.out.splitlines()]
    assert [event["event"] for event in events] == (
        ["loading", "loading", "notice", "step", "step", "image", "finished"]
    )
    assert events[3] == {
        "event": "step",
        "index": 1,
        "total": 2,
        "pictures": [0],
        "total_pictures": 1,
        "seconds": 0.1,
        "preview": True,
    }
    image = events[5]
    assert Path(image.pop("path")).is_file()
    assert len(image.pop("model_sha256")) == 64
    card = catalog.card(str(tiny_model))
    assert image == {
        "event": "image",
        "seed": 7,
        "picture": 0,
        "prompt": "a café\n",
        "width": card.width,
        "height": card.height,
        "tokens": 0,
        "seconds": 0.2,
    }
    assert events[6] == {"event": "finished", "pictures": 1, "seconds": 0.3}


def test_the_latest_preview_can_be_watched_and_goes_with_the_run(run, engine, tmp_path):
    seen = []
    path = tmp_path / "out" / "preview.png"
    engine.at_step = lambda index: seen.append(path.exists() and Image.open(path).getpixel((0, 0)))
    assert run("a", "--count", "2", "--preview", "full", "--out", str(tmp_path / "out")) == 0
    assert engine.preview.decoder is PreviewDecoder.FULL
    assert seen == [False, (1, 1, 1), (2, 2, 2), (1, 1, 1)]
    assert not path.exists()


def test_somebody_elses_preview_file_is_left_alone(run, tmp_path, capsys):
    (tmp_path / "preview.png").write_text("mine")
    assert run("a", "--preview", "linear", "--out", str(tmp_path)) == 1
    assert "preview.png is there already" in one_line(capsys)
    assert (tmp_path / "preview.png").read_text() == "mine"


NONSENSE = [
    (["a", "--steps", "0"], "--steps: 0"),
    (["a", "--steps", "9" * 30], "steps: 999"),
    (["a", "--width", "100"], "96 or 104 would do"),
    (["a", "--height", "-8"], "height: -8"),
    (["a", "--width", "1000000"], "width: 1000000"),
    (["a", "--guidance", "nan"], "--guidance: nan"),
    (["a", "--guidance", "-1"], "--guidance: -1"),
    (
        ["a", "--guidance-start", "0.9", "--guidance-end", "0.1"],
        "--guidance-end: must not lie before the beginning",
    ),
    (["a", "--seed", "-1"], "--seed: -1"),
    (["a", "--seed", str(2**32)], "seed: 4294967296"),
    (["a", "--count", "0"], "count: 0"),
    (["a", "--count", "100000"], "count: 100000"),
    (["a", "--batch", "-1"], "--batch: -1"),
    (["a", "--strength", "0.5"], "add --init"),
    (["a", "--init", "x.png", "--strength", "0"], "strength"),
    (["a", "--init", ""], "--init: is empty"),
    (["a", "--mask", "m.png"], "--mask: needs a start picture; add --init"),
    (["a", "--init", "x.png", "--mask", "m.png"], "x.png does not exist"),
    (["a", "--init", "x.png", "--mask-invert"], "--mask: is missing; add --mask"),
    (["a", "--init", "x.png", "--only-masked"], "--mask: is missing; add --mask"),
    (["a", "--init", "x.png", "--mask-blur", "3"], "--mask-blur: does not go with image-to-image"),
    (["a", "--init", "", "--mask", "m.png"], "--init"),
    (["a", "--mask-blur", "3"], "add --init"),
    (["a", "--outpaint", "left=8"], "add --init"),
    (["a", "--init", "x.png", "--outpaint", "left=8"], "x.png does not exist"),
    (["a", "--hires-scale", "1"], "--hires-scale: 1.0 must be a number above 1 and up to 8"),
    (["a", "--hires-scale", "nan"], "--hires-scale: nan"),
    (["a", "--hires-scale", "8", "--width", "1024"], "makes the width 8192"),
    (["a", "--hires-strength", "0"], "--hires-strength: 0 of"),
    (["a", "--hires-steps", "-1"], "--hires-steps: -1"),
    (["a", "--hires-window", "100"], "--hires-window: 100 must be a multiple of 8"),
    (["a", "--lora", "fox:nan"], "--lora: nan"),
    (["a", "--lora", ""], "--lora: is empty"),
    (["a", "--lora", "a\0b"], "--lora: contains a NUL"),
    (["a", "--embedding", ""], "--embedding: is empty"),
    (["a\0b"], "NUL"),
    (["\udcff"], "not valid Unicode"),
    (["a", "--model", "no-such-model"], "no-such-model"),
    (["a", "--model", "~nobody-of-this-name/model"], "~nobody-of-this-name"),
    (["a", "--model", "."], "model_index.json"),
    (["a", "--model", ""], "--model: is empty"),
    (["a", "--model", ""], "model"),
    (["--from", "no-such-picture.png"], "does not exist"),
    (["--from", "."], "not a file"),
]


@pytest.mark.parametrize(("words", "reason"), NONSENSE, ids=[" ".join(w)[:40] for w, _ in NONSENSE])
def test_nonsense_gets_one_sentence(run, capsys, tmp_path, monkeypatch, words, reason):
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 1
    assert reason in one_line(capsys)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--steps", "many", "a"],
        ["--seed", "1.5", "a"],
        ["--scheduler", "best", "a"],
        ["--device", "tpu", "a"],
        ["--dtype", "fp8", "a"],
        ["--preview", "yes", "a"],
        ["--outpaint", "up=5", "a"],
        ["--outpaint", "left=-3", "a"],
        ["--outpaint", "left", "a"],
        ["--vae-tiling", "sometimes", "a"],
        ["--step", "5", "a"],
        ["--no-such-option", "a"],
    ],
    ids=" ".join,
)
def test_a_wrong_usage_ends_with_2(run, capsys, words):
    with pytest.raises(SystemExit) as caught:
        run(*words)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: ")


def test_a_picture_that_says_nothing_cannot_be_repeated(run, capsys, start_picture):
    assert run("--from", str(start_picture)) == 1
    assert "does not say how it was made" in one_line(capsys)


@pytest.mark.parametrize("where", ["file", "file/folder"])
def test_a_folder_that_is_a_file_is_said_before_anything_is_loaded(
    run, engine, capsys, tmp_path, where
):
    (tmp_path / "file").write_text("")
    assert run("a", "--out", str(tmp_path / where)) == 1
    assert "file" in one_line(capsys)
    assert engine.request is None


def test_an_error_of_the_engine_is_one_line(run, engine, capsys):
    def fail(_index: int) -> None:
        raise OutOfMemory("The picture needs 5 GB\nmore; make it smaller.")

    engine.at_step = fail
    assert run("a", "--json") == 1
    captured = capsys.readouterr()
    assert captured.err == "stepwise: The picture needs 5 GB more; make it smaller.\n"
    assert engine.closed == 1


@pytest.mark.parametrize(("interrupt", "status"), [(KeyboardInterrupt, 130), (cli.Terminated, 143)])
def test_an_interrupted_run_keeps_and_names_what_was_finished(
    run, engine, capsys, pictures, interrupt, status
):
    steps = []

    def stop(index: int) -> None:
        steps.append(index)
        if len(steps) == 4:
            raise interrupt

    engine.at_step = stop
    assert run("a", "--count", "3", "--preview", "linear") == status
    captured = capsys.readouterr()
    (path,) = pictures.iterdir()
    assert captured.out == f"{path}\n"
    assert f"Stopped; kept: {path}." in captured.err
    assert engine.closed == 1


def test_a_bug_is_logged_and_said_in_one_line(run, engine, capsys, tmp_path):
    def fail(_index: int) -> None:
        raise ZeroDivisionError("division\nby zero")

    engine.at_step = fail
    assert run("a", "--json") == 1
    log = tmp_path / "profile" / "logs" / "stepwise.log"
    captured = capsys.readouterr()
    assert "bug (ZeroDivisionError: division by zero)" in captured.err
    assert str(log) in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" in log.read_text()


def recorded(run, pictures, *words: str) -> Path:
    assert run(*words) == 0
    return max(pictures.iterdir(), key=lambda path: read_metadata(path).picture)


def test_from_asks_for_the_same_request_and_the_one_picture(run, engine, pictures):
    picture = recorded(run, pictures, "a cat", "a dog", "--count", "2", "--seed", "3")
    made = read_metadata(picture)
    assert run("--from", str(picture)) == 0
    assert (engine.request, engine.only) == (made.request, 3)
    assert made.request.batch_size == 1


def test_an_option_beside_from_changes_that_setting_of_that_picture(run, engine, pictures):
    picture = recorded(
        run, pictures, "a cat", "a dog", "--count", "2", "--seed", "3", "--steps", "4"
    )
    assert run("--from", str(picture), "--steps", "9", "--count", "2") == 0
    made = read_metadata(picture).request
    assert engine.only is None
    assert engine.request == dataclasses.replace(
        made, prompts=("a dog",), seed=6, steps=9, count=2, batch_size=0
    )


def test_a_start_picture_beside_from_makes_a_picture_from_it(run, engine, pictures, start_picture):
    picture = recorded(run, pictures, "a cat")
    assert run("--from", str(picture), "--init", str(start_picture), "--strength", "0.5") == 0
    assert isinstance(engine.request, ImageToImage)
    assert engine.request.prompts == ("a cat",)


def test_from_refuses_a_model_that_has_changed_unless_it_is_named(
    run, engine, pictures, capsys, tiny_model
):
    engine.model_sha256 = "ab" * 32
    picture = recorded(run, pictures, "a cat")
    capsys.readouterr()
    engine.request = None
    assert run("--from", str(picture)) == 1
    assert "has changed since" in one_line(capsys)
    assert engine.request is None
    assert run("--from", str(picture), "--model", str(tiny_model)) == 0
    assert engine.only == 0


def test_from_on_another_device_says_that_bits_may_differ(run, engine, pictures, capsys):
    picture = recorded(run, pictures, "a cat", "--device", "cuda")
    capsys.readouterr()
    assert run("--from", str(picture), "--device", "cuda") == 0
    assert "may differ" not in capsys.readouterr().err
    assert run("--from", str(picture), "--device", "cpu") == 0
    assert "made on cuda and is made again on cpu; its last bits may" in capsys.readouterr().err
    assert run("--from", str(picture), "--device", "cpu", "--steps", "9") == 0
    assert "may differ" not in capsys.readouterr().err


def test_the_bar_of_one_picture_made_again_reaches_its_end(run, engine, pictures, capsys):
    picture = recorded(run, pictures, "a cat", "--count", "5")
    capsys.readouterr()
    assert run("--from", str(picture)) == 0
    err = capsys.readouterr().err
    assert "2/2" in err
    assert "/10" not in err


def test_settings_of_another_programs_picture_are_taken(run, engine, tmp_path, capsys, tiny_model):
    comment = (
        "a cat\nNegative prompt: dog\n"
        "Steps: 11, Sampler: Euler a, CFG scale: 4, Seed: 99, Size: 64x72, Model hash: 0123456789"
    )
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + comment.encode("utf-16-be")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif)
    assert run("--from", str(tmp_path / "a.jpg"), "--model", str(tiny_model), "--seed", "5") == 0
    assert engine.request == TextToImage(
        model=str(tiny_model),
        prompts=("a cat",),
        negative_prompt="dog",
        steps=11,
        scheduler=SchedulerName.EULER_ANCESTRAL,
        guidance_scale=4.0,
        seed=5,
        width=64,
        height=72,
    )
    assert "another program" in capsys.readouterr().err


def test_inspect_says_how_a_picture_was_made(run, engine, pictures, capsys):
    picture = recorded(run, pictures, "a cat", "--seed", "3", "--negative", "dog")
    capsys.readouterr()
    assert cli.main(["inspect", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["Prompt: a cat", "Negative prompt: dog", "Seed: 3"]
    assert cli.main(["inspect", str(picture), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["source"], found["seed"], found["picture"]) == ("stepwise", 3, 0)
    assert found["request"]["prompts"] == ["a cat"]
    assert found["device"] == engine.device


def test_each_format_is_kept_and_repeated(run, engine, pictures, capsys):
    for name, suffix in (("png", ".png"), ("JPEG", ".jpg"), ("webp", ".webp")):
        assert run("a cat", "--seed", "3", "--format", name) == 0
        (path,) = (path for path in pictures.iterdir() if path.suffix == suffix)
        made = read_metadata(path)
        assert run("--from", str(path)) == 0
        assert (engine.request, engine.only) == (made.request, 0)
    capsys.readouterr()


FOREIGN = {
    "parameters": "a cat <lora:fur:0.5>\nNegative prompt: dog\n"
    "Steps: 11, Sampler: DPM++ SDE, Schedule type: Karras, CFG scale: 4, Seed: 99, Size: 65x72, "
    "Model hash: 0123456789, Model: other, Clip skip: 2, Tiling: True, Version: v1.9.3"
}


def foreign(folder: Path, **texts: str) -> Path:
    info = PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text)
    Image.new("RGB", (8, 8)).save(folder / "foreign.png", pnginfo=info)
    return folder / "foreign.png"


def test_what_could_not_be_honoured_is_said_before_the_run(run, engine, tmp_path, capsys):
    picture = foreign(tmp_path, **FOREIGN)
    assert run("--from", str(picture), "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    before = [event["event"] for event in events].index("loading")
    assert {event["event"] for event in events[:before]} == {"notice"}
    said = " ".join(event["message"] for event in events[:before])
    for words in (
        "another program (AUTOMATIC1111 v1.9.3)",
        "model other (hash 0123456789); starter is used",
        "LoRA fur at 0.5",
        "sampler DPM++ SDE is not one of ours",
        "schedule Karras",
        "width 65 is made 64",
        "Clip skip: 2",
        "Tiling: True",
    ):
        assert words in said
    assert engine.request.prompts == ("a cat",)
    assert (engine.request.width, engine.request.seed) == (64, 99)
    assert engine.request.scheduler is SchedulerName.DPMPP_SDE


def test_what_the_library_has_of_another_programs_picture_is_used(
    run, engine, tmp_path, tiny_model, capsys
):
    library = Library(Profile(tmp_path / "profile"))
    list(library.add(Path(shutil.copytree(tiny_model, tmp_path / "mine"))))
    stem = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    save_file(
        {f"{stem}.lora_down.weight": torch.ones(2, 16), f"{stem}.lora_up.weight": torch.ones(8, 2)},
        tmp_path / "fur.safetensors",
    )
    list(library.add(tmp_path / "fur.safetensors"))
    (mine, fur) = library.entries()
    text = (
        "a cat <lora:fur:0.5>\nSteps: 11, Sampler: Euler a, CFG scale: 4, Seed: 99, Size: 64x72, "
        f"Model hash: {mine.sha256[:10]}, Model: called otherwise, Denoising strength: 0.4, "
        "Hires upscale: 2, Hires upscaler: Latent"
    )
    picture = foreign(tmp_path, parameters=text)
    assert run("--from", str(picture)) == 0
    said = capsys.readouterr().err
    assert "that is mine of the library" in said
    assert "not applied" not in said
    assert engine.request.model == "mine"
    assert engine.request.loras == (LoraUse(path=str(fur.path), weight=0.5),)
    second = SecondPass(scale=2.0, strength=0.4, upscaler=Enlarging.LATENT)
    assert engine.request.second_pass == second
    assert run("--from", str(picture), "--hires-scale", "3") == 0
    assert engine.request.second_pass == dataclasses.replace(second, scale=3.0)
    assert cli.main(["inspect", str(picture), "--profile", str(tmp_path / "profile")]) == 0
    out = capsys.readouterr().out
    assert "Second pass: 2 times, strength 0.4, upscaler Latent" in out
    assert "Not honoured" not in out


def test_a_model_of_the_name_and_another_hash_is_used_and_said(
    run, engine, tmp_path, tiny_model, capsys
):
    library = Library(Profile(tmp_path / "profile"))
    list(library.add(Path(shutil.copytree(tiny_model, tmp_path / "mine"))))
    text = "a cat\nSteps: 11, Sampler: Euler a, Seed: 9, Model hash: 0123456789, Model: mine"
    assert run("--from", str(foreign(tmp_path, parameters=text))) == 0
    assert "mine of the library has its name and another hash" in capsys.readouterr().err
    assert engine.request.model == "mine"


def test_another_model_than_the_pictures_is_said(
    run, engine, pictures, tmp_path, tiny_model, tiny_v_model, capsys
):
    ours = recorded(run, pictures, "a cat")
    text = "a cat\nSteps: 11, Sampler: Euler a, Seed: 9, Model hash: 0123456789, Model: other"
    theirs = foreign(tmp_path, parameters=text)
    capsys.readouterr()
    for picture, model, words in (
        (ours, tiny_v_model, f"made with another model, {tiny_model} (hash "),
        (ours, tiny_model, None),
        (theirs, tiny_model, f"model other (hash 0123456789); {tiny_model} is another one"),
    ):
        assert run("--from", str(picture), "--model", str(model)) == 0
        said = capsys.readouterr().err
        assert ("another model" in said or "another one." in said) == (words is not None)
        assert words is None or words in said
    assert run("--from", str(ours), "--model", str(tiny_v_model), "--steps", "3") == 0
    assert "made with another model" in capsys.readouterr().err


def test_a_strength_is_taken_over_where_a_start_picture_is_given(
    run, engine, tmp_path, start_picture
):
    text = FOREIGN["parameters"] + ", Denoising strength: 0.25"
    picture = foreign(tmp_path, parameters=text)
    assert run("--from", str(picture), "--init", str(start_picture)) == 0
    assert isinstance(engine.request, ImageToImage)
    assert engine.request.strength == 0.25


def test_inspect_of_another_programs_picture(tmp_path, capsys):
    picture = foreign(tmp_path, **FOREIGN)
    assert cli.main(["inspect", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["Prompt: a cat <lora:fur:0.5>", "Negative prompt: dog", "Seed: 99"]
    assert "Sampler: DPM++ SDE Karras" in lines
    assert "Size: 65 x 72" in lines
    assert "LoRA: fur at 0.5" in lines
    assert "Tiling: True" in lines
    assert "Made by: AUTOMATIC1111 v1.9.3" in lines
    model = "The model other (hash 0123456789) is not in the library and is not used; add it by "
    assert f"Not honoured: {model}`stepwise models add`, or name another by --model." in lines
    lost = "The LoRA fur at 0.5 is not in the library and is not applied; add its file by "
    assert f"Not honoured: {lost}`stepwise models add`." in lines
    assert cli.main(["inspect", str(picture), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.pop("not_honoured")
    assert found == {
        "path": str(picture),
        "source": "a1111",
        "program": "AUTOMATIC1111 v1.9.3",
        "prompt": "a cat <lora:fur:0.5>",
        "negative_prompt": "dog",
        "steps": 11,
        "sampler": "DPM++ SDE",
        "schedule": "Karras",
        "scheduler": "dpm++sde",
        "guidance_scale": 4.0,
        "guidance_rescale": None,
        "seed": 99,
        "width": 65,
        "height": 72,
        "strength": None,
        "start_picture": "",
        "model": "other",
        "model_hash": "0123456789",
        "vae": "",
        "refiner": None,
        "clip_skip": 2,
        "loras": [{"name": "fur", "weight": 0.5, "hash": "", "text_weight": None}],
        "embeddings": [],
        "second_pass": None,
        "unexpressed": {"Tiling": "True"},
        "details": {"Version": "v1.9.3"},
    }


def test_inspect_has_the_same_names_for_every_program(run, pictures, tmp_path, capsys):
    ours = recorded(run, pictures, "a cat", "--seed", "3")
    capsys.readouterr()
    found = []
    for picture in (ours, foreign(tmp_path, **FOREIGN)):
        assert cli.main(["inspect", str(picture), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[1].keys() <= found[0].keys()
    assert (found[0]["prompt"], found[0]["seed"], found[0]["scheduler"]) == ("a cat", 3, "pndm")


def test_inspect_lets_no_picture_steer_the_terminal(tmp_path, capsys):
    picture = foreign(tmp_path, parameters="\x1b]0;title\x07\x9b31m\nSteps: 1, Seed: 2, Size: 8x8")
    assert cli.main(["inspect", str(picture)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Prompt: \\x1b]0;title\\x07\\x9b31m\n")
    assert out.isprintable() or set(out) - set("\n") == {c for c in out if c.isprintable()}


def of_record(folder: Path, request: Request, *, version: int = 1, **more: object) -> Path:
    """Save a picture with a record of ours, and with other texts where they are given."""
    record = {
        "version": version,
        "app": "Stepwise 0.1",
        "request": to_json(request),
        "picture": 0,
        "seed": request.seed,
        "model_sha256": "ab" * 32,
    }
    info = PngInfo()
    if ancestors := more.pop("ancestors", None):
        record["ancestors"] = ancestors
    for name, text in ({"stepwise": json.dumps(record)} | more).items():
        info.add_text(name, text)
    Image.new("RGB", (8, 8)).save(folder / "made.png", pnginfo=info)
    return folder / "made.png"


def test_inspect_tells_what_a_picture_was_made_from(run, pictures, start_picture, capsys):
    sha256 = hashlib.sha256(start_picture.read_bytes()).hexdigest()
    request = ImageToImage(prompts=("a",), init_image=str(start_picture), init_sha256=sha256)
    picture = of_record(start_picture.parent, request, ancestors=[sha256, "cd" * 32])
    assert cli.main(["inspect", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == f"Made from (1): {start_picture}, hash {sha256[:12]}"
    assert lines[-1] == "Made from (2): not found, hash cdcdcdcdcdcd"
    assert cli.main(["inspect", str(picture), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lineage"] == [
        {"sha256": sha256, "path": str(start_picture), "program": None, "prompt": None},
        {"sha256": "cd" * 32, "path": None, "program": None, "prompt": None},
    ]


def test_inspect_says_of_ours_what_there_is_in_words(tmp_path, capsys):
    request = TextToImage(
        prompts=("a",),
        loras=(LoraUse(path="/l/fur.safetensors", weight=0.5, text_weight=0.2, short_hash="ab"),),
        embeddings=(EmbeddingUse(path="/e/x.pt", token="sks", sha256="cd" * 32),),
        second_pass=SecondPass(strength=0.4, window=64),
    )
    picture = of_record(tmp_path, request)
    assert cli.main(["inspect", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "LoRA: /l/fur.safetensors at 0.5 (0.2 in the text encoder) ab" in lines
    assert "Embedding: sks cdcdcdcdcdcd" in lines
    assert "Second pass: 2 times, strength 0.4, upscaler lanczos, window 64" in lines
    assert not [line for line in lines if line.endswith((": ", ": None", ": []"))]


@pytest.mark.parametrize("texts", [{}, FOREIGN], ids=["alone", "beside-the-web-uis-text"])
def test_a_record_of_a_newer_version_is_said_to_be_one(run, tmp_path, capsys, texts):
    picture = of_record(tmp_path, TextToImage(prompts=("a",)), version=2, **texts)
    assert cli.main(["inspect", str(picture)]) == 0
    assert "A newer version of Stepwise made it; update this one" in capsys.readouterr().out
    assert run("--from", str(picture)) == (0 if texts else 1)
    assert "A newer version of Stepwise made it" in capsys.readouterr().err


def test_inspect_says_that_a_picture_says_nothing(start_picture, capsys):
    assert cli.main(["inspect", str(start_picture)]) == 0
    assert "does not say" in capsys.readouterr().out
    assert cli.main(["inspect", str(start_picture), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(start_picture), "source": None}


@pytest.mark.parametrize("name", ["none.png", "."])
def test_inspect_of_no_picture_is_one_line(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["inspect", name]) == 1
    assert name in one_line(capsys)


def test_models_show_tells_the_defaults(tiny_model, capsys):
    assert cli.main(["models", "show", str(tiny_model), "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert (card["width"], card["path"]) == (64, str(tiny_model))
    assert cli.main(["models", "show", str(tiny_model)]) == 0
    assert "Width: 64\n" in capsys.readouterr().out


def test_models_show_of_no_model_is_one_line(capsys):
    assert cli.main(["models", "show", "no-such-model"]) == 1
    assert "no-such-model" in one_line(capsys)


def test_without_a_command_the_window_opens_if_there_is_one(tmp_path, capsys):
    opened = []

    def open_window(profile) -> int:
        opened.append(profile.root)
        return 3

    assert cli.main(["--profile", str(tmp_path)], open_window=open_window) == 3
    assert opened == [tmp_path]
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == 2


def test_help_of_the_app_shows_the_window_and_the_commands(capsys):
    from desktop.__main__ import main

    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for word in ("opens the window", "--profile", "generate", "inspect", "models", "bench"):
        assert word in shown


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_reader_that_has_gone_is_no_bug(tiny_model):
    code = "from core.cli import main; import sys; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "models", "show", str(tiny_model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


@pytest.mark.timeout(60)
def test_random_words_never_show_a_traceback(run, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chance = random.Random(0)
    values = ["", "-1", "0", "1e9", "nan", "inf", "x", "\n", "😀", "8", "0.5", "/", "..", "9" * 400]
    options = ["--steps", "--guidance", "--seed", "--width", "--count", "--batch", "--strength"]
    options += ["--init", "--scheduler", "--negative", "--from", "--dtype", "--guidance-end"]
    for _ in range(150):
        words = ["a"]
        for option in chance.sample(options, 3):
            words += [option, chance.choice(values)]
        try:
            status = run(*words, "--json")
        except SystemExit as error:
            status = error.code
        captured = capsys.readouterr()
        assert status in (0, 1, 2), words
        assert "Traceback" not in captured.err, words
        assert "bug" not in captured.err, words


def test_a_request_to_end_is_heard_and_forgotten_after_the_run(run, engine):
    before = signal.getsignal(signal.SIGTERM)
    engine.at_step = lambda _index: signal.raise_signal(signal.SIGTERM)
    assert run("a") == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_every_core_error_ends_with_1(run, engine):
    for kind in CoreError.__subclasses__():
        if kind.__init__ is not CoreError.__init__:
            continue

        def fail(_index: int, kind: type[CoreError] = kind) -> None:
            raise kind("what, where, what next")

        engine.at_step = fail
        assert run("a", "--json") == 1
