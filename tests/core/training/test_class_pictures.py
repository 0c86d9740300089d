"""A model draws as many pictures of a class as are asked for, whatever they look like."""

from __future__ import annotations

import shutil

import pytest

from core.engine import TorchEngine
from core.models.identify import identify
from core.request import DeviceName
from core.training.class_pictures import class_pictures
from core.training.config import Method
from tests.core.training.conftest import training


@pytest.fixture
def drawn(tiny_model, tmp_path):
    """Give the pictures of a class, drawn where they are not there."""
    config = training(Method.DREAMBOOTH, model=tiny_model, data=tmp_path, out=tmp_path / "out")

    def give():
        engine = TorchEngine(DeviceName.CPU, cache=tmp_path / "cache")
        steps = class_pictures(config, identify(tiny_model), "f" * 64, engine, tmp_path, 64)
        while True:
            try:
                next(steps)
            except StopIteration as finished:
                return finished.value

    return give


def test_pictures_that_look_alike_count_each(drawn):
    first = drawn()
    assert [(one.caption, one.width, one.height) for one in first] == [("a circle", 64, 64)] * 2
    shutil.copy(first[0].path, first[1].path)
    assert [one.sha256 for one in drawn()] == [first[0].sha256] * 2
