"""Which models lie in a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from core.models.found_files import models_in


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in models_in(folder)]


def test_a_file_or_a_model_is_itself(tiny_model, tmp_path):
    assert list(models_in(tiny_model)) == [tiny_model]
    other = tmp_path / "notes.doc"
    other.write_text("no model")
    assert list(models_in(other)) == [other]
    for nothing in (tmp_path / "gone", tmp_path / ("too long a name" * 30)):
        assert list(models_in(nothing)) == [nothing]


def test_a_folder_is_looked_through(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "sd" / "tiny")
    for name in (
        "b.safetensors",
        "a.CKPT",
        "a.preview.png",
        ".hidden.pt",
        ".git/c.safetensors",
        "loras/ink.safetensors",
        "loras/adapter/pytorch_lora_weights.safetensors",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    # As a web UI keeps its settings.
    (tmp_path / "config.json").write_text('{"samples_save": true}')
    assert names(tmp_path) == [
        "a.CKPT",
        "b.safetensors",
        "loras/adapter",
        "loras/ink.safetensors",
        "sd/tiny",
    ]


def test_a_part_that_is_used_by_itself_is_one(tiny_model, tmp_path):
    shutil.copytree(tiny_model / "vae", tmp_path / "vae")
    assert names(tmp_path) == ["vae"]


def test_nothing_to_add_gives_nothing(tmp_path):
    (tmp_path / "picture.png").write_bytes(b"")
    assert names(tmp_path) == []


def test_a_captioner_is_one(tmp_path):
    folder = tmp_path / "blip"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["BlipForConditionalGeneration"]}')
    (folder / "model.safetensors").write_bytes(b"")
    assert names(tmp_path) == ["blip"]
