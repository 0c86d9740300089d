"""What is not as it was when a training began is told when it goes on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from core.errors import InvalidRequest
from core.training.material import compare_material, write_material
from core.training.showing import Example

EXAMPLES = [
    Example(path=Path(f"{name}.png"), caption=name, width=8, height=8, sha256=name * 8)
    for name in "abc"
]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "material.json"
    write_material(path, "models/star", "f" * 64, EXAMPLES)
    return path


def told(file, examples):
    return [notice.message for notice in compare_material(file, "f" * 64, examples)]


@pytest.mark.parametrize(
    "change",
    [{"caption": "d"}, {"sha256": "d"}, {"repeats": 2}, {"mask_sha256": "d"}],
)
def test_a_picture_that_changed_is_told(file, change):
    first, *others = EXAMPLES
    found = told(file, [dataclasses.replace(first, **change), *others])
    assert len(found) == 1
    assert found[0].startswith("1 picture or caption is not as when the training began;")


def test_pictures_that_came_and_went_are_counted(file):
    came = dataclasses.replace(EXAMPLES[0], path=Path("d.png"))
    assert told(file, [*EXAMPLES[1:], came])[0].startswith("2 pictures or captions are not")


def test_what_is_as_it_was_is_not_told(file):
    assert told(file, EXAMPLES[::-1]) == []


def test_another_model_under_the_same_name_is_refused(file):
    with pytest.raises(InvalidRequest, match=r"model: models/star has changed since"):
        list(compare_material(file, "e" * 64, EXAMPLES))


@pytest.mark.parametrize("text", [None, "", "[]", '{"pictures": 3}', "[" * 100_000])
def test_a_damaged_list_tells_nothing(file, text):
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    assert told(file, EXAMPLES[:1]) == []
