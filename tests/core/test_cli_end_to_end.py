import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file, save_file

from core import cli
from core.images.metadata import read_metadata

ROOT = Path(__file__).parents[2]
SMALL = ["--width", "32", "--height", "24", "--device", "cpu"]


@pytest.fixture
def generate(tmp_path, tiny_model, capsys):
    """Carry out ``generate`` with the real engine and give the pictures' paths."""

    def run(*words: str, out: str = "out") -> list[Path]:
        options = ["--profile", str(tmp_path / "profile"), "--out", str(tmp_path / out), "--json"]
        if "--from" not in words:
            options += ["--model", str(tiny_model), *SMALL]
        status = cli.main(["generate", *words, *options])
        captured = capsys.readouterr()
        assert status == 0, captured.err
        events = [json.loads(line) for line in captured.out.splitlines()]
        return [Path(event["path"]) for event in events if event["event"] == "image"]

    return run


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


def test_a_prompt_becomes_pictures_of_the_size_asked_for(generate):
    paths = generate("a red circle", "moon", "--count", "2", "--steps", "3", "--seed", "5")
    assert [path.name.split("-")[2] for path in paths] == ["5", "6", "7", "8"]
    assert {pixels(path).shape for path in paths} == {(24, 32, 3)}
    assert len({path.read_bytes() for path in paths}) == 4


def test_every_picture_is_repeated_bit_for_bit_from_its_file_alone(generate):
    paths = generate(
        "a red circle", "moon", "--count", "2", "--batch", "3", "--steps", "4", "--negative", "blue"
    )
    for path in paths:
        (again,) = generate("--from", str(path), "--device", "cpu", out="again")
        np.testing.assert_array_equal(pixels(again), pixels(path))
        assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["webp", "jpeg"])
def test_a_picture_of_another_format_is_repeated_bit_for_bit(generate, name):
    words = ("a red circle", "--steps", "3", "--seed", "5")
    (path,) = generate(*words, "--format", name)
    (again,) = generate("--from", str(path), "--device", "cpu", "--format", name, out="again")
    assert again.read_bytes() == path.read_bytes()
    (plain,) = generate(*words, out="plain")
    (as_png,) = generate("--from", str(path), "--device", "cpu", out="png")
    assert as_png.read_bytes() == plain.read_bytes()


def test_a_picture_from_a_picture_from_a_picture_tells_them_all(generate, capsys):
    (first,) = generate("moon", "--steps", "2")
    (second,) = generate("moon", "--init", str(first), "--steps", "4", out="second")
    (third,) = generate("moon", "--init", str(second), "--steps", "4", out="third")
    assert cli.main(["inspect", str(third), "--json"]) == 0
    lineage = json.loads(capsys.readouterr().out)["lineage"]
    assert [ancestor["path"] for ancestor in lineage] == [str(second), str(first)]
    assert [ancestor["prompt"] for ancestor in lineage] == ["moon", "moon"]


def test_a_picture_from_a_start_picture_is_repeated_bit_for_bit(generate, start_picture):
    (path,) = generate("moon", "--init", str(start_picture), "--strength", "0.5", "--steps", "6")
    (again,) = generate("--from", str(path), "--device", "cpu", out="again")
    assert again.read_bytes() == path.read_bytes()
    assert len(read_metadata(path).request.init_sha256) == 64


