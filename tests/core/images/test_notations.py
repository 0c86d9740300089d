import pytest

from core.images.notations import Notation, embeddings_in, in_ours
from core.sampling.prompt_syntax import parse


def read(prompt: str, notation: Notation) -> list[tuple[str, float]]:
    (segments,) = parse(in_ours(prompt, notation))
    return [(segment.text, segment.weight) for segment in segments]


@pytest.mark.parametrize("notation", Notation)
def test_a_prompt_without_marks_stays_as_it_is(notation):
    text = "a well-known cat, 1girl. Two + two: 4"
    assert in_ours(text, notation) == text
    assert embeddings_in(notation, text) == ()


@pytest.mark.parametrize(
    ("prompt", "runs"),
    [
        ("a {{cat}}", [("a ", 1.0), ("cat", 1.103)]),
        ("[dog", [("[dog", 1.0)]),
        ("a} b", [("a} b", 1.0)]),
        ("{a [b}", [("{a [b}", 1.0)]),
        ("{a [b]}", [("a ", 1.05), ("b", 1.0)]),
        ("1.5::red, 0.5::blue:: x", [("red, ", 1.5), ("blue", 0.5), (" x", 1.0)]),
        ("{2::a} b", [("a", 2.1), (" b", 1.0)]),
        ("-1::hat", [("hat", -1.0)]),
        (r"(a:2) \\x", [(r"(a:2) \\x", 1.0)]),
    ],
)
def test_the_weights_of_novelai(prompt, runs):
    assert read(prompt, Notation.NOVELAI) == runs


@pytest.mark.parametrize(
    ("prompt", "runs"),
    [
        ("cat++ dog-", [("cat", 1.21), (" ", 1.0), ("dog", 0.9)]),
        ("(a (b)0.5)2", [("a ", 2.0), ("b", 1.0)]),
        ("(plain) a", [("plain a", 1.0)]),
        (r"\(a\)++", [("(a)++", 1.0)]),
        ("(a", [("(a", 1.0)]),
        ("a) [b]", [("a) [b]", 1.0)]),
        ("(a)3d", [("a3d", 1.0)]),
        ("<x>+", [("x", 1.1)]),
    ],
)
def test_the_weights_of_invokeai(prompt, runs):
    assert read(prompt, Notation.INVOKEAI) == runs


def test_in_comfyui_square_brackets_weigh_nothing():
    assert read(r"(a:1.3) [b] \(c\)", Notation.COMFYUI) == [("a", 1.3), (" [b] (c)", 1.0)]


def test_marked_embeddings_become_words():
    prompts = ("embedding:sub/a.safetensors, x", "(embedding:b:1.1) embedding:a")
    assert embeddings_in(Notation.COMFYUI, *prompts) == ("a", "b")
    assert [in_ours(p, Notation.COMFYUI) for p in prompts] == ["a, x", "(b:1.1) a"]
    assert embeddings_in(Notation.INVOKEAI, "<my style> <a-b>") == ("my style", "a-b")
    assert embeddings_in(Notation.WEB_UI, "<a> embedding:b") == ()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("notation", Notation)
@pytest.mark.parametrize("part", ["(", "{[1.2::", "a+", "(a)1", "<a", "a", "-"])
def test_any_text_ends_soon(notation, part):
    in_ours(part * 20_000, notation)
