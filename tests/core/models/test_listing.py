"""What a list of the models shows."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from core.models import catalog, curated
from core.models.library import Library
from core.models.library_events import Added
from core.models.listing import Listed, listing
from core.models.safetensors_header import TensorInfo
from core.models.verdict import Kind
from core.request import SchedulerName
from tests.fixtures.layouts import write_stripped


def put(shelf: Library, path: Path, **options: str) -> None:
    *_, added = shelf.add(path, **options)
    assert isinstance(added, Added)


def rows(shelf: Library) -> dict[str, Listed]:
    return {row.name: row for row in listing(shelf)}


def embedding(path: Path, metadata: dict[str, str] | None = None) -> Path:
    return write_stripped(path, {"emb_params": TensorInfo("F32", (2, 768))}, metadata)


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "mine"))


def test_the_model_that_ships_is_always_there(shelf):
    (starter,) = listing(shelf)
    assert (starter.name, starter.shipped, starter.missing) == ("starter", True, False)
    assert starter.card == catalog.card("starter")
    assert starter.size == sum(p.stat().st_size for p in starter.path.rglob("*.safetensors"))
    assert starter.licence == "apache-2.0"


def test_a_model_of_the_library_brings_its_card(shelf, model):
    put(shelf, model)
    row = rows(shelf)["mine"]
    assert (row.kind, row.missing, row.owned, row.refused) == (Kind.MODEL, False, False, "")
    assert row.card == dataclasses.replace(catalog.card(str(model)), name="mine", title="mine")


def test_a_model_from_our_own_list_has_its_licence_and_settings(shelf, model):
    known = curated.find("bk-sdm-tiny")
    assert known is not None
    put(shelf, model, source=f"{known.repo}@{'0' * 40}")
    row = rows(shelf)["bk-sdm-tiny"]
    assert row.licence == known.licence
    assert row.card is not None
    assert row.card.scheduler is SchedulerName.DPMPP_2M_KARRAS
    assert catalog.card(str(model)).scheduler is SchedulerName.PNDM


def test_what_is_gone_is_listed_as_missing(shelf, model):
    put(shelf, model)
    shutil.rmtree(model)
    row = rows(shelf)["mine"]
    assert (row.missing, row.card, row.refused) == (True, None, "")


def test_a_model_that_is_not_run_says_why(shelf, model):
    put(shelf, model)
    (model / "model_index.json").write_text("{")
    broken = rows(shelf)["mine"]
    assert broken.card is None
    assert "model_index.json" in broken.refused


def test_other_kinds_have_no_card_and_the_licence_of_their_file(shelf, tmp_path):
    put(shelf, embedding(tmp_path / "ink.safetensors", {"modelspec.license": "CC0  1.0"}))
    row = rows(shelf)["ink"]
    assert (row.kind, row.family, row.card, row.refused) == (Kind.EMBEDDING, "sd1", None, "")
    assert row.licence == "CC0 1.0"
    row.path.unlink()
    assert rows(shelf)["ink"].licence == ""
