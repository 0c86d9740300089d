"""ControlNets by the command line, from the words to the record in the picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core import cli
from core.images.canny import edges
from core.images.infotext import parse_infotext
from core.images.metadata import Recorded, read_metadata
from core.images.reading import read_start_image
from core.request import ControlUse, DeviceName, Preprocessor
from tests.conftest import write_tiny_control


@pytest.fixture(scope="module")
def control(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_control(tmp_path_factory.mktemp("controls") / "lines", tiny_model)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from core.engine import TorchEngine

    return TorchEngine(DeviceName.CPU, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def call(tmp_path: Path, engine: Any, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Carry out ``generate``; give its status, the pictures' paths, and what it said."""

    def run(*words: str, out: str = "out") -> tuple[int, list[Path], str, str]:
        options = ["--profile", str(tmp_path / "profile"), "--out", str(tmp_path / out), "--json"]
        if "--from" not in words:
            options += ["--model", str(tiny_model), "--seed", "5", "--steps", "2"]
            options += ["--width", "64", "--height", "64"]
        status = cli.main(["generate", *words, *options], make_engine=lambda *_: engine)
        said = capsys.readouterr()
        events = [json.loads(line) for line in said.out.splitlines()]
        paths = [Path(event["path"]) for event in events if event["event"] == "image"]
        return status, paths, said.out, said.err

    return run


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


def test_a_picture_follows_edges_says_so_and_is_made_again(
    call: Any,
    control: Path,
    start_picture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = (
        *("--control", str(control), "--control-image", str(start_picture)),
        *("--control-preprocessor", "canny", "--control-low", "20", "--control-high", "40"),
        *("--control-weight", "0.8", "--control-end", "0.5"),
    )
    (folder := tmp_path / "out").mkdir()
    (folder / "control-1.png").write_bytes(b"the user's own")
    status, (path,), out, err = call("a red circle", *words, "--keep-control-maps")
    assert status == 0, err
    recorded = read_metadata(path)
    assert isinstance(recorded, Recorded)
    (use,) = recorded.request.controls
    assert use == ControlUse(
        path=str(control),
        image=str(start_picture),
        sha256=use.sha256,
        image_sha256=use.image_sha256,
        preprocessor=Preprocessor.CANNY,
        low=20,
        high=40,
        weight=0.8,
        end=0.5,
    )
    assert (path.parent / "control-1.png").read_bytes() == b"the user's own"
    map_path = path.parent / "control-1-2.png"
    assert str(map_path) in out
    expected = edges(read_start_image(start_picture, 64, 64), 20, 40)
    np.testing.assert_array_equal(pixels(map_path), expected)

    with Image.open(path) as picture:
        said = parse_infotext(picture.info["parameters"]).parameters["ControlNet 0"]
    assert f"Module: canny, Model: lines [{use.sha256[:8]}], Weight: 0.8" in said

    assert cli.main(["inspect", str(path), "--profile", str(path.parent / "none")]) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("Control: ")]
    assert line.startswith(f"Control: {control} follows {start_picture} by canny (20, 40) at 0.8")

    status, (again,), _, err = call("--from", str(path), out="again")
    assert status == 0, err
    np.testing.assert_array_equal(pixels(again), pixels(path))
    status, (plain,), _, err = call("a red circle", out="plain")
    assert not np.array_equal(pixels(plain), pixels(path))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--control", "CONTROL"], "add --control-image"),
        (["--control", "nothing", "--control-image", "PICTURE"], "no ControlNet 'nothing'"),
        (["--control", "x" * 300, "--control-image", "PICTURE"], "too long"),
        (["--control", "MODEL", "--control-image", "PICTURE"], "is no ControlNet"),
        (["--control", "CONTROL", "--control-image", "none.png"], "none.png does not exist"),
        (["--control", "CONTROL", "--control-image", "WEIGHTS"], "is not a picture"),
        (["--keep-control-maps"], "no map to keep"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(
    words: list[str],
    told: str,
    call: Any,
    control: Path,
    tiny_model: Path,
    start_picture: Path,
) -> None:
    names = {
        "CONTROL": control,
        "MODEL": tiny_model,
        "PICTURE": start_picture,
        "WEIGHTS": control / "diffusion_pytorch_model.safetensors",
    }
    status, paths, _, err = call("a red circle", *(str(names.get(w, w)) for w in words))
    assert (status, paths) == (1, [])
    assert told in err
    assert err.count("\n") == 1


def test_an_exported_control_net_is_named_recorded_and_used_again(
    tiny_model: Path,
    control: Path,
    start_picture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from diffusers import ControlNetModel

    from core.engine import TorchEngine
    from tests.fixtures.exported import Stand

    lines = {"Lines": ControlNetModel.from_pretrained(control).eval()}
    stand = Stand(tiny_model, tmp_path, size=(64, 64), control=True, nets=lines)
    folder = stand.write(tmp_path / "model")
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path / "cache", open_part=stand.open)

    def call(*words: str) -> list[Path]:
        options = ["--profile", str(tmp_path / "profile"), "--out", str(tmp_path / "out"), "--json"]
        status = cli.main([*words, *options], make_engine=lambda *_: engine)
        said = capsys.readouterr()
        assert status == 0, said.err
        events = [json.loads(line) for line in said.out.splitlines()]
        return [Path(event["path"]) for event in events if event["event"] == "image"]

    words = ("--model", str(folder), "--control", "lines", "--control-image", str(start_picture))
    words = (*words, "--width", "64", "--height", "64", "--steps", "2", "--seed", "5")
    weak, strong = call("grid", "a red circle", "--x", "control-weight=0,5", *words)
    assert not np.array_equal(pixels(weak), pixels(strong))
    recorded = read_metadata(strong)
    assert isinstance(recorded, Recorded)
    (use,) = recorded.request.controls
    assert use.path == str(folder / "controlnet" / "Lines.mlpackage")
    assert len(use.sha256) == 64
    (again,) = call("generate", "--from", str(strong))
    np.testing.assert_array_equal(pixels(again), pixels(strong))
    cli.main(["inspect", str(strong)])
    assert f"{use.path} follows {start_picture} at 5" in capsys.readouterr().out
