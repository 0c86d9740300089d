import json
from html import escape

import pytest

from core.images.metadata import read_metadata
from core.request import SchedulerName

TEXT = (
    "a < b & 赤い円\nNegative prompt: dog\nSteps: 20, CFG scale: 7, Guidance: 3.5, Seed: 42, "
    "Size: 512x512, Model: sd15.gguf, RNG: cuda, Sampler: dpm++2m karras, "
    "Version: stable-diffusion.cpp"
)
NAMESPACE = 'xmlns:sdcpp="https://github.com/leejet/stable-diffusion.cpp/ns/1.0/"'


@pytest.mark.parametrize(
    "make",
    [
        lambda b: b.png(b.chunk(b"tEXt", b"parameters\0" + TEXT.encode())),
        lambda b: b.jpeg(b.segment(0xFE, b"parameters\0" + TEXT.encode() + b"\0\0")),
        lambda b: b.jpeg(
            b.segment(0xFE, b"by a camera"), b.segment(0xFE, b"parameters\0" + TEXT.encode())
        ),
        lambda b: b.webp(
            (
                b"XMP ",
                b.packet(f"<sdcpp:parameters>{escape(TEXT)}</sdcpp:parameters>", NAMESPACE),
            )
        ),
    ],
    ids=["png", "jpeg", "jpeg-second-comment", "webp"],
)
def test_every_place_is_read(build, make):
    found = read_metadata(make(build))
    assert (found.source, found.program) == ("stable-diffusion.cpp", "stable-diffusion.cpp")
    assert (found.prompt, found.negative_prompt) == ("a < b & 赤い円", "dog")
    assert (found.seed, found.steps, found.model) == (42, 20, "sd15.gguf")
    assert found.match.scheduler is SchedulerName.DPMPP_2M_KARRAS


def test_the_json_behind_the_pairs_is_kept_whole(build):
    extra = {"prompt": "a, b: c", "sample": {"steps": 9, "list": [1, 2]}}
    text = f"{TEXT}, SDCPP: {json.dumps(extra)}"
    found = read_metadata(build.png(build.chunk(b"tEXt", b"parameters\0" + text.encode())))
    assert (found.steps, json.loads(found.details["SDCPP"])) == (20, extra)
    assert found.unexpressed == {"Guidance": "3.5"}


def test_a_comment_of_another_kind_is_none(build):
    assert read_metadata(build.jpeg(build.segment(0xFE, b"Steps: 1, Seed: 2, Size: 8x8"))) is None
