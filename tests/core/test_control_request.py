"""ControlNets in a request and on the command line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from core.cli_parser import build_parser
from core.commands.generate import settings_given
from core.errors import InvalidRequest
from core.grid import make_grid
from core.grid_axes import read_axis
from core.request import ControlUse, Preprocessor, TextToImage
from core.request_json import from_json, to_json


def use_of(**changes: Any) -> ControlUse:
    return ControlUse(**({"path": "canny", "image": "map.png"} | changes))


def request_of(*controls: ControlUse) -> TextToImage:
    return TextToImage(prompts=("a",), controls=controls)


def test_it_goes_to_json_and_back() -> None:
    request = request_of(
        use_of(preprocessor=Preprocessor.CANNY, low=30, high=90, weight=0.5, start=0.25, end=0.5),
        use_of(sha256="a" * 64, image_sha256="b" * 64),
    )
    written = json.loads(json.dumps(to_json(request)))
    assert written["controls"][0]["preprocessor"] == "canny"
    assert from_json(written) == request
    del written["controls"]  # as versions before this one wrote it
    assert from_json(written) == request_of()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"path": " "}, "controls.path"),
        ({"image": ""}, "controls.image"),
        ({"image": 3}, "controls.image"),
        ({"preprocessor": "canny"}, "controls.preprocessor"),
        ({"preprocessor": Preprocessor.CANNY, "low": -1}, "controls.low"),
        ({"preprocessor": Preprocessor.CANNY, "high": 2041}, "controls.high"),
        ({"preprocessor": Preprocessor.CANNY, "low": 90, "high": 80}, "controls.high"),
        ({"low": 50}, "controls.low"),
        ({"weight": float("nan")}, "controls.weight"),
        ({"weight": -0.1}, "controls.weight"),
        ({"weight": 11}, "controls.weight"),
        ({"start": -0.1}, "controls.start"),
        ({"end": 1.1}, "controls.end"),
        ({"start": 0.5, "end": 0.5}, "controls.end"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        use_of(**changes)
    assert raised.value.field == field
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "values",
    [
        "canny",
        ["canny"],
        [{"path": "canny"}],
        [{"path": "canny", "image": "x.png", "preprocessor": "depth"}],
        [{"path": "canny", "image": "x.png", "mystery": 1}],
    ],
)
def test_a_damaged_record_is_refused(values: object) -> None:
    with pytest.raises(InvalidRequest, match="controls"):
        from_json(to_json(request_of()) | {"controls": values})


def test_only_controls_are_taken() -> None:
    with pytest.raises(InvalidRequest, match="controls"):
        dataclasses.replace(request_of(), controls=[use_of()])  # type: ignore[arg-type]


def given(*words: str) -> dict[str, Any]:
    return settings_given(build_parser("stepwise", window=False).parse_args(["generate", *words]))


def test_options_belong_to_the_control_before_them() -> None:
    words = (
        *("a cat", "--control", "canny", "--control-image", r"C:\photo.png"),
        *("--control-preprocessor", "Canny", "--control-low", "50", "--control-high", "90"),
        *("--control", "my:depth", "--control-image", "depth.png", "--control-weight", "0.7"),
        *("--control-start", "0.1", "--control-end", "0.9"),
    )
    assert given(*words)["controls"] == (
        use_of(image=r"C:\photo.png", preprocessor=Preprocessor.CANNY, low=50, high=90),
        use_of(path="my:depth", image="depth.png", weight=0.7, start=0.1, end=0.9),
    )
    assert "controls" not in given("a cat")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--control-weight", "1"], "--control-weight belongs behind a --control"),
        (
            ["--control", "a", "--control-image", "b", "--control-image", "c"],
            "--control-image stands there twice for the control a",
        ),
        (["--control", "a", "--control-preprocessor", "depth"], "'depth' is none of none, canny"),
    ],
)
def test_wrong_usage_is_told(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        given("a cat", *words)
    assert raised.value.code == 2
    assert told in capsys.readouterr().err


def test_a_control_needs_a_picture() -> None:
    with pytest.raises(InvalidRequest, match="--control-image"):
        given("a cat", "--control", "canny")


def test_a_grid_varies_the_weight(tmp_path: Path) -> None:
    axis = read_axis("x", "control-weight=0,0.5")
    settings = {"prompts": ("a",), "controls": (use_of(), use_of(path="depth"))}
    grid = make_grid(axis, None, settings, lambda values: TextToImage(**values))
    weights = [[use.weight for use in cell.request.controls] for cell in grid.cells]
    assert weights == [[0, 0], [0.5, 0.5]]
    with pytest.raises(InvalidRequest, match="--control"):
        make_grid(axis, None, {"prompts": ("a",)}, lambda values: TextToImage(**values))
