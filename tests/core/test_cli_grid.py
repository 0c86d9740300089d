import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core import cli
from core.errors import OutOfMemory
from core.events import ImageReady
from core.grid_sheet import read_sheet
from core.images.metadata import read_metadata
from core.models import catalog
from core.request import DeviceName

SMALL = ["--width", "32", "--height", "32"]


def no_engine(*_: object) -> None:
    raise AssertionError("an engine was made")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """One engine for all of this file's runs, so that the starter model is loaded once."""
    from core.engine import TorchEngine

    return TorchEngine(DeviceName.CPU, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def call(tmp_path, capsys, engine):
    """Carry out a command, and give its exit status, its events and what it said."""

    def run(*words: str, out: str = "out", make_engine=None):
        options = ["--profile", str(tmp_path / "profile"), "--json"]
        if words[0] != "inspect":
            options += ["--out", str(tmp_path / out)]
        if "--from" not in words and words[0] != "inspect":
            options += SMALL
        if words[0] == "grid" and not any("steps" in word for word in words):
            options += ["--steps", "2"]
        status = cli.main([*words, *options], make_engine=make_engine or (lambda *_: engine))
        captured = capsys.readouterr()
        return status, [json.loads(line) for line in captured.out.splitlines()], captured.err

    return run


def pixels(path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


def images(events) -> dict[tuple[int, int], Path]:
    return {(e["column"], e["row"]): Path(e["path"]) for e in events if e["event"] == "image"}


def test_a_grid_saves_each_cell_and_one_sheet_that_says_what_it_shows(call, tmp_path):
    words = ["--x", "guidance=1,3", "--y", "prompt=a red circle|a blue square|a star"]
    status, events, err = call("grid", *words, "--seed", "7")
    assert (status, err) == (0, "")
    cells = images(events)
    assert sorted(cells) == [(c, r) for c in range(2) for r in range(3)]
    assert [e["event"] for e in events[-2:]] == ["finished", "saved"]
    assert events[-2]["pictures"] == 6
    sheet = Path(events[-1]["path"])
    assert sheet.name.endswith("-grid-guidance-prompt.png")
    assert sorted(tmp_path.joinpath("out").iterdir()) == sorted([*cells.values(), sheet])
    record = read_sheet(sheet)
    assert record["x"] == {"name": "guidance", "values": ["1", "3"]}
    assert record["y"]["values"] == ["a red circle", "a blue square", "a star"]
    assert record["cells"][2][1] == cells[1, 2].name
    assert record["settings"]["seed"] == "7"
    status, (found,), _ = call("inspect", str(sheet))
    assert (status, found["source"], found["x"]["name"]) == (0, "grid", "guidance")
    for (column, row), path in cells.items():
        made = read_metadata(path)
        assert (made.seed, made.request.guidance_of(made.picture)) == (7, [1, 3][column])
        assert made.request.prompt_of(made.picture) == record["y"]["values"][row]


@pytest.mark.parametrize(
    ("words", "together"),
    [
        (["--x", "prompt=a red circle|a blue square", "--y", "scheduler=ddim,euler-a"], 2),
        (["a star", "--x", "guidance=2,7", "--y", "negative=|a red {circle|square}"], 4),
    ],
)
def test_every_cell_is_made_again_bit_for_bit_also_from_a_batch(call, words, together):
    _, events, _ = call("grid", *words, "--seed", "7")
    steps = [event for event in events if event["event"] == "step"]
    assert {len(step["pictures"]) for step in steps} == {together}
    assert steps[0]["cells"][:2] == [{"column": 0, "row": 0}, {"column": 1, "row": 0}]
    for path in images(events).values():
        status, again, err = call("generate", "--from", str(path), out="again")
        assert status == 0, err
        (image,) = [e for e in again if e["event"] == "image"]
        assert Path(image["path"]).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        ["--x", "prompt=a circle|a star"],
        ["a star", "--x", "guidance=1,2"],
        ["a star", "--x", "guidance=2,3,7.5"],
        ["a star", "--x", "negative=a red {circle|square}|fog"],
        ["a star", "--x", "seed=6,9"],
        ["a star", "--y", "scheduler=ddim,dpm++sde"],
    ],
    ids=lambda words: words[-1],
)
@pytest.mark.parametrize("together", [True, False], ids=["together", "one by one"])
def test_a_cell_is_what_generate_makes_alone(call, words, together):
    seed = [] if "seed=6,9" in words else ["--seed", "7"]
    _, events, err = call("grid", *words, *seed, *([] if together else ["--batch", "1"]))
    assert err == ""
    last = Path([e for e in events if e["event"] == "image"][-1]["path"])
    made = read_metadata(last)
    request = made.request.alone(made.picture)
    options = ["--steps", "2", "--guidance", str(request.guidance_scale)]
    options += ["--scheduler", request.scheduler, "--seed", str(request.seed)]
    options += ["--negative", request.negative_prompt]
    _, alone, _ = call("generate", "a star", *options, out="alone")
    (image,) = [e for e in alone if e["event"] == "image"]
    off = np.abs(pixels(image["path"]).astype(int) - pixels(last)).max()
    # Sums of floats differ in the last bits between batch sizes.
    assert off <= (1 if together else 0)


