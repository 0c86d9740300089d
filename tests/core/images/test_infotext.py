import dataclasses
import itertools

import numpy as np
import pytest

from core.events import ImageReady
from core.images.infotext import parse_infotext, write_infotext
from core.images.nearest import nearest
from core.images.readers.a1111 import from_infotext
from core.images.samplers import SAMPLERS
from core.request import (
    EmbeddingUse,
    ImageToImage,
    Inpaint,
    LoraUse,
    SchedulerName,
    SecondPass,
    TextToImage,
    Upscale,
)

LAST = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x768, Model hash: 0123456789"

NASTY = [
    "a red circle",
    "one, two: three, (four:1.2), [five]",
    'she said "hi, there: you", \\ and / and \\n',
    "two\nlines and\n\na gap",
    "😀 naïve 赤い円 \u202eright to left",
    "<lora:name:0.8> with BREAK words",
    "ends in a: b, c: d",
    "tab\tand\x0bvertical",
    "{json: true, list: [1, 2]}",
    "Steps is no key here",
]


def ready(request: TextToImage, picture: int = 0) -> ImageReady:
    return ImageReady(
        request=request,
        picture=picture,
        seed=request.seed_of(picture),
        pixels=np.zeros((8, 8, 3), np.uint8),
        seconds=1.0,
        model_sha256="0123456789abcdef" * 4,
        device="cpu",
    )


def settings_of(text: str) -> dict[str, object]:
    return nearest(from_infotext(parse_infotext(text))).settings


def test_the_text_is_the_one_other_programs_read():
    request = TextToImage(
        prompts=("a cat", "a dog"),
        negative_prompt="blurry, dark",
        model="/models/my: model, v2",
        scheduler=SchedulerName.DPMPP_2M_KARRAS,
        guidance_scale=7.0,
        seed=41,
        width=640,
        height=512,
    )
    prompt, negative, last = write_infotext(ready(request, 1)).split("\n")
    assert prompt == "a dog"
    assert negative == "Negative prompt: blurry, dark"
    assert last.rpartition(", Version: Stepwise ")[0] == (
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, "
        'Size: 640x512, Model hash: 0123456789, Model: "my: model, v2", RNG: CPU'
    )


def test_an_empty_negative_prompt_has_no_line():
    text = write_infotext(ready(TextToImage(prompts=("a cat",))))
    assert "Negative prompt" not in text


def test_a_refiner_is_named_as_the_web_ui_does():
    request = TextToImage(
        prompts=("a cat",),
        refiner="/models/sd_xl_refiner_1.0.safetensors",
        refiner_sha256="7440042bbd" + "0" * 54,
        refiner_start=0.75,
    )
    said = "Refiner: sd_xl_refiner_1.0 [7440042bbd], Refiner switch at: 0.75"
    assert said in write_infotext(ready(request))
    assert "Refiner" not in write_infotext(ready(TextToImage(prompts=("a cat",))))


def test_loras_stand_in_the_prompt():
    loras = (
        LoraUse(path="/loras/my: fox.safetensors", weight=0.8),
        LoraUse(path="b.pt", weight=1.0, text_weight=0.5),
    )
    text = write_infotext(ready(TextToImage(prompts=("a cat",), loras=loras)))
    assert text.startswith("a cat <lora:my fox:0.8> <lora:b:0.5:1>\n")


def test_the_hashes_of_loras_and_embeddings_are_said():
    request = TextToImage(
        prompts=("a cat",),
        loras=(
            LoraUse(path="/loras/my: fox.safetensors", short_hash="0123456789ab"),
            LoraUse(path="b.pt"),
        ),
        embeddings=(
            EmbeddingUse(path="/easyneg.pt", sha256="ab" * 32),
            EmbeddingUse(path="/x.pt", token="cat", sha256="cd" * 32),
        ),
    )
    said = parse_infotext(write_infotext(ready(request))).parameters
    assert said["Lora hashes"] == "my fox: 0123456789ab"
    assert said["TI hashes"] == f"easyneg: {'ab' * 6}, cat: {'cd' * 6}"


def test_strength_marks_a_picture_made_from_another():
    request = ImageToImage(prompts=("a cat",), init_image="/a.png", strength=0.65)
    text = write_infotext(ready(request))
    assert parse_infotext(text).parameters["Denoising strength"] == "0.65"


def test_masks_and_second_passes_are_said_in_the_words_of_the_web_ui():
    request = Inpaint(prompts=("a cat",), init_image="/a.png", mask_image="/m.png", mask_blur=9)
    assert parse_infotext(write_infotext(ready(request))).parameters["Mask blur"] == "9"
    larger = TextToImage(prompts=("a cat",), second_pass=SecondPass(scale=1.5, strength=0.4))
    said = parse_infotext(write_infotext(ready(larger))).parameters
    assert said["Hires upscale"] == "1.5"
    assert said["Hires upscaler"] == "Lanczos"
    assert said["Denoising strength"] == "0.4"
    assert said["Size"] == "512x512"
    assert "Hires steps" not in said


