"""What a model cannot do is refused, and what it ignores is said."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidRequest, Unsupported
from core.models.families import Distillation
from core.models.identify import Identity, identify
from core.request import ImageToImage, SchedulerName, SecondPass, TextToImage
from core.sampling.served import check_served, ignored, plain_words, unused_words


@pytest.fixture(scope="module")
def identity(tiny_model: Path) -> Identity:
    return identify(tiny_model)


def request(**settings: Any) -> TextToImage:
    return TextToImage(prompts=("red",), width=64, height=64, **settings)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"guidance_scale": 1.0, "negative_prompt": "blue"}, ["negative prompt", "above 1"]),
        ({"guidance_scale": 0.0, "guidance_rescale": 0.5}, ["guidance rescale", "guidance 0"]),
        (
            {"guidance_start": 0.4, "guidance_end": 0.4, "negative_prompt": "blue"},
            ["guidance scale, negative prompt", "no step"],
        ),
        # Four steps begin at 0, a quarter, a half and three quarters.
        ({"guidance_start": 0.3, "guidance_end": 0.49, "steps": 4}, ["no step", "0.3 and 0.49"]),
        ({"guidance_start": 0.76, "steps": 4}, ["guidance scale", "no step"]),
    ],
    ids=str,
)
def test_what_guidance_leaves_out_is_named(
    settings: dict[str, Any], names: list[str], identity: Identity
) -> None:
    said = ignored(request(**settings), identity)
    assert all(name in said for name in names)


def test_what_counts_is_not_named(identity: Identity) -> None:
    assert ignored(request(negative_prompt="blue", guidance_rescale=0.5), identity) == ""
    assert ignored(request(guidance_scale=1.0), identity) == ""
    assert ignored(request(guidance_start=0.5, guidance_end=0.51, steps=4), identity) == ""
    second = SecondPass(strength=0.5, steps=20)
    assert ignored(request(guidance_start=0.76, steps=4, second_pass=second), identity) == ""


def test_marks_that_mean_nothing_here_are_named() -> None:
    marked = request(negative_prompt="<hypernet:x:1>, red AND blue")
    marked = dataclasses.replace(marked, prompts=("a [cat:dog:0.5] in [red|blue] __hats__",))
    named = "[cat:dog:0.5], [red|blue], __hats__, <hypernet:x:1>, AND."
    assert plain_words(marked).endswith(named)
    plain = "a [cat] (dog:1.2) BREAK [a: b] snake_case __init \\[a|b] {x|y} [see 3:1] ANDROID"
    found = plain_words(dataclasses.replace(marked, prompts=(plain,), negative_prompt=""))
    assert found.endswith("here: [see 3:1].")
    assert plain_words(request()) == ""


def test_an_embedding_without_its_word_is_named() -> None:
    assert unused_words(request(), frozenset()) == ""
    assert unused_words(request(negative_prompt="SKS, x"), {"sks"}) == ""
    assert "the embedding sks, tok;" in unused_words(request(), {"tok", "sks", "red"})


def test_guidance_as_a_number_leaves_no_negative_prompt(identity: Identity) -> None:
    taught = dataclasses.replace(identity, guidance_embedding=True)
    said = ignored(request(negative_prompt="blue", guidance_end=0.5), taught)
    assert said.startswith("Without effect: negative prompt, guidance end; this model takes")


def test_a_scheduler_that_a_model_was_not_made_for_is_refused(identity: Identity) -> None:
    lightning = dataclasses.replace(identity, distillation=Distillation.LIGHTNING)
    check_served(request(scheduler=SchedulerName.EULER), lightning)
    with pytest.raises(Unsupported, match=r"pndm does not serve this model\. This is a Lightning"):
        check_served(request(scheduler=SchedulerName.PNDM), lightning)


def test_a_size_between_two_latents_is_refused(identity: Identity) -> None:
    with pytest.raises(InvalidRequest, match="width: 72 must be a multiple of 16"):
        check_served(
            TextToImage(prompts=("red",), width=72, height=64),
            dataclasses.replace(identity, vae_scale=16),
        )


def test_a_refiner_wants_a_picture(tiny_refiner: Path) -> None:
    refiner = identify(tiny_refiner)
    with pytest.raises(Unsupported, match="an SDXL refiner, which works over a start picture"):
        check_served(request(), refiner)
    check_served(ImageToImage(prompts=("red",), width=64, height=64, init_image="a.png"), refiner)
