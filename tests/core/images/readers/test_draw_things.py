import json
from html import escape

import pytest

from core.images.foreign import UsedLora, UsedRefiner, UsedSecondPass
from core.images.metadata import read_metadata
from core.request import SchedulerName

VALUES = {
    "c": 'a "cat" & <b>',
    "uc": "dog",
    "steps": 20,
    "sampler": "DPM++ 2M Karras",
    "scale": 7.5,
    "seed": 123,
    "seed_mode": "Scale Alike",
    "size": "512x768",
    "model": "sd_v1.5_f16.ckpt",
    "strength": 1,
    "clip_skip": 1,
    "lora": [{"model": "fur_lora_f16.ckpt", "weight": 0.6, "mode": "all"}],
    "control": [],
    "hires_fix": False,
    "sharpness": 2,
    "v2": {"steps": 20},
}
ATTRIBUTES = (
    'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    'xmp:CreatorTool="Draw Things"'
)


def check(found) -> None:
    assert (found.source, found.program) == ("draw-things", "Draw Things")
    assert (found.prompt, found.negative_prompt) == ('a "cat" & <b>', "dog")
    assert (found.steps, found.guidance_scale, found.seed) == (20, 7.5, 123)
    assert (found.width, found.height, found.strength) == (512, 768, None)
    assert found.match.scheduler is SchedulerName.DPMPP_2M_KARRAS
    assert found.model == "sd_v1.5_f16.ckpt"
    assert found.loras == (UsedLora(name="fur_lora_f16.ckpt", weight=0.6),)
    assert found.unexpressed == {"sharpness": "2"}


@pytest.mark.parametrize("layout", ["", "\n   "])
def test_the_packet_of_a_png(build, layout):
    body = (
        f"<exif:UserComment>{layout}<rdf:Alt>{layout}"
        f'<rdf:li xml:lang="x-default">{escape(json.dumps(VALUES), quote=False)}</rdf:li>{layout}'
        f'<rdf:li xml:lang="de">anderes</rdf:li></rdf:Alt>{layout}</exif:UserComment>'
    )
    packet = build.packet(body, ATTRIBUTES).decode()
    check(read_metadata(build.png(build.itxt("XML:com.adobe.xmp", packet))))


@pytest.mark.parametrize(
    "comment",
    [b"ASCII\0\0\0" + json.dumps(VALUES).encode(), json.dumps(VALUES).encode()],
    ids=["ascii", "bare"],
)
def test_the_comment_of_a_jpeg(build, comment):
    check(read_metadata(build.jpeg_exif(build.exif(comment))))


def test_a_start_picture_has_a_strength_below_one(build):
    comment = json.dumps(VALUES | {"strength": 0.4}).encode()
    assert read_metadata(build.jpeg_exif(build.exif(comment))).strength == 0.4


def test_odd_values_are_left_out(build):
    odd = {"c": None, "scale": "x", "seed": -1, "size": "big", "lora": [5], "steps": [1]}
    found = read_metadata(build.jpeg_exif(build.exif(json.dumps(odd).encode())))
    assert (found.prompt, found.steps, found.width) == ("", None, None)


def test_a_refiner_is_told_by_the_older_form_too(build):
    values = VALUES | {"refiner": "sd_xl_refiner_1.0_f16.ckpt", "refiner_start": 0.7}
    found = read_metadata(build.jpeg_exif(build.exif(json.dumps(values).encode())))
    assert found.refiner == UsedRefiner(name="sd_xl_refiner_1.0_f16.ckpt", start=0.7)
    assert found.unexpressed == {"sharpness": "2"}


def test_a_pass_at_a_larger_size(build):
    values = VALUES | {
        "hires_fix": True,
        "first_stage_size": "256x384",
        "second_stage_strength": 0.6,
    }
    found = read_metadata(build.jpeg_exif(build.exif(json.dumps(values).encode())))
    assert (found.width, found.height) == (256, 384)
    assert found.second_pass == UsedSecondPass(width=512, height=768, strength=0.6)
    assert found.unexpressed == {"sharpness": "2"}


def test_a_refiner_is_told_by_the_newer_form(build):
    packed = {"steps": 20, "refinerModel": "sd_xl_refiner_1.0_f16.ckpt", "refinerStart": 0.85}
    comment = json.dumps(VALUES | {"v2": packed}).encode()
    found = read_metadata(build.jpeg_exif(build.exif(b"ASCII\0\0\0" + comment)))
    assert found.refiner == UsedRefiner(name="sd_xl_refiner_1.0_f16.ckpt", start=0.85)
    assert found.unexpressed == {"sharpness": "2"}