def test_an_upscalers_file_is_said_by_its_name_and_hash():
    file = {"upscaler": "/models/4x-UltraSharp.pth", "upscaler_sha256": "ab" * 32}
    twice = TextToImage(prompts=("a cat",), second_pass=SecondPass(**file))
    said = parse_infotext(write_infotext(ready(twice))).parameters
    assert (said["Hires upscaler"], said["Hires upscaler hash"]) == ("4x-UltraSharp", "ab" * 5)
    larger = Upscale(prompts=("a cat",), init_image="/a.png", strength=0, **file)
    alone = dataclasses.replace(ready(larger), model_sha256="")
    said = parse_infotext(write_infotext(alone)).parameters
    assert (said["Upscaler"], said["Upscaler hash"]) == ("4x-UltraSharp", "ab" * 5)
    assert not {"Model", "Model hash"} & said.keys()


@pytest.mark.parametrize(("prompt", "negative"), [*itertools.product(NASTY, [*NASTY, ""])])
def test_nasty_prompts_come_back(prompt, negative):
    request = TextToImage(prompts=(prompt,), negative_prompt=negative, seed=2**32 - 1)
    found = parse_infotext(write_infotext(ready(request)))
    assert (found.prompt, found.negative_prompt) == (prompt, negative)
    settings = nearest(from_infotext(found), given=("prompts", "negative_prompt")).settings
    assert settings["seed"] == 2**32 - 1
    assert dataclasses.replace(request, **settings) == request


@pytest.mark.parametrize("scheduler", SchedulerName)
def test_every_scheduler_has_a_sampler_and_comes_back(scheduler):
    request = TextToImage(prompts=("a",), scheduler=scheduler)
    assert settings_of(write_infotext(ready(request)))["scheduler"] is scheduler


def test_no_two_schedulers_share_a_sampler():
    assert len(set(SAMPLERS.values())) == len(SchedulerName)


@pytest.mark.parametrize(
    ("pairs", "scheduler"),
    [
        ("Sampler: DPM++ 2M Karras", SchedulerName.DPMPP_2M_KARRAS),
        ("Sampler: DPM++ 2M, Schedule type: Karras", SchedulerName.DPMPP_2M_KARRAS),
        ("Sampler: DPM++ 2M, Schedule type: Automatic", SchedulerName.DPMPP_2M),
        ("Sampler: euler A", SchedulerName.EULER_ANCESTRAL),
        ("Sampler: PLMS", SchedulerName.PNDM),
        ("Sampler: unheard of", None),
    ],
)
def test_samplers_of_old_and_new_programs(pairs, scheduler):
    assert settings_of(f"a cat\nSteps: 5, {pairs}, Seed: 1").get("scheduler") is scheduler


def test_a_quoted_value_is_unquoted():
    found = parse_infotext(f'a cat\n{LAST}, Lora hashes: "a: 0123, b: 4567", Model: "x\\ny"')
    assert found.parameters["Lora hashes"] == "a: 0123, b: 4567"
    assert found.parameters["Model"] == "x\ny"


@pytest.mark.parametrize(
    ("text", "prompt", "negative"),
    [
        (f"a cat\nNegative prompt: dog\n{LAST}", "a cat", "dog"),
        (f"a cat\nNegative prompt:\n{LAST}", "a cat", ""),
        (f"a cat\nNegative prompt: dog\nand cow\n{LAST}", "a cat", "dog\nand cow"),
        (f"a cat\r\nNegative prompt: dog\r\n{LAST}\r\n", "a cat", "dog"),
        (f"{LAST}", "", ""),
        (f"Negative prompt: dog\n{LAST}", "", "dog"),
        ("a cat, key: value", "a cat, key: value", ""),
        ("two: pairs, are: prompt", "two: pairs, are: prompt", ""),
        ("", "", ""),
    ],
)
def test_forms_that_occur(text, prompt, negative):
    found = parse_infotext(text)
    assert (found.prompt, found.negative_prompt) == (prompt, negative)


def test_a_prompt_without_pairs_has_no_parameters():
    assert parse_infotext("a cat, key: value").parameters == {}


def test_settings_of_a_known_text():
    assert settings_of(f"a cat\n{LAST}") == {
        "prompts": ("a cat",),
        "negative_prompt": "",
        "scheduler": SchedulerName.EULER_ANCESTRAL,
        "steps": 20,
        "guidance_scale": 7.0,
        "seed": 5,
        "width": 512,
        "height": 768,
    }


def test_settings_that_are_no_numbers_are_left_out():
    settings = settings_of("a\nSteps: many, Seed: " + "9" * 5000 + ", Size: 5 by 5")
    assert settings.keys() == {"prompts", "negative_prompt"}


@pytest.mark.parametrize("text", ['a: "' * 30_000, "a" * 100_000, "a " * 50_000, ", : " * 30_000])
@pytest.mark.timeout(10)
def test_a_long_line_is_read_in_little_time(text):
    parse_infotext(text)
