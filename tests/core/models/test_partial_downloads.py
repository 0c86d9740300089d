"""A download that was stopped is called as it was asked for."""

from __future__ import annotations

import pytest

from core.models.hub import Repo
from core.models.partial_downloads import (
    discard_download,
    partial_downloads,
    partial_folder,
    source_of,
)
from core.models.repo_files import Variant

COMMIT = "c" * 40
REPO = Repo(id="o-1/n-2", commit=COMMIT, files=())


@pytest.mark.parametrize(
    "file",
    [
        None,
        "v1-5-pruned.safetensors",
        "model--fp16.safetensors",
        "a---b/c-/-d----e.safetensors",
        "-a.safetensors",
    ],
)
def test_its_id_comes_back(tmp_path, file):
    folder = partial_folder(tmp_path, source_of(REPO, file), Variant.FP16)
    folder.mkdir()
    wanted = f"o-1/n-2/{file}" if file else "o-1/n-2"
    assert [one.id for one in partial_downloads(tmp_path)] == [wanted]
    assert [one.path for one in discard_download(tmp_path, wanted)] == [folder]
    assert partial_downloads(tmp_path) == ()


def test_what_was_begun_under_a_plain_name_is_gone_on_with(tmp_path):
    source = f"o/n@{COMMIT}/sub/v1-5-pruned.safetensors"
    name = f".partial-o--n-{COMMIT}--sub--v1-5-pruned.safetensors-fp16"
    assert partial_folder(tmp_path, source, Variant.FP16) == tmp_path / name
