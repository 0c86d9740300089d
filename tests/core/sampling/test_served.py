"""What a model cannot do is refused, and what it ignores is said."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidRequest, Unsupported
from core.models.families import Distillation
from core.models.identify import Identity, identify
from core.request import ImageToImage, SchedulerName, TextToImage
from core.sampling.served import check_served, ignored


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
            ["negative prompt", "no step"],
        ),
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
