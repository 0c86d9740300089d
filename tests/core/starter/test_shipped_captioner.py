"""The captioner that ships, used as a person would use it."""

import io
import random
import warnings

import pytest
import torch
from PIL import Image
from transformers import BlipForConditionalGeneration, BlipProcessor

from core.starter.caption_check import marks, measure, read, to_image
from core.starter.caption_pictures import captioned
from core.starter.world import HELD_OUT_SHAPES, Scene, Thing, sample_scene
from core.training.caption_models import SHIPPED
from core.training.caption_request import CaptionSettings
from core.training.captioner import load_captioner

MOST_BYTES = 6_000_000
PLAIN = CaptionSettings()


@pytest.fixture(scope="module")
def captioner():
    return load_captioner(SHIPPED, torch.device("cpu"))


def pictures_of(scenes, rng):
    made = captioned(scenes, rng)
    return list(zip(map(to_image, made.pictures), made.captions, strict=True))


def test_it_is_small_and_holds_no_pickle_and_no_place_on_a_disk():
    files = list(SHIPPED.iterdir())
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    assert {path.suffix for path in files} == {".safetensors", ".json", ".txt"}
    assert not any(b"_name_or_path" in path.read_bytes() for path in files)


def test_it_names_colour_and_shape_of_unseen_renders(captioner):
    shares, _ = measure(captioner, 40)
    assert shares["colour and shape"] >= 0.95
    assert shares["ground"] >= 0.95
    assert shares["number"] >= 0.95


def test_transformers_own_words_give_the_same_captions(captioner):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        processor = BlipProcessor.from_pretrained(SHIPPED)
    model = BlipForConditionalGeneration.from_pretrained(SHIPPED, dtype=torch.float32).eval()
    rng = random.Random(12)
    for image, _ in pictures_of([sample_scene(rng) for _ in range(4)], rng):
        made = model.generate(
            **processor(images=image, return_tensors="pt"), num_beams=3, max_new_tokens=40
        )
        wanted = processor.decode(made[0], skip_special_tokens=True)
        assert captioner.describe(image, PLAIN) == wanted


def test_it_names_what_the_model_that_draws_is_kept_from(captioner):
    rng = random.Random(13)
    scenes = [
        Scene((Thing(shape, colour),), ground)
        for shape in HELD_OUT_SHAPES
        for colour, ground in (("red", "white"), ("blue", "yellow"), ("white", "black"))
    ]
    right = [
        marks(captioner.describe(image, PLAIN), caption)["colour and shape"]
        for image, caption in pictures_of(scenes, rng)
    ]
    assert sum(right) >= 5


def changed(image: Image.Image, how: str) -> Image.Image:
    match how:
        case "small":
            return image.resize((56, 56))
        case "large":
            return image.resize((700, 700), Image.Resampling.BICUBIC)
        case "wide":
            return image.resize((160, 128))
        case _:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=40)
            return Image.open(buffer).convert("RGB")


@pytest.mark.parametrize("how", ["small", "large", "wide", "jpeg"])
def test_other_sizes_and_kinds_of_file_do_no_harm(captioner, how):
    rng = random.Random(14)
    right = [
        marks(captioner.describe(changed(image, how), PLAIN), caption)["colour and shape"]
        for image, caption in pictures_of([sample_scene(rng) for _ in range(20)], rng)
    ]
    assert sum(right) >= 18


@pytest.mark.parametrize("prefix", ["sks style,", "a photo of", "ohwx"])
def test_what_stands_before_does_no_harm(captioner, prefix):
    rng = random.Random(15)
    scenes = [sample_scene(rng, easy=True) for _ in range(10)]
    right = 0
    for image, wanted in pictures_of(scenes, rng):
        caption = captioner.describe(image, CaptionSettings(prefix=prefix))
        assert caption.startswith(f"{prefix} ")
        right += read(caption).things == read(wanted).things
    assert right >= 9
