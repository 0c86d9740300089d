"""A refiner by the command line: from the words to the record, and in other programs' pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core import cli
from core.images.infotext import parse_infotext
from core.images.metadata import Recorded, read_metadata
from core.models import catalog
from core.models.library import Library
from core.paths import Profile
from core.request import DeviceName, TextToImage

SIZE = ("--steps", "5", "--width", "64", "--height", "64", "--seed", "5")


@pytest.fixture
def library(
    tmp_path: Path, tiny_xl_model: Path, tiny_refiner: Path, monkeypatch: pytest.MonkeyPatch
) -> Library:
    """Knows the two models as ``big`` and ``fine``."""
    monkeypatch.setattr(catalog, "_shelf", None)
    found = Library(Profile(tmp_path / "profile"))
    for name, path in (("big", tiny_xl_model), ("fine", tiny_refiner)):
        list(found.add(path, name=name))
    return found


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from core.engine import TorchEngine

    return TorchEngine(DeviceName.CPU, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def call(
    tmp_path: Path, library: Library, engine: Any, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Carry out a command; give its status and what it said."""

    def run(*words: str) -> tuple[int, str, str]:
        profile = ("--profile", str(tmp_path / "profile"))
        status = cli.main([*words, *profile], make_engine=lambda *_: engine)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture
def made(call: Any, tmp_path: Path) -> Callable[..., tuple[Path, list[dict[str, Any]]]]:
    """Make one picture; give its path and the events."""

    def make(*words: str, out: str = "out") -> tuple[Path, list[dict[str, Any]]]:
        status, said, err = call("generate", *words, "--out", str(tmp_path / out), "--json")
        assert status == 0, err
        events = [json.loads(line) for line in said.splitlines()]
        (path,) = [Path(event["path"]) for event in events if event["event"] == "image"]
        return path, events

    return make


def request_in(path: Path) -> TextToImage:
    found = read_metadata(path)
    assert isinstance(found, Recorded)
    return found.request


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


