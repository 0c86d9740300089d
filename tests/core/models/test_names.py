"""Files found by path or by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ModelMissing
from core.models.names import locate, no_names


def test_a_path_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"fox": tmp_path / "lib" / "fox.safetensors"}
    assert locate("fox", names.get, "LoRA") == tmp_path / "lib" / "fox.safetensors"
    (tmp_path / "fox").touch()
    assert locate("fox", names.get, "LoRA") == tmp_path / "fox"


@pytest.mark.parametrize("name", ["fox", "/nowhere/fox.safetensors", "x" * 5000])
def test_what_is_not_there_is_said(name: str) -> None:
    with pytest.raises(ModelMissing, match=r"(?s)LoRA .*\.$"):
        locate(name, no_names, "LoRA")