def test_a_picture_of_another_vae_is_repeated_and_told(generate, tiny_model, tmp_path, capsys):
    vae = tmp_path / "other"
    shutil.copytree(tiny_model / "vae", vae)
    weights = vae / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor * 1.5 for name, tensor in load_file(weights).items()}, weights)
    (plain,) = generate("moon", "--steps", "2", "--seed", "1")
    (path,) = generate("moon", "--steps", "2", "--seed", "1", "--vae", str(vae), out="other-vae")
    assert not np.array_equal(pixels(path), pixels(plain))
    (again,) = generate("--from", str(path), "--device", "cpu", out="again")
    assert again.read_bytes() == path.read_bytes()
    (own,) = generate("--from", str(path), "--vae", "", "--device", "cpu", out="own")
    np.testing.assert_array_equal(pixels(own), pixels(plain))
    assert cli.main(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["vae"] == "other"


def test_a_start_picture_that_has_changed_is_refused(generate, start_picture, capsys):
    (path,) = generate("moon", "--init", str(start_picture), "--steps", "6")
    Image.new("RGB", (8, 8)).save(start_picture)
    assert cli.main(["generate", "--from", str(path), "--out", str(path.parent)]) == 1
    assert "--init" in capsys.readouterr().err


def test_watching_changes_nothing(generate, tmp_path):
    words = ("a red circle", "--steps", "4", "--seed", "5")
    (plain,) = generate(*words)
    for decoder in ("linear", "full"):
        (watched,) = generate(*words, "--preview", decoder, out=decoder)
        assert watched.read_bytes() == plain.read_bytes()
        assert [watched] == list((tmp_path / decoder).iterdir())


def test_a_changed_setting_makes_another_picture(generate):
    (path,) = generate("a red circle", "--steps", "4")
    (other,) = generate("--from", str(path), "--guidance", "1", "--device", "cpu", out="other")
    assert read_metadata(other).request.guidance_scale == 1
    assert read_metadata(other).seed == read_metadata(path).seed
    assert not np.array_equal(pixels(other), pixels(path))


def start(tmp_path: Path, model: Path, *words: str) -> "subprocess.Popen[str]":
    folders = ["--profile", str(tmp_path / "profile"), "--out", str(tmp_path / "out")]
    return subprocess.Popen(
        [sys.executable, "-m", "core", "generate", "--model", model, *SMALL, *folders, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A job started in a shell's background inherits an ignored Ctrl-C.
        preexec_fn=None if os.name == "nt" else _heed_interrupts,
    )


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_stdout_carries_events_and_stderr_nothing(tmp_path, tiny_model):
    words = ("a red circle", "--steps", "3", "--seed", "5", "--json")
    with start(tmp_path, tiny_model, *words) as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert err == ""
    kinds = [json.loads(line)["event"] for line in out.splitlines()]
    assert kinds[0] == "loading"
    rest = [kind for kind in kinds if kind != "loading"]
    assert rest == ["memory", *["step"] * 3, "image", "finished"]


def test_a_person_sees_progress_and_the_path(tmp_path, tiny_model):
    with start(tmp_path, tiny_model, "a red circle", "--steps", "3") as process:
        out, err = process.communicate()
    assert process.returncode == 0, err
    (path,) = (tmp_path / "out").iterdir()
    assert out == f"{path}\n"
    assert "3/3" in err


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_ends_within_a_step_and_keeps_what_is_finished(tmp_path, tiny_model, number, status):
    words = ("a red circle", "--steps", "400", "--count", "50", "--batch", "1", "--json")
    with start(tmp_path, tiny_model, *words) as process:
        for line in process.stdout:
            if json.loads(line)["event"] == "image":
                break
        process.send_signal(number)
        rest, err = process.communicate()
    assert process.returncode == status
    later = [json.loads(line) for line in rest.splitlines()]
    assert len(later) < 400
    (path,) = (tmp_path / "out").iterdir()
    assert err == f"Stopped; kept: {path}.\n"
    assert pixels(path).shape == (24, 32, 3)


def test_bench_tells_where_the_time_goes(tiny_model, tmp_path, capsys):
    words = ["bench", "--model", str(tiny_model), "--device", "cpu", "--steps", "2"]
    words += ["--profile", str(tmp_path / "profile")]
    assert cli.main(words) == 0
    assert "loop around UNet" in capsys.readouterr().out
    assert (tmp_path / "profile" / "cache" / "fingerprints.json").is_file()
    assert cli.main([*words, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["steps"], report["scheduler"]) == (2, "pndm")
    assert report["picture_seconds"] > 0


def test_bench_of_no_step_is_one_line(tiny_model, capsys):
    assert cli.main(["bench", "--model", str(tiny_model), "--steps", "0"]) == 1
    assert capsys.readouterr().err.startswith("stepwise: steps: 0")


@pytest.mark.parametrize("command", ["generate", "grid"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_while_a_batch_is_decoded_keeps_all_of_it(
    tmp_path, tiny_model, capsys, monkeypatch, command, number, status
):
    decode, calls = AutoencoderKL.decode, []

    def interrupted(*given, **options):
        calls.append(given)
        signal.raise_signal(number)
        return decode(*given, **options)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(AutoencoderKL, "decode", interrupted)
    words = ["--profile", str(tmp_path / "profile"), "--out", str(tmp_path / "out")]
    words += ["--model", str(tiny_model), *SMALL, "--steps", "1", "--preview", "off"]
    words += ["--x", "seed=1,2"] if command == "grid" else ["--count", "4", "--batch", "2"]
    try:
        assert cli.main([command, "a red circle", *words]) == status
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(calls) == 1
    kept = [path for path in (tmp_path / "out").iterdir() if "grid" not in path.name]
    assert len(kept) == 2
    said = capsys.readouterr().err
    assert (
        "kept: 2 of 2 pictures" in said if command == "grid" else all(str(p) in said for p in kept)
    )


def test_a_second_interrupt_is_obeyed_at_once(tmp_path, tiny_model, monkeypatch, capsys):
    def interrupted(*_given, **_options):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("the second one was held back")

    monkeypatch.setattr(AutoencoderKL, "decode", interrupted)
    words = ["--profile", str(tmp_path / "profile"), "--out", str(tmp_path / "out")]
    words += ["--model", str(tiny_model), *SMALL, "--steps", "1", "--preview", "off"]
    assert cli.main(["generate", "a red circle", *words]) == 143
    assert "no picture was finished" in capsys.readouterr().err
