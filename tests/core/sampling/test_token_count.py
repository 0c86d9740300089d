"""Prompts are counted as the model that reads them cuts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.models import catalog
from core.models.clip_tokenizer.bundled import bundled_tokenizer
from core.sampling.token_count import TokenCount, TokenCounter

TEXTS = (
    "",
    "a red circle on a blue background",
    "it's  a cat,\nisn't it? 1234 \N{GRINNING FACE}",
    "e\N{COMBINING ACUTE ACCENT} \N{SUPERSCRIPT TWO}",
    "\u6f22\u5b57 snake_case <|endoftext|> co-op...",
)


@pytest.mark.parametrize("text", TEXTS)
def test_a_single_file_is_counted_by_clips_own_vocabulary(tmp_path: Path, text: str) -> None:
    tokenizer = bundled_tokenizer("!")
    expected = tokenizer.tokenize(text)
    assert TokenCounter(tmp_path / "model.safetensors").tokens(text) == expected


@pytest.mark.parametrize("text", TEXTS)
def test_a_folder_is_counted_by_its_own(text: str) -> None:
    from transformers import CLIPTokenizer

    folder = catalog.resolve("starter")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    expected = tokenizer.tokenize(text)
    assert TokenCounter(folder).tokens(text) == expected


def test_marks_are_no_tokens_and_long_prompts_have_several_blocks(tmp_path: Path) -> None:
    counter = TokenCounter(tmp_path)
    assert counter.count("") == TokenCount(0, 1)
    assert counter.count("(cat:1.3) [dog] <lora:fur:0.5>") == TokenCount(2, 1)
    assert counter.count("{cat|dog}") == TokenCount(1, 1)
    assert counter.count("cat BREAK dog") == TokenCount(2, 2)
    assert counter.count("cat " * 96) == TokenCount(96, 2)
    assert counter.count("<lora:x:y>").tokens > 0


def test_a_vocabulary_in_one_file(tmp_path: Path) -> None:
    own = catalog.resolve("starter") / "tokenizer"
    lines = (own / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
    (tmp_path / "tokenizer").mkdir()
    for merges in (lines, [line.split() for line in lines]):
        text = json.dumps({"model": {"merges": merges}})
        (tmp_path / "tokenizer" / "tokenizer.json").write_text(text, encoding="utf-8")
        expected = TokenCounter(own.parent).count(TEXTS[1])
        assert TokenCounter(tmp_path).count(TEXTS[1]) == expected


@pytest.mark.parametrize("text", ["[]", "{", '{"model": {"merges": [5]}}', '{"model": {}}'])
def test_damaged_merges_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text(text)
    with pytest.raises(ValueError, match=r"merges|Expecting"):
        TokenCounter(tmp_path)
    (tmp_path / "tokenizer" / "merges.txt").write_text("a b c")
    with pytest.raises(ValueError, match=r"unpack"):
        TokenCounter(tmp_path)


def test_a_folder_without_a_vocabulary_cannot_be_counted(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    with pytest.raises(OSError, match=r"tokenizer\.json"):
        TokenCounter(tmp_path)