def test_the_same_text_is_encoded_once(call, engine, monkeypatch):
    from core.sampling import text

    encoded = []
    encode = text._encode

    def noted(components, chunk, vectors):
        encoded.append(components.tokenizer.decode([token.number for token in chunk]).strip())
        return encode(components, chunk, vectors)

    monkeypatch.setattr(text, "_encode", noted)
    words = ["--x", "prompt=new one|new two", "--y", "guidance=2,3,4", "--negative", "new three"]
    assert call("grid", *words)[0] == 0
    assert sorted(encoded) == ["new one", "new three", "new two"]


def test_a_count_lays_seeds_along_the_free_side(call):
    _, events, _ = call("grid", "a star", "--y", "guidance=1,2", "--count", "3", "--seed", "7")
    assert {at: read_metadata(path).seed for at, path in images(events).items()} == {
        (column, row): 7 + column for column in range(3) for row in range(2)
    }


def test_a_picture_of_ours_can_be_varied(call, start_picture):
    words = ["a star", "--init", str(start_picture), "--seed", "7"]
    _, (*_, image, _finished), _ = call("generate", *words, "--steps", "4")
    words = ["--from", image["path"], "--x", "strength=0.5,1"]
    status, events, err = call("grid", *words, "--steps", "4", out="varied")
    assert status == 0, err
    for (column, _), path in images(events).items():
        made = read_metadata(path)
        assert (made.seed, made.request.strength) == (7, [0.5, 1][column])
        assert (made.request.width, made.request.prompts) == (32, ("a star",))


class Stopping:
    """The engine until so many pictures are ready; then what is raised stops it."""

    def __init__(self, engine, after: int, error: BaseException) -> None:
        self.engine, self.left, self.error = engine, after, error

    def generate(self, *arguments, **options):
        for event in self.engine.generate(*arguments, **options):
            if isinstance(event, ImageReady):
                if not self.left:
                    raise self.error
                self.left -= 1
            yield event


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), cli.INTERRUPTED, "Stopped; kept: 2 of 3 pictures"),
        (cli.Terminated(), cli.TERMINATED, "Stopped; kept: 2 of 3 pictures"),
        (OutOfMemory("It is too large; make it smaller."), cli.FAILED, "too large"),
    ],
    ids=["ctrl-c", "sigterm", "error"],
)
def test_a_run_that_is_stopped_keeps_a_sheet_of_what_there_is(call, engine, error, status, said):
    stopping = Stopping(engine, 2, error)
    words = ["a star", "--x", "guidance=1,2,3", "--seed", "7"]
    ended, events, err = call("grid", *words, make_engine=lambda *_: stopping)
    assert ended == status
    assert said in err
    assert err.count("\n") == 1
    assert len(images(events)) == 2
    assert events[-1]["event"] == "saved"
    assert events[-1]["pictures"] == 2
    cells = read_sheet(Path(events[-1]["path"]))["cells"]
    assert [file is None for file in cells[0]] == [False, False, True]


