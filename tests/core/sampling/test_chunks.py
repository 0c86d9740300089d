"""Prompts cut into chunks; one letter is one token here, and a comma is a comma."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Unsupported
from core.sampling.chunks import COMMA_REACH, Chunk, cut, words_used

SIZE = 75


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text if not letter.isspace()]


def chunks_of(prompt: str, words: dict[str, int] | None = None) -> list[Chunk]:
    return cut(prompt, tokenize=letters, size=SIZE, words=words or {})


def texts(chunks: list[Chunk]) -> list[str]:
    return ["".join("#" if t.vector else chr(t.number) for t in chunk) for chunk in chunks]


def test_chunks_are_filled_one_after_the_other() -> None:
    assert texts(chunks_of("")) == [""]
    assert texts(chunks_of("a" * 75)) == ["a" * 75]
    assert texts(chunks_of("a" * 76)) == ["a" * 75, "a"]
    assert texts(chunks_of("a" * 151)) == ["a" * 75, "a" * 75, "a"]


def test_what_follows_the_last_comma_stays_together() -> None:
    far, near = 75 - COMMA_REACH - 1, 75 - COMMA_REACH
    assert texts(chunks_of("a" * far + "," + "b" * 30)) == ["a" * far + "," + "b" * 20, "b" * 10]
    assert texts(chunks_of("a" * near + "," + "b" * 30)) == ["a" * near + ",", "b" * 30]
    assert texts(chunks_of("a" * 75 + ",b")) == ["a" * 75, ",b"]
    assert texts(chunks_of("a" * 74 + ",b")) == ["a" * 74 + ",", "b"]


def test_a_break_ends_a_chunk() -> None:
    assert texts(chunks_of("a BREAK b")) == ["a", "b"]
    assert texts(chunks_of("BREAK b")) == ["", "b"]
    assert texts(chunks_of("a BREAK")) == ["a"]


def test_tokens_have_the_weights_of_their_brackets() -> None:
    (chunk,) = chunks_of("a(b:1.5)c")
    assert [token.weight for token in chunk] == [1, 1.5, 1]


def test_an_embedding_is_found_by_its_word() -> None:
    words = {"fox": 2, "fox-bad": 1, "<toy>": 1}

    def vectors(prompt: str) -> list[tuple[str, int] | None]:
        return [token.vector for chunk in chunks_of(prompt, words) for token in chunk]

    fox = [("fox", 0), ("fox", 1)]
    for prompt in ("fox", "FOX", "<fox>", "embedding:fox", "(fox:1.2)"):
        assert vectors(prompt) == fox
    assert vectors("a fox.") == [None, *fox, None]
    assert vectors("fox-bad <toy>") == [("fox-bad", 0), ("<toy>", 0)]
    assert vectors("foxy afox fox_2") == [None] * 13
    (chunk,) = chunks_of("(fox:1.2)", words)
    assert [token.weight for token in chunk] == [1.2, 1.2]


def test_an_embedding_is_never_cut_in_two() -> None:
    assert texts(chunks_of("a" * 73 + " fox", {"fox": 3})) == ["a" * 73, "###"]
    with pytest.raises(Unsupported, match="'fox' has 76 vectors"):
        chunks_of("fox", {"fox": 76})


@given(st.text(st.sampled_from("ab, ()[]:1."), max_size=400))
def test_no_token_is_lost(prompt: str) -> None:
    chunks = chunks_of(prompt)
    assert all(len(chunk) <= SIZE for chunk in chunks)
    whole = cut(prompt, tokenize=letters, size=10**6, words={})
    assert [t for chunk in chunks for t in chunk] == [t for chunk in whole for t in chunk]


@pytest.mark.parametrize(
    ("prompt", "used"),
    [
        ("a cat", {"cat"}),
        ("(Cat:1.2), <bad-hands>", {"cat", "bad-hands"}),
        ("concat, cats", set()),
        ("embedding:bad-hands", {"bad-hands"}),
        ("", set()),
    ],
)
def test_words_of_embeddings_are_found_in_a_prompt(prompt: str, used: set[str]) -> None:
    assert words_used(prompt, ("cat", "bad", "bad-hands")) == used
    assert words_used(prompt, ()) == frozenset()
