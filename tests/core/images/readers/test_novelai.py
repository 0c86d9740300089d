import gzip
import json
import struct

import numpy as np
import pytest
from PIL import Image

from core.images.metadata import read_metadata
from core.images.nearest import nearest
from core.request import SchedulerName

COMMENT = {
    "prompt": "a cat",
    "uc": "dog",
    "steps": 28,
    "scale": 5.0,
    "sampler": "k_euler_ancestral",
    "noise_schedule": "native",
    "seed": 4000000000,
    "width": 832,
    "height": 1216,
    "n_samples": 1,
    "sm": False,
    "cfg_rescale": 0.0,
    "dynamic_thresholding": True,
    "request_type": "PromptGenerateRequest",
}
TEXTS = {
    "Title": "NovelAI generated image",
    "Description": "a cat",
    "Software": "NovelAI",
    "Source": "NovelAI Diffusion V3",
    "Comment": json.dumps(COMMENT),
}


def check(found) -> None:
    assert (found.source, found.program) == ("novelai", "NovelAI")
    assert (found.prompt, found.negative_prompt) == ("a cat", "dog")
    assert (found.steps, found.guidance_scale, found.seed) == (28, 5.0, 4000000000)
    assert (found.width, found.height, found.strength) == (832, 1216, None)
    assert found.match.scheduler is SchedulerName.EULER_ANCESTRAL
    assert found.match.same_schedule
    assert found.model == "NovelAI Diffusion V3"
    assert found.unexpressed == {"dynamic_thresholding": "true"}


def hidden(path, data: bytes, signature: bytes = b"stealth_pngcomp", size=(64, 80), **save):
    """Write bits down each column of the opacity, as the program does, one pixel a bit."""
    width, height = size
    message = signature + struct.pack(">I", len(data) * 8) + data
    bits = [byte >> shift & 1 for byte in message for shift in range(7, -1, -1)]
    pixels = np.full((height, width, 4), 255, np.uint8)
    for number, bit in enumerate(bits[: width * height]):
        pixels[number % height, number // height, 3] = 254 | bit
    Image.fromarray(pixels).save(path, **save)
    return path


def test_the_texts_of_a_png(build):
    check(read_metadata(build.texts(**TEXTS)))


def test_characters_have_prompts_of_their_own(build):
    def caption(base, *characters):
        return {
            "caption": {
                "base_caption": base,
                "char_captions": [{"char_caption": text, "centers": []} for text in characters],
            }
        }

    comment = COMMENT | {
        "v4_prompt": caption("a cat", "girl, red", "boy"),
        "v4_negative_prompt": caption("dog", "", "old"),
    }
    found = read_metadata(build.texts(**TEXTS | {"Comment": json.dumps(comment)}))
    assert (found.prompt, found.negative_prompt) == ("a cat, girl, red, boy", "dog, old")
    assert len(found.notes) == 1


def test_a_picture_from_a_picture_has_a_strength(build):
    comment = COMMENT | {"request_type": "Img2ImgRequest", "strength": 0.7, "noise": 0.1}
    found = read_metadata(build.texts(**TEXTS | {"Comment": json.dumps(comment)}))
    assert found.strength == 0.7
    assert found.unexpressed["noise"] == "0.1"


def test_a_picture_from_words_alone_has_none(build):
    comment = COMMENT | {"strength": 0.7, "noise": 0.2}
    assert read_metadata(build.texts(**TEXTS | {"Comment": json.dumps(comment)})).strength is None
    del comment["request_type"]
    assert read_metadata(build.texts(**TEXTS | {"Comment": json.dumps(comment)})).strength == 0.7


def test_its_weights_and_its_rescaling_become_ours(build):
    comment = COMMENT | {"prompt": "{{cat}}, [dog], (x)", "uc": "{a", "cfg_rescale": 0.3}
    found = read_metadata(build.texts(**TEXTS | {"Comment": json.dumps(comment)}))
    assert found.unexpressed == {"dynamic_thresholding": "true"}
    settings = nearest(found).settings
    assert settings["prompts"] == (r"(cat:1.103), (dog:0.9524), \(x\)",)
    assert settings["negative_prompt"] == r"\{a"
    assert settings["guidance_rescale"] == 0.3


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_the_text_in_the_opacity(tmp_path, suffix):
    data = gzip.compress(json.dumps(TEXTS).encode())
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    check(read_metadata(hidden(tmp_path / f"a.{suffix}", data, **options)))


def test_the_web_uis_text_in_the_opacity(tmp_path):
    text = "a cat\nSteps: 5, Sampler: Euler, Seed: 9, Size: 8x8"
    path = hidden(tmp_path / "a.png", text.encode(), b"stealth_pnginfo")
    assert (read_metadata(path).prompt, read_metadata(path).seed) == ("a cat", 9)


def test_texts_of_the_file_go_first(tmp_path):
    path = hidden(tmp_path / "a.png", gzip.compress(json.dumps(TEXTS).encode()))
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("parameters", "seen\nSteps: 5, Sampler: Euler, Seed: 9, Size: 8x8")
    with Image.open(path) as picture:
        picture.save(path, pnginfo=info)
    assert read_metadata(path).prompt == "seen"


@pytest.mark.parametrize(
    "data",
    [b"", b"no gzip", gzip.compress(b"\xff\xfe"), gzip.compress(b"[1]")[:-3]],
    ids=["empty", "no-gzip", "no-utf8", "cut"],
)
def test_a_damaged_hidden_text_says_nothing(tmp_path, data):
    assert read_metadata(hidden(tmp_path / "a.png", data)) is None


@pytest.mark.timeout(20)
def test_a_hidden_text_that_unpacks_without_end_says_nothing(tmp_path):
    bomb = gzip.compress(bytes(64 * 2**20))
    assert read_metadata(hidden(tmp_path / "a.png", bomb, size=(1024, 600))) is None


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (3, 7)])
def test_pictures_too_small_for_a_text(tmp_path, size):
    path = hidden(tmp_path / "a.png", b"x" * 4000, size=size)
    assert read_metadata(path) is None


def test_a_length_beyond_the_picture_says_nothing(tmp_path):
    path = hidden(tmp_path / "a.png", b"x" * 8000)
    assert read_metadata(path) is None
