"""Words of the command line that have a form of their own."""

from __future__ import annotations

import pytest

from core.cli_parser import read_embedding_use, read_lora_use
from core.request import EmbeddingUse, LoraUse


@pytest.mark.parametrize(
    ("word", "path", "weight"),
    [
        ("fox.safetensors", "fox.safetensors", 1.0),
        ("fox.safetensors:0.8", "fox.safetensors", 0.8),
        ("fox:-1", "fox", -1.0),
        ("/a:b/fox.safetensors", "/a:b/fox.safetensors", 1.0),
        (r"C:\loras\fox.safetensors", r"C:\loras\fox.safetensors", 1.0),
        (r"C:\loras\fox.safetensors:.5", r"C:\loras\fox.safetensors", 0.5),
        ("C:5", "C:5", 1.0),
        ("fox:", "fox:", 1.0),
        (":5", ":5", 1.0),
        ("5", "5", 1.0),
        ("x" * 5000 + ":2", "x" * 5000, 2.0),
    ],
)
def test_a_lora_and_its_scale(word, path, weight):
    assert read_lora_use(word) == LoraUse(path=path, weight=weight)


def test_a_file_that_is_called_like_a_scale_is_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fox:2").touch()
    assert read_lora_use("fox:2") == LoraUse(path="fox:2")
    assert read_lora_use("fox:3") == LoraUse(path="fox", weight=3)
    (tmp_path / "a=b.pt").touch()
    assert read_embedding_use("a=b.pt") == EmbeddingUse(path="a=b.pt")


@pytest.mark.parametrize(
    ("word", "path", "token"),
    [
        ("fox.pt", "fox.pt", ""),
        ("wolf=fox.pt", "fox.pt", "wolf"),
        ("<my wolf>=/a=b/fox.pt", "/a=b/fox.pt", "<my wolf>"),
        ("/a=b/fox.pt", "/a=b/fox.pt", ""),
        (r"C:\a=b\fox.pt", r"C:\a=b\fox.pt", ""),
        ("=fox.pt", "=fox.pt", ""),
    ],
)
def test_an_embedding_and_its_word(word, path, token):
    assert read_embedding_use(word) == EmbeddingUse(path=path, token=token)
