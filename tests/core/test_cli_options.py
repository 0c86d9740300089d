"""Error messages name what a person typed."""

from __future__ import annotations

import argparse
import dataclasses

import pytest

from core.cli_parser import build_parser
from core.commands.options import PICTURE_OPTIONS, told
from core.errors import InvalidRequest, ModelMissing
from core.request import (
    ControlUse,
    ImageToImage,
    Inpaint,
    Outpaint,
    SecondPass,
    TextToImage,
    Upscale,
)

KINDS = (TextToImage, ImageToImage, Inpaint, Outpaint)
NOT_TYPED = {
    "negative_prompts",
    "guidance_scales",
    "seeds",
    "init_sha256",
    "mask_sha256",
    "vae_sha256",
    "refiner_sha256",
    "second_pass.upscaler_sha256",
    "controls.sha256",
    "controls.image_sha256",
}


def test_every_setting_has_an_option():
    fields = {field.name for kind in KINDS for field in dataclasses.fields(kind)}
    parts = {f"second_pass.{field.name}" for field in dataclasses.fields(SecondPass)}
    parts |= {f"controls.{field.name}" for field in dataclasses.fields(ControlUse)}
    assert fields | parts | {"from"} == PICTURE_OPTIONS.keys() | NOT_TYPED


@pytest.mark.parametrize("command", ["generate", "grid"])
def test_every_option_is_one(command):
    parser = build_parser("stepwise", window=True)
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    actions = commands.choices[command]._actions
    known = {word for action in actions for word in (*action.option_strings, action.metavar)}
    assert set(PICTURE_OPTIONS.values()) <= known


def test_every_setting_of_a_larger_picture_has_an_option():
    own = {field.name for field in dataclasses.fields(Upscale)} - set(PICTURE_OPTIONS)
    own -= NOT_TYPED | {"upscaler_sha256"}
    said = {told(InvalidRequest(name, "x"), "upscale") for name in own}
    assert said == {"--window: x", "--upscaler: x"}


def test_a_name_that_is_no_setting_stays():
    error = InvalidRequest("mask_image", "is missing.")
    assert told(error, "generate") == "--mask: is missing."
    assert told(error, "bench") == "mask_image: is missing."
    assert told(InvalidRequest("request", "is odd."), "generate") == "request: is odd."
    assert told(InvalidRequest("model", "is none."), "models") == "ID: is none."
    assert told(ModelMissing("It is gone."), "models") == "It is gone."
