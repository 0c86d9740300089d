import itertools
import json
import random
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.errors import InvalidRequest
from core.events import ImageReady
from core.images.foreign import Foreign
from core.images.metadata import Recorded, read_metadata
from core.images.png_text import read_texts
from core.images.writing import save_picture
from core.request import ImageToImage, Precision, Request, SchedulerName, TextToImage

TEXTS = [
    "a red circle",
    "",
    "  spaces around  ",
    "two\nlines\r\nNegative prompt: not the negative one",
    "a: b, c: d, e: f",
    "Steps: 1, Sampler: DDIM, Seed: 9, Size: 8x8",
    "quotes \"' and \\ back\\slash",
    "😀 🏳️‍🌈 naïve 赤い円 \u202e\u0301",
    "Ã© is no mojibake",
    "]]> <lora:x:1> &amp; %s {0}",
    "x" * 50_000,
]


def ready(request: Request, picture: int = 0) -> ImageReady:
    return ImageReady(
        request=request,
        picture=picture,
        seed=request.seed_of(picture),
        pixels=np.zeros((8, 8, 3), np.uint8),
        seconds=1.0,
        model_sha256="0123456789abcdef" * 4,
        device="cpu",
    )


def with_texts(folder: Path, **texts: str) -> Path:
    info = PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text)
    Image.new("RGB", (8, 8)).save(folder / "a.png", pnginfo=info)
    return folder / "a.png"


def record_of(request: Request, folder: Path) -> dict[str, object]:
    return json.loads(read_texts(save_picture(ready(request), folder))["stepwise"])


@pytest.mark.parametrize(("prompt", "negative"), [*itertools.product(TEXTS, TEXTS)])
def test_a_request_comes_back_equal(tmp_path, prompt, negative):
    request = TextToImage(prompts=("first", prompt), negative_prompt=negative, seed=7, count=2)
    found = read_metadata(save_picture(ready(request, 3), tmp_path))
    assert isinstance(found, Recorded)
    assert (found.request, found.picture, found.seed) == (request, 3, 10)
    assert found.model_sha256 == "0123456789abcdef" * 4
    assert found.device == "cpu"


def test_a_record_from_before_devices_were_told_is_read(tmp_path):
    record = record_of(TextToImage(prompts=("a",)), tmp_path)
    assert record.pop("device") == "cpu"
    found = read_metadata(with_texts(tmp_path, stepwise=json.dumps(record)))
    assert isinstance(found, Recorded)
    assert found.device == ""


def test_random_texts_come_back_equal(tmp_path):
    chance = random.Random(0)
    pieces = [*TEXTS[:-1], "\n", "\r", "\t", '"', "\\", ",", ":", "Negative prompt:", "\x7f", "é"]
    for _ in range(200):
        prompt, negative = ("".join(chance.choices(pieces, k=6)) for _ in range(2))
        request = TextToImage(prompts=(prompt,), negative_prompt=negative, seed=5)
        assert read_metadata(save_picture(ready(request), tmp_path)).request == request


@pytest.mark.parametrize("prompt", TEXTS)
def test_other_programs_find_the_prompt(tmp_path, prompt):
    path = save_picture(ready(TextToImage(prompts=(prompt,))), tmp_path)
    with Image.open(path) as picture:
        assert picture.text["parameters"].startswith(prompt + "\nSteps: 20, ")


def test_every_field_of_both_kinds_comes_back(tmp_path):
    request = ImageToImage(
        model="/models/my modèle",
        prompts=("a",),
        steps=3,
        guidance_scale=1.1,
        guidance_rescale=0.1,
        guidance_start=0.2,
        guidance_end=0.3,
        scheduler=SchedulerName.UNIPC,
        width=64,
        height=72,
        seed=2**32 - 1,
        batch_size=1,
        precision=Precision.BF16,
        init_image="C:\\pictures\\start.png",
        init_sha256="ab" * 32,
        strength=1 / 3,
    )
    assert read_metadata(save_picture(ready(request), tmp_path)).request == request


@pytest.mark.parametrize(
    ("request_", "source"),
    [
        (TextToImage(prompts=("a",)), "trainedAlgorithmicMedia"),
        (
            ImageToImage(prompts=("a",), init_image="/a"),
            "compositeWithTrainedAlgorithmicMedia",
        ),
    ],
)
def test_the_picture_says_that_a_model_made_it(tmp_path, request_, source):
    packet = read_texts(save_picture(ready(request_), tmp_path))["XML:com.adobe.xmp"]
    (description,) = ElementTree.fromstring(packet).iter(
        "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"
    )
    kind = description.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert kind == f"http://cv.iptc.org/newscodes/digitalsourcetype/{source}"


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": None},
        {"picture": 5},
        {"picture": "0"},
        {"picture": [0]},
        {"seed": 99},
        {"request": {}},
        {"request": []},
        {"request": None},
        {"model_sha256": ...},
    ],
    ids=str,
)
def test_a_record_that_contradicts_itself_is_left_for_the_other_text(tmp_path, change):
    record = record_of(TextToImage(prompts=("a",)), tmp_path) | change
    kept = {key: value for key, value in record.items() if value is not ...}
    path = with_texts(tmp_path, stepwise=json.dumps(kept), parameters="a cat")
    assert isinstance(read_metadata(path), Foreign)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", '"text"', "[" * 100_000, "{}", "NaN"])
def test_a_damaged_record_says_nothing(tmp_path, text):
    assert read_metadata(with_texts(tmp_path, stepwise=text)) is None


@pytest.mark.parametrize("field", ["width", "steps", "prompts", "scheduler", "kind", "seed"])
@pytest.mark.parametrize("value", [None, -1, 1.5, "x", [], {}, [[]], True, 10**400])
def test_a_request_with_a_wrong_value_says_nothing(tmp_path, field, value):
    record = record_of(TextToImage(prompts=("a",)), tmp_path)
    record["request"][field] = value
    assert read_metadata(with_texts(tmp_path, stepwise=json.dumps(record))) is None


def test_a_picture_without_texts_says_nothing(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert read_metadata(tmp_path / "a.png") is None


@pytest.mark.parametrize("content", [None, b"", b"hello", b"\xff\xd8\xff"])
def test_what_is_no_picture_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InvalidRequest) as caught:
        read_metadata(tmp_path / "a.png")
    assert caught.value.field == "image"