def test_a_run_stopped_before_any_picture_leaves_nothing(call, engine, tmp_path):
    stopping = Stopping(engine, 0, KeyboardInterrupt())
    ended, _, err = call("grid", "a", "--x", "seed=1,2", make_engine=lambda *_: stopping)
    assert (ended, err) == (cli.INTERRUPTED, "Stopped; no picture was finished.\n")
    assert not list((tmp_path / "out").iterdir())


NONSENSE = [
    (["a", "--x", "colour=red"], "--x: 'colour=red' is not NAME"),
    (["a", "--x", "steps=4", "--y", "steps=5"], "both axes"),
    (["a", "--y", "steps=4,,5"], "--y steps: has an empty value"),
    (["a", "--x", "seed=1..100", "--y", "steps=1..100"], "10000 pictures"),
    (["a", "--x", "guidance=1,101"], "--x guidance: 101"),
    (["a", "--x", "strength=0.5,1"], "add --init"),
    (["a", "--x", "init=no-such.png"], "no-such.png"),
    (["a", "--x", "model=starter,no-such-model"], "no-such-model"),
    (["a", "--x", "vae=|no-such-vae"], "There is no VAE 'no-such-vae'"),
    (["a", "--x", "lora-weight=0,1", "--lora", "no-such-lora"], "There is no LoRA 'no-such-lora'"),
    (
        ["a", "--x", "seed=1,2", "--control", "no-such-net", "--control-image", "no.png"],
        "There is no ControlNet 'no-such-net'",
    ),
    (["a", "--guidance", "2", "--x", "guidance=1,3"], "--x guidance: is given for all"),
    (["a", "--x", "prompt=b|c"], "leave out one"),
    (["a", "--x", "seed=1,2", "--count", "2"], "count: "),
    (["--from", "no-such.png", "--x", "seed=1,2"], "no-such.png"),
]


@pytest.mark.parametrize(("words", "reason"), NONSENSE, ids=[" ".join(w)[:40] for w, _ in NONSENSE])
def test_nonsense_gets_one_sentence_before_anything_is_loaded(call, words, reason):
    status, events, err = call("grid", *words, make_engine=no_engine)
    assert (status, events) == (1, [])
    assert reason in err
    assert err.count("\n") == 1


def test_a_scheduler_that_the_model_cannot_use_is_refused_first(call, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(catalog.resolve("starter"), model)
    path = model / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": "sample"}))
    words = ["a", "--model", str(model), "--x", "scheduler=ddim,euler-a"]
    status, _, err = call("grid", *words, make_engine=no_engine)
    assert status == 1
    assert "cannot use the scheduler euler-a" in err


@pytest.mark.parametrize(
    "words", [["a"], ["--x", "steps=2,3"], ["a", "b", "--x", "seed=1,2"]], ids=" ".join
)
def test_a_wrong_usage_ends_with_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["grid", *words], make_engine=no_engine)
    assert caught.value.code == 2
    assert "usage: " in capsys.readouterr().err


def test_a_person_sees_the_cells_the_time_left_and_the_paths(engine, tmp_path, capsys):
    folders = ["--out", str(tmp_path / "out"), "--profile", str(tmp_path / "profile")]
    words = ["grid", "a star", "--x", "guidance=1,2", "--steps", "2", *SMALL, *folders]
    assert cli.main(words, make_engine=lambda *_: engine) == 0
    captured = capsys.readouterr()
    paths = captured.out.splitlines()
    assert len(paths) == 3
    assert sorted(map(Path, paths)) == sorted((tmp_path / "out").iterdir())
    assert "-grid-guidance" in paths[-1]
    for said in ("The seed is", "cell 2 of 2, step 2/2", "2 pictures in", "100%"):
        assert said in captured.err


def test_a_picture_or_a_broken_record_is_no_sheet(start_picture, tmp_path):
    assert read_sheet(start_picture) is None
    for number, text in enumerate(("", "[]", "{}", '{"version": 1, "x": 3}', "[" * 9999)):
        info = PngInfo()
        info.add_text("stepwise-grid", text)
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (8, 8)).save(path, pnginfo=info)
        assert read_sheet(path) is None
