import pytest

from core.models.clip_tokenizer.vocabulary import bundled_vocabulary
from coreml_export.tokenizer_files import Vocabulary, can_be_spelled

SIZE = 49408


@pytest.fixture
def vocabulary():
    numbers, pairs = bundled_vocabulary()
    return Vocabulary(numbers, pairs, SIZE)


def numbers_of(vocabulary, text):
    """Read a text as Apple's BPETokenizer does; what it does not know is the text's end."""
    end = vocabulary.numbers["<|endoftext|>"]
    return [
        vocabulary.numbers.get(piece, end)
        for word in text.lower().split()
        for piece in vocabulary.pieces(word)
    ]


def test_text_is_cut_as_clip_cuts_it(vocabulary):
    # The numbers are those of OpenAI's tokenizer for this text.
    assert numbers_of(vocabulary, "a photo of a cat") == [320, 1125, 539, 320, 2368]


@pytest.mark.parametrize("word", ["sks", "<cat-toy>", "Zwx9", "x"])
def test_learned_word_becomes_its_number(vocabulary, word):
    vocabulary.learn({word: 1})
    assert vocabulary.words == {word: (SIZE,)}
    assert numbers_of(vocabulary, f"a {word} at night") == [320, SIZE, 536, 930]


def test_word_of_several_vectors_is_as_many_words(vocabulary):
    vocabulary.learn({"<toy>": 3, "sks": 2})
    assert vocabulary.words == {"<toy>": (SIZE, SIZE + 1, SIZE + 2), "sks": (SIZE + 3, SIZE + 4)}
    assert numbers_of(vocabulary, "<toy> <toy>_1 <toy>_2") == [SIZE, SIZE + 1, SIZE + 2]
    assert numbers_of(vocabulary, "sks sks_1") == [SIZE + 3, SIZE + 4]


def test_other_words_are_cut_as_before_and_every_piece_has_a_number(vocabulary):
    words = ["a", "cat", "<cat", "<cats", "cat-toys", "toy", "skis", "tasks", "x", "<c"]
    before = {word: numbers_of(vocabulary, word) for word in words}
    vocabulary.learn({"<cat-toy>": 1, "sks": 1})
    changed = {word for word in words if numbers_of(vocabulary, word) != before[word]}
    # What begins as the learned word does meets tokens on the way to it, which mean their parts.
    assert changed <= {"<cat", "<cats"}
    end = vocabulary.numbers["<|endoftext|>"]
    assert not any(end in numbers_of(vocabulary, word) for word in words)
    for number, parts in vocabulary.between.items():
        assert max(parts) < number < vocabulary.rows


def test_numbers_follow_each_other_and_those_between_come_last(vocabulary):
    vocabulary.learn({"<cat-toy>": 2, "qqzz": 1})
    learned = [number for numbers in vocabulary.words.values() for number in numbers]
    assert [*learned, *vocabulary.between] == list(range(SIZE, vocabulary.rows))
    assert len(set(vocabulary.pairs)) == len(vocabulary.pairs)


@pytest.mark.parametrize(
    ("word", "can"),
    [("sks", True), ("<a-b>", True), ("größe", False), ("two words", False), ("#tag", False)],
)
def test_the_readers_spell_printable_ascii(vocabulary, word, can):
    assert can_be_spelled(word) is can
    pairs = list(vocabulary.pairs)
    vocabulary.learn({word: 1})
    assert vocabulary.words[word] == (SIZE,)
    assert can or vocabulary.pairs == pairs
