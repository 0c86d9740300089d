"""The eyes that the tests of the starter model see with."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Make


@pytest.fixture(scope="session")
def recogniser(made_once: Callable[[str, Make], Path]):
    """What tells what a picture shows, trained once in a run."""
    from core.starter.recogniser import train_recogniser

    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / "recogniser").write_bytes(pickle.dumps(train_recogniser()))

    return pickle.loads((made_once("recogniser", make) / "recogniser").read_bytes())
