import pytest

from core.starter.tokenizer import MAX_LENGTH, write_tokenizer
from core.starter.world import vocabulary


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return write_tokenizer(vocabulary(), tmp_path_factory.mktemp("tokenizer"))


def test_every_word_of_the_grammar_is_one_token(tokenizer):
    for word in vocabulary():
        start, *middle, end = tokenizer(word).input_ids
        assert (start, end) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
        assert len(middle) == 1, word


@pytest.mark.parametrize(
    "text", ["", "Zürich", "日本 🦊", "don't 12 &*()", "naïve\tcafé\n", "x" * 500]
)
def test_any_text_tokenises_and_comes_back(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert max(ids) < len(tokenizer)
    assert tokenizer.unk_token_id not in ids[1:-1]
    assert (
        tokenizer.decode(ids, skip_special_tokens=True).split()
        == tokenizer.decode(
            tokenizer(tokenizer.decode(ids, skip_special_tokens=True)).input_ids,
            skip_special_tokens=True,
        ).split()
    )


def test_capitals_do_not_matter(tokenizer):
    assert tokenizer("A RED Circle").input_ids == tokenizer("a red circle").input_ids


def test_pads_and_cuts_to_the_length_of_stable_diffusion(tokenizer):
    encoded = tokenizer(["red", "red " * 200], padding="max_length", truncation=True).input_ids
    assert [len(ids) for ids in encoded] == [MAX_LENGTH, MAX_LENGTH]
    assert encoded[0][-1] == tokenizer.eos_token_id


def test_the_files_that_converted_models_need_are_there(tokenizer):
    from pathlib import Path

    folder = Path(tokenizer.name_or_path)
    assert (folder / "vocab.json").exists()
    assert (folder / "merges.txt").read_text(encoding="utf-8").startswith("#version")
