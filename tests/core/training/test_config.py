"""What to train goes to JSON and back, and nonsense is named."""

from __future__ import annotations

import json

import pytest

from core.errors import InvalidRequest
from core.training.config import (
    DreamBooth,
    Finetune,
    LoraTraining,
    TextualInversion,
    from_json,
    to_json,
)
from core.training.config_parts import (
    AdapterSettings,
    Crop,
    DataSettings,
    LossKind,
    LossSettings,
    OptimiserName,
    OptimiserSettings,
    SampleSettings,
)

DATA = DataSettings(folder="pictures")
CONFIGS = [
    LoraTraining(
        out="o",
        data=DataSettings(folder="p", crop=Crop.RANDOM, trigger="sks"),
        adapter=AdapterSettings(rank=4, alpha=2, dora=True),
        loss=LossSettings(kind=LossKind.HUBER, min_snr_gamma=5),
        optimiser=OptimiserSettings(name=OptimiserName.PRODIGY, warm_up=10),
        samples=SampleSettings(prompts=("a", "b"), every=20),
    ),
    TextualInversion(out="o", data=DATA, token="<thing>", init_word="star", vectors=3),
    DreamBooth(out="o", data=DATA, instance_prompt="a sks star", class_prompt="a star"),
    DreamBooth(out="o", data=DATA, instance_prompt="a sks star", adapter=AdapterSettings()),
    Finetune(out="o", data=DATA, train_text=True, ema=0.99),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_settings_go_to_json_and_back(config):
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "alchemy"}, "'alchemy' is none of lora"),
        ({"method": ["lora"]}, "is none of lora"),
        ({"speed": 3}, "speed: is no setting"),
        ({"data": {"folder": "p", "colour": "red"}}, r"data\.colour: is no setting"),
        ({"data": 3}, r"config: data must be an object of settings: data\.folder, data\."),
        ({"data": {}}, r"data\.folder: is missing"),
        ({"data": {"folder": "p", "crop": "left"}}, r"data\.crop: 'left' is none of"),
        ({"data": {"folder": "p", "background": "white"}}, "no colour"),
        ({"data": {"folder": "p", "resolution": 100}}, "multiple of 8"),
        ({"data": {"folder": "p", "caption_dropout": 2}}, "from 0 to 1"),
        ({"steps": 0}, "steps: 0 must be"),
        ({"steps": "many"}, "steps: 'many' must be"),
        ({"steps": True}, "steps: True must be"),
        ({"samples": {"prompts": "a star"}}, "must be a list"),
        ({"samples": {"prompts": [3]}}, "3 is not text"),
        ({"adapter": {"rank": 0}}, "rank: 0 must be"),
        ({"adapter": "big"}, "config: adapter must be an object"),
        ({"optimiser": {"learning_rate": float("nan")}}, "learning_rate: nan must be"),
        ({"model": "\0"}, "NUL"),
    ],
)
def test_what_makes_no_sense_is_named(change, words):
    with pytest.raises(InvalidRequest, match=words):
        from_json({"method": "lora", "out": "o", "data": {"folder": "p"}} | change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"samples": {"every": 5}}, r"samples\.every: does nothing without a sample prompt"),
        ({"samples": {"seed": 5}}, r"samples\.seed: does nothing without a sample prompt"),
        ({"data": {"folder": "p", "keep_tags": 2}}, r"data\.keep_tags: does nothing without tags"),
        ({"loss": {"huber_delta": 0.2}}, r"loss\.huber_delta: does nothing without Huber"),
        ({"optimiser": {"text_learning_rate": 0.1}}, "does nothing without text encoders"),
        ({"class_images": 20}, "class_images: does nothing without a class prompt"),
        ({"prior_weight": 0.5}, "prior_weight: does nothing without a class prompt"),
    ],
)
def test_what_would_do_nothing_is_named(change, words):
    whole = {"method": "dreambooth", "instance_prompt": "a sks star", "out": "o"}
    with pytest.raises(InvalidRequest, match=words):
        from_json(whole | {"data": {"folder": "p"}} | change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimiser": OptimiserSettings(weight_decay=0.1)}, "weight_decay: does not go with"),
        ({"data": DataSettings(folder="p", trigger="moon")}, "trigger: does not go with"),
    ],
)
def test_what_a_new_word_has_no_use_for_is_named(change, words):
    settings = {"out": "o", "data": DATA, "token": "<thing>", "init_word": "star"}
    with pytest.raises(InvalidRequest, match=words):
        TextualInversion(**settings | change)


@pytest.mark.parametrize("values", [None, 3, [], "lora", {}])
def test_what_is_no_object_of_settings_is_refused(values):
    with pytest.raises(InvalidRequest):
        from_json(values)


@pytest.mark.parametrize("token", ["", " ", "two words", " sks", "sks\n"])
def test_a_new_word_is_one_word(token):
    with pytest.raises(InvalidRequest, match="token"):
        TextualInversion(out="o", data=DATA, token=token, init_word="star")
