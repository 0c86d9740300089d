"""The list of models survives kills, several writers, older and later versions, and damage."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.errors import ModelInvalid, SaveFailed
from core.models import library_file
from core.models.library_file import Entry, LibraryFile, WeightFile
from core.models.verdict import Kind

ROOT = Path(__file__).parents[3]


def entry(name: str, path: Path, *, owned: bool = False) -> Entry:
    return Entry(
        name=name,
        title="A LoRA",
        kind=Kind.LORA,
        family="sd1",
        path=path,
        owned=owned,
        files=(WeightFile(name="", size=3, sha256="ab" * 32),),
        sha256="ab" * 32,
        source="a/b@c",
        added="2026-01-01",
    )


@pytest.fixture
def file(tmp_path: Path) -> LibraryFile:
    return LibraryFile(tmp_path / "data" / "library.json", tmp_path / "data" / "models")


def test_entries_come_back_as_they_were(file, tmp_path):
    odd = Path("/odd/\udcff name/ü")
    one = dataclasses.replace(entry("one", odd), precision="bf16")
    two = entry("two", tmp_path / "data/models/two/a.safetensors", owned=True)
    with file.changing() as entries:
        entries["one"], entries["two"] = one, two
    assert file.read() == (one, two)
    assert one.autov2 == "ab" * 5


def test_an_entry_of_before_precisions_were_noted_is_read(file, tmp_path):
    with file.changing() as entries:
        entries["one"] = entry("one", tmp_path / "one.safetensors")
    path = tmp_path / "data/library.json"
    values = json.loads(path.read_text())
    del values["models"][0]["precision"]
    path.write_text(json.dumps(values))
    assert file.read()[0].precision == ""


def test_owned_models_move_with_the_data_folder(file, tmp_path):
    path = tmp_path / "data/models/two/a.safetensors"
    with file.changing() as entries:
        entries["two"] = entry("two", path, owned=True)
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = LibraryFile(tmp_path / "moved/library.json", tmp_path / "moved/models")
    assert moved.read()[0].path == tmp_path / "moved/models/two/a.safetensors"


def test_what_cannot_be_looked_at_is_missing():
    path = Path("/" + "x" * 300)
    assert entry("one", path).missing() == (path,)


def test_an_error_within_a_change_changes_nothing(file):
    def change() -> None:
        with file.changing() as entries:
            entries["one"] = entry("one", Path("/one"))
            entries.pop("none")

    with pytest.raises(KeyError):
        change()
    assert file.read() == ()


def test_a_change_of_nothing_writes_nothing(file, tmp_path):
    with file.changing():
        pass
    assert not (tmp_path / "data/library.json").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"version": true, "models": []}',
        '{"version": 1}',
        '{"version": 1, "models": [{}]}',
        '{"version": 1, "models": [7]}',
        "[" * 100_000,
    ],
)
def test_a_damaged_file_is_named_and_left_alone(file, tmp_path, text):
    path = tmp_path / "data/library.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ModelInvalid, match=r"library\.json cannot be read"):
        file.read()
    with pytest.raises(ModelInvalid), file.changing():
        pass
    assert path.read_text() == text


def test_a_size_that_is_no_number_is_a_damaged_file(file, tmp_path):
    with file.changing() as entries:
        entries["one"] = entry("one", Path("/one"))
    path = tmp_path / "data/library.json"
    value = json.loads(path.read_text())
    value["models"][0]["files"][0]["size"] = math.inf
    path.write_text(json.dumps(value))
    with pytest.raises(ModelInvalid, match="makes no sense"):
        file.read()


def test_a_later_version_is_named_and_left_alone(file, tmp_path):
    path = tmp_path / "data/library.json"
    path.parent.mkdir()
    path.write_text('{"version": 2, "models": []}')
    with pytest.raises(ModelInvalid, match="later version"):
        file.read()


def test_an_older_version_is_migrated_and_kept_beside_the_new_one(file, tmp_path):
    with file.changing() as entries:
        entries["one"] = entry("one", Path("/one"))
    path = tmp_path / "data/library.json"
    old = path.read_text()

    def shout(values):
        models = [model | {"title": model["title"].upper()} for model in values["models"]]
        return values | {"models": models}

    newer = LibraryFile(path, tmp_path / "data/models", migrations=(shout,))
    assert newer.read()[0].title == "A LORA"
    assert path.read_text() == old
    with newer.changing() as entries:
        entries["two"] = entry("two", Path("/two"))
    assert json.loads(path.read_text())["version"] == 2
    assert path.with_name("library.json.bak").read_text() == old
    with newer.changing() as entries:
        del entries["two"]
    assert path.with_name("library.json.bak").read_text() == old


def test_a_writer_that_never_ends_is_named(file, tmp_path, monkeypatch):
    monkeypatch.setattr(library_file, "LOCK_SECONDS", 0.05)
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with file.changing():
            inside.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    try:
        with pytest.raises(SaveFailed, match="Another Stepwise"), file.changing():
            pass
    finally:
        done.set()
        thread.join()


WRITER = """
import sys, pathlib
from core.models.library_file import LibraryFile
from tests.core.models.test_library_file import entry
folder, mark, count = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
file = LibraryFile(folder / "library.json", folder / "models")
print("ready", flush=True)
for number in range(count):
    with file.changing() as entries:
        entries[f"{mark}{number}"] = entry(f"{mark}{number}", pathlib.Path("/x") / mark)
"""


def writer(folder: Path, mark: str, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), mark, str(count)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )


def test_two_processes_undo_nothing_of_each_other(file, tmp_path):
    folder = tmp_path / "data"
    with writer(folder, "a", 25) as first, writer(folder, "b", 25) as second:
        assert (first.wait(), second.wait()) == (0, 0)
    names = {e.name for e in file.read()}
    assert names == {f"{mark}{number}" for mark in "ab" for number in range(25)}


def test_a_killed_writer_leaves_a_whole_file(file, tmp_path):
    folder = tmp_path / "data"
    known: set[str] = set()
    for round_number, milliseconds in enumerate((5, 17, 31)):
        with writer(folder, f"r{round_number}-", 100_000) as process:
            process.stdout.readline()
            threading.Event().wait(milliseconds / 1000)
            process.kill()
        names = {e.name for e in file.read()}
        assert known <= names
        known = names
        with file.changing() as entries:
            entries["after"] = entry("after", Path("/after"))
