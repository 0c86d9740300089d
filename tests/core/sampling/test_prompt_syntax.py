"""What brackets mean, and that no text is an error."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import InvalidRequest
from core.sampling.prompt_syntax import (
    LARGEST_WEIGHT,
    LoraTag,
    Segment,
    choose,
    escape,
    parse,
    take_loras,
)

SPECIAL = "()[]{}|<>\\:"
PROMPTS = st.text(st.sampled_from(SPECIAL + "ab1.0, BREAKlor\n")) | st.text()
PLAIN = st.text(st.characters(exclude_characters="()[]\\", exclude_categories=["Cs"])).filter(
    lambda text: "BREAK" not in text
)


def runs(prompt: str) -> list[list[tuple[str, float]]]:
    return [[(s.text, pytest.approx(s.weight)) for s in part] for part in parse(prompt)]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", []),
        ("a cat", [("a cat", 1)]),
        ("a (cat)", [("a ", 1), ("cat", 1.1)]),
        ("a ((cat))", [("a ", 1), ("cat", 1.21)]),
        ("a [cat]", [("a ", 1), ("cat", 1 / 1.1)]),
        ("a (cat:1.3) b", [("a ", 1), ("cat", 1.3), (" b", 1)]),
        ("(cat:.5)", [("cat", 0.5)]),
        ("(cat : -1 )", [("cat ", -1)]),
        ("(a (b:2) c:0.5)", [("a ", 0.5), ("b", 1), (" c", 0.5)]),
        ("(a:b)", [("a:b", 1.1)]),
        ("(a:1.2:1.3)", [("a:1.2", 1.3)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        ("(a:1e9)", [("a:1e9", 1.1)]),
        ("(a:101)", [("a:101", 1.1)]),
        ("[a:1.3]", [("a:1.3", 1 / 1.1)]),
        ("(a:1)b", [("ab", 1)]),
        # Unbalanced brackets are plain characters.
        ("a (cat", [("a (cat", 1)]),
        ("a cat)", [("a cat)", 1)]),
        ("(a [b)", [("a [b", 1.1)]),
        ("[a (b]) c", [("a (b", 1 / 1.1), (") c", 1)]),
        (":)", [(":)", 1)]),
        # A backslash makes them plain too.
        (r"a \(cat\)", [("a (cat)", 1)]),
        (r"(a \(b\):1.5)", [("a (b)", 1.5)]),
        (r"C:\new \\x", [(r"C:\new \x", 1)]),
        (r"\[\]\{\}\|\<\>", [("[]{}|<>", 1)]),
    ],
)
def test_weights(prompt: str, expected: list[tuple[str, float]]) -> None:
    assert runs(prompt) == [expected]


def test_breaks() -> None:
    assert runs("a cat BREAK a dog") == [[("a cat", 1)], [("a dog", 1)]]
    assert runs("(a BREAK b:2)") == [[("a", 2)], [("b", 2)]]
    assert runs("BREAK") == [[], []]
    assert runs("BREAKFAST break") == [[("BREAKFAST break", 1)]]


def test_brackets_in_brackets_do_not_grow_without_end() -> None:
    deep = "(" * 5000 + "a" + ")" * 5000
    assert parse(deep) == ((Segment("a", LARGEST_WEIGHT),),)
    assert parse("[" * 5000 + ")" * 5000)[0][0].weight == 1


@given(PLAIN)
@example("a photo: 5 > 3, C|D {x}")
def test_a_text_without_brackets_is_one_segment_as_it_stands(text: str) -> None:
    assert parse(text) == ((Segment(text, 1.0),) if text else (),)


@given(PROMPTS)
def test_any_text_can_be_read(prompt: str) -> None:
    parts = parse(prompt)
    assert parts
    for segment in (s for part in parts for s in part):
        assert segment.text
        assert abs(segment.weight) <= LARGEST_WEIGHT
        assert "BREAK" not in segment.text.split()


@given(PROMPTS.filter(lambda text: "BREAK" not in text))
def test_an_escaped_text_is_itself(text: str) -> None:
    assert parse(escape(text)) == ((Segment(text, 1.0),) if text else (),)
    assert choose(escape(text), 7) == escape(text)
    assert take_loras(escape(text), "prompts") == (escape(text), ())


def test_options_are_drawn_by_the_seed() -> None:
    prompt = "a {red|green|blue} {cat|dog}"
    drawn = {choose(prompt, seed) for seed in range(64)}
    colours, animals = ("red", "green", "blue"), ("cat", "dog")
    assert drawn == {f"a {colour} {animal}" for colour in colours for animal in animals}
    # Written down once: another version must draw the same.
    assert "".join(choose("{a|b|c|d|e|f|g|h}", seed) for seed in range(8)) == "dbbeeedb"


@pytest.mark.parametrize(
    ("prompt", "outcomes"),
    [
        ("{a|}x", {"ax", "x"}),
        ("{{a|b}|c}", {"a", "b", "c"}),
        ("{x {a|b}}", {"{x a}", "{x b}"}),
        ("{a}", {"{a}"}),
        ("a|b", {"a|b"}),
        ("{a|b", {"{a|b"}),
        ("a|b}", {"a|b}"}),
        (r"\{a|b\}", {r"\{a|b\}"}),
        (r"{a\|b|c}", {r"a\|b", "c"}),
    ],
)
def test_what_an_option_is(prompt: str, outcomes: set[str]) -> None:
    assert {choose(prompt, seed) for seed in range(64)} == outcomes


@given(PROMPTS, st.integers(0, 2**32 - 1))
@example("<lo<lora:a:1>ra:b:1>", 0)
@example("{a<lora:x:1>|b}", 0)
def test_what_is_settled_stays_so(prompt: str, seed: int) -> None:
    chosen = choose(prompt, seed)
    assert choose(chosen, seed + 1) == chosen
    try:
        text, _ = take_loras(chosen, "prompts")
    except InvalidRequest:
        return
    assert take_loras(text, "prompts") == (text, ())
    assert choose(text, seed + 1) == text


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("<lora:fox>", LoraTag("fox", 1, 1)),
        ("<lora:fox:0.8>", LoraTag("fox", 0.8, 0.8)),
        ("<lora:my fox (v2):0.5:0.8>", LoraTag("my fox (v2)", 0.8, 0.5)),
        ("<lora:fox:unet=0.5>", LoraTag("fox", 0.5, 1)),
        ("<lora:fox:te=0.5>", LoraTag("fox", 0.5, 0.5)),
        ("<lyco:fox:-1>", LoraTag("fox", -1, -1)),
    ],
)
def test_loras_are_taken_out(tag: str, expected: LoraTag) -> None:
    assert take_loras(f"a {tag}fox", "prompts") == ("a fox", (expected,))


@pytest.mark.parametrize("text", [r"\<lora:fox:1>", "<lora:>", "<lora>", "a <cat-toy>", "<lora:a"])
def test_what_is_no_tag_is_text(text: str) -> None:
    assert take_loras(text, "prompts") == (text, ())


@pytest.mark.parametrize("weights", ["x", "1:2:3", "nan", "1e9", "dyn=4", ""])
def test_a_tag_without_a_number_is_told_how_to_be_written(weights: str) -> None:
    with pytest.raises(InvalidRequest, match=r"prompts: .*write it as <lora:fox:0\.8>"):
        take_loras(f"a <lora:fox:{weights}> fox", "prompts")
