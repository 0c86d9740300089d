import pytest

from core.images.foreign import Foreign, UsedLora
from core.images.nearest import MOST_SENTENCES, nearest
from core.request import SchedulerName, TextToImage


def foreign(**values: object) -> Foreign:
    return Foreign(**{"source": "x", "program": "x", "prompt": "a cat"} | values)


def test_what_both_know_is_taken_and_nothing_lost():
    found = foreign(
        negative_prompt="dog",
        steps=20,
        sampler="Euler a",
        guidance_scale=7.0,
        seed=5,
        width=512,
        height=768,
        clip_skip=1,
    )
    near = nearest(found)
    assert near.lost == ()
    assert TextToImage(**near.settings) == TextToImage(
        prompts=("a cat",),
        negative_prompt="dog",
        steps=20,
        scheduler=SchedulerName.EULER_ANCESTRAL,
        guidance_scale=7.0,
        seed=5,
        width=512,
        height=768,
    )


@pytest.mark.parametrize(
    ("values", "setting", "held", "word"),
    [
        ({"width": 515}, "width", 512, "multiple of 8"),
        ({"height": 100_000}, "height", 4096, "multiple of 8"),
        ({"width": 0}, "width", 8, "multiple of 8"),
        ({"steps": 5000}, "steps", 1000, "5000"),
        ({"steps": -1}, "steps", 1, "-1"),
        ({"guidance_scale": -2.0}, "guidance_scale", 0.0, "-2"),
        ({"seed": 2**40 + 7}, "seed", 7, "32 bits"),
        ({"seed": -1}, "seed", 2**32 - 1, "32 bits"),
        ({"sampler": "DPM++ SDE"}, "scheduler", SchedulerName.DPMPP_SDE, "nearest"),
        ({"sampler": "Euler", "schedule": "Karras"}, "scheduler", SchedulerName.EULER, "Karras"),
        ({"sampler": "new"}, "scheduler", None, "not known"),
        ({"prompt": "a\0b\ud800"}, "prompts", ("ab?",), None),
    ],
    ids=str,
)
def test_what_is_beyond_ours_is_held_and_said(values, setting, held, word):
    near = nearest(foreign(**values))
    assert near.settings.get(setting) == held
    assert type(near.settings.get(setting)) is type(held)
    TextToImage(**near.settings)
    assert len(near.lost) == (word is not None)
    assert word is None or word in near.lost[0]
    assert nearest(foreign(**values), given=(setting,)).lost == ()


def test_a_models_own_multiple_and_schedulers_are_kept_to():
    near = nearest(
        foreign(width=520, sampler="Euler a"), size_multiple=64, schedulers=[SchedulerName.DDIM]
    )
    assert near.settings["width"] == 512
    assert "scheduler" not in near.settings
    assert len(near.lost) == 2


def test_loras_are_taken_out_of_the_prompt_and_said():
    found = foreign(
        prompt="a cat <lora:fur:0.5>",
        loras=(UsedLora(name="fur", weight=0.5, hash="ff"), UsedLora(name="x" * 500)),
    )
    near = nearest(found)
    assert near.settings["prompts"] == ("a cat",)
    assert near.lost[0] == "The LoRA fur at 0.5 (hash ff) is not applied."
    assert len(near.lost[1]) < 200


def test_a_start_picture_is_said_unless_one_is_given():
    found = foreign(strength=0.4, start_picture="start.png")
    near = nearest(found)
    assert "strength" not in near.settings
    assert "start.png at strength 0.4" in near.lost[0]
    near = nearest(found, given=("init_image",))
    assert (near.settings["strength"], near.lost) == (0.4, ())


def test_what_has_no_like_is_said_in_few_lines():
    found = foreign(
        vae="best.pt", clip_skip=2, unexpressed={f"Key {i}": "v\n" * 500 for i in range(100)}
    )
    lost = nearest(found).lost
    assert len(lost) == MOST_SENTENCES + 1
    assert lost[0].startswith("VAE: best.pt ")
    assert lost[1].startswith("Clip skip: 2 ")
    assert f"{102 - MOST_SENTENCES} more" in lost[-1]
    assert all("\n" not in sentence and len(sentence) < 200 for sentence in lost)


def test_notes_are_passed_on():
    assert nearest(foreign(notes=("It was unclear.",))).lost == ("It was unclear.",)