def test_a_picture_says_which_refiner_took_over_and_is_made_again(
    made: Any, call: Any, tiny_refiner: Path
) -> None:
    words = ("a red circle", "--model", "big", *SIZE, "--refiner-start", "0.6")
    path, _ = made(*words, "--refiner", "fine")
    request = request_in(path)
    assert (request.refiner, request.refiner_start) == ("fine", 0.6)
    by_path, _ = made(*words, "--refiner", str(tiny_refiner), out="by-path")
    np.testing.assert_array_equal(pixels(by_path), pixels(path))
    assert request_in(by_path).refiner == str(tiny_refiner.resolve())
    again, _ = made("--from", str(path), out="again")
    assert again.read_bytes() == path.read_bytes()

    with Image.open(path) as picture:
        said = parse_infotext(picture.info["parameters"]).parameters
    assert said["Refiner"] == f"fine [{request.refiner_sha256[:10]}]"
    _, told, _ = call("inspect", str(path))
    assert f"Refiner: fine from 0.6 on, hash {request.refiner_sha256[:12]}" in told.splitlines()
    _, told, _ = call("inspect", str(path), "--json")
    assert json.loads(told)["refiner"]["start"] == 0.6

    plain, _ = made("a red circle", "--model", "big", *SIZE, out="plain")
    without, _ = made("--from", str(path), "--refiner", "", out="without")
    np.testing.assert_array_equal(pixels(without), pixels(plain))
    assert not np.array_equal(pixels(plain), pixels(path))
    _, told, _ = call("inspect", str(plain))
    assert "Refiner" not in told
    later, _ = made("--from", str(path), "--refiner-start", "0.3", out="later")
    assert request_in(later).refiner_start == 0.3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--refiner-start", "0.8"], "--refiner-start: needs a refiner; add --refiner."),
        (["--refiner", "fine", "--refiner-start", "1.2"], "--refiner-start: 1.2 must be a number"),
        (["--refiner", "fine", "--refiner-start", "1"], "--refiner-start: 1 leaves no step"),
        (["--refiner", "big"], "is no SDXL refiner (SDXL model)"),
        (["--refiner", "none"], "no model 'none'"),
        (["--refiner", "fine", "--model", "starter"], "goes with SDXL base models"),
        (["--model", "fine"], "which works over a start picture"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(words: list[str], told: str, call: Any) -> None:
    status, _, err = call("generate", "a", "--json", "--model", "big", *SIZE, *words)
    assert status == 1
    assert told in err
    assert err.count("\n") == 1


def test_a_start_beside_a_picture_without_a_refiner_is_refused(made: Any, call: Any) -> None:
    path, _ = made("a", "--model", "big", *SIZE)
    status, _, err = call("generate", "--from", str(path), "--refiner-start", "0.5")
    assert status == 1
    assert "--refiner-start: needs a refiner" in err


def test_a_grid_compares_starts_and_none_at_all(call: Any, tmp_path: Path) -> None:
    options = (*SIZE, "--out", str(tmp_path / "grid"), "--json")
    words = ("grid", "a red circle", "--model", "big", *options)
    status, _, err = call(*words, "--refiner", "fine", "--x", "refiner-start=0.3,0.6")
    assert status == 0, err
    starts = {request_in(path).refiner_start for path in _cells(tmp_path / "grid")}
    assert starts == {0.3, 0.6}
    status, _, err = call(*words, "--refiner-start", "0.3", "--x", "refiner=|fine")
    assert status == 0, err
    refiners = [request_in(path).refiner for path in _cells(tmp_path / "grid")]
    assert sorted(refiners) == ["", "fine", "fine", "fine"]
    status, _, err = call(*words, "--x", "refiner=big,fine")
    assert (status, "is no SDXL refiner" in err) == (1, True)
    assert len(_cells(tmp_path / "grid")) == 4


def _cells(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if isinstance(read_metadata(path), Recorded)]


def foreign(folder: Path, model_hash: str, **pairs: str) -> Path:
    said = {"Steps": "5", "Sampler": "Euler", "Seed": "5", "Size": "64x64",
            "Model": "big", "Model hash": model_hash}  # fmt: skip
    info = PngInfo()
    last = ", ".join(f"{key}: {value}" for key, value in (said | pairs).items())
    info.add_text("parameters", f"a red circle\n{last}")
    path = folder / "foreign.png"
    Image.new("RGB", (64, 64)).save(path, pnginfo=info)
    return path


@pytest.mark.parametrize(
    ("refiner", "honoured", "lost"),
    [
        ("sd_xl_refiner [HASH]", True, ""),
        ("fine", True, ""),
        ("fine [0123456789]", True, "The refiner fine (hash 0123456789) is in the library with"),
        ("other [0123456789]", False, "The refiner other (hash 0123456789) is not in the library"),
        ("big", False, "The refiner big is no SDXL refiner in the library and is not used."),
    ],
)
def test_another_programs_refiner_is_found_in_the_library(
    refiner: str, honoured: bool, lost: str, made: Any, call: Any, library: Library, tmp_path: Path
) -> None:
    digits = {name: library.get(name).sha256[:10] for name in ("big", "fine")}
    title = refiner.replace("HASH", digits["fine"])
    picture = foreign(tmp_path, digits["big"], **{"Refiner": title, "Refiner switch at": "0.6"})
    path, events = made("--from", str(picture))
    request = request_in(path)
    assert request.refiner == ("fine" if honoured else "")
    assert request.refiner_start == (0.6 if honoured else 0.8)
    said = [event["message"] for event in events if event["event"] == "notice"]
    about = [sentence for sentence in said if sentence.startswith("The refiner")]
    assert [sentence.startswith(lost) for sentence in about] == ([True] if lost else [])
    _, told, _ = call("inspect", str(picture))
    assert f"Refiner: {title.partition(' ')[0]} from 0.6 on" in told
    assert ("Not honoured: The refiner" in told) == bool(lost)
