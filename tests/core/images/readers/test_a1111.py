import json
import zlib

import pytest

from core.images.foreign import UsedEmbedding, UsedLora, UsedRefiner, UsedSecondPass
from core.images.metadata import read_metadata
from core.request import SchedulerName

LAST = (
    "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 5, Size: 512x768, "
    "Model hash: 879db523c3, Model: dreamshaper_8, Clip skip: 2, Version: v1.9.3"
)
TEXT = f"a cat, <lora:fur:0.6>\nNegative prompt: dog\n{LAST}"
WIDE = f"赤い円 😀 naïve\nNegative prompt: dog\n{LAST}"


def test_everything_it_says_is_read(build):
    found = read_metadata(build.texts(parameters=TEXT))
    assert (found.source, found.program) == ("a1111", "AUTOMATIC1111 v1.9.3")
    assert (found.prompt, found.negative_prompt) == ("a cat, <lora:fur:0.6>", "dog")
    assert (found.steps, found.guidance_scale, found.seed) == (20, 7.0, 5)
    assert (found.width, found.height, found.clip_skip) == (512, 768, 2)
    assert (found.model, found.model_hash) == ("dreamshaper_8", "879db523c3")
    assert (found.sampler, found.schedule) == ("DPM++ 2M", "Karras")
    assert found.match.scheduler is SchedulerName.DPMPP_2M_KARRAS
    assert found.loras == (UsedLora(name="fur", weight=0.6),)
    assert found.strength is None
    assert found.unexpressed == {}


@pytest.mark.parametrize(
    "make",
    [
        lambda b: b.png(b.chunk(b"tEXt", b"parameters\0" + WIDE.encode())),
        lambda b: b.png(b.chunk(b"iTXt", b"parameters\0\0\0\0\0" + WIDE.encode())),
        lambda b: b.png(b.chunk(b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress(WIDE.encode()))),
        lambda b: b.png(b.chunk(b"zTXt", b"parameters\0\0" + zlib.compress(WIDE.encode()))),
        lambda b: b.png(late=(b.chunk(b"iTXt", b"parameters\0\0\0\0\0" + WIDE.encode()),)),
        lambda b: b.jpeg_exif(b.exif(b"UNICODE\0" + WIDE.encode("utf-16-be"))),
        lambda b: b.jpeg_exif(b.exif(b"UNICODE\0" + WIDE.encode("utf-16-le"), order="<")),
        lambda b: b.webp((b"EXIF", b.exif(b"UNICODE\0" + WIDE.encode("utf-16-be")))),
    ],
    ids=["raw-utf8", "itxt", "packed-itxt", "ztxt", "late", "jpeg", "jpeg-little", "webp"],
)
def test_every_place_is_read(build, make):
    found = read_metadata(make(build))
    assert (found.prompt, found.seed) == ("赤い円 😀 naïve", 5)


def test_latin_1_in_text_chunks_stays_itself(build):
    text = f"naïve café\n{LAST}".encode("latin-1")
    path = build.png(build.chunk(b"tEXt", b"parameters\0" + text))
    assert read_metadata(path).prompt == "naïve café"


def test_the_exif_comment_goes_before_the_chunk(build):
    exif = build.exif(b"UNICODE\0" + f"newer\n{LAST}".encode("utf-16-be"))
    path = build.png(build.text("parameters", TEXT), build.chunk(b"eXIf", exif))
    assert read_metadata(path).prompt == "newer"


def test_a_comment_that_is_no_such_text_does_not(build):
    exif = build.exif(b"ASCII\0\0\0Edited by hand")
    path = build.png(build.text("parameters", TEXT), build.chunk(b"eXIf", exif))
    assert read_metadata(path).seed == 5


def test_a_json_object_is_no_prompt(build):
    assert read_metadata(build.texts(parameters={"sui_image_params": {"prompt": "a"}})) is None


@pytest.mark.parametrize(
    ("prompt", "negative"),
    [
        ("a cat\nmakes: noise, at: night, on: roofs\nand more", ""),
        ('she said "no"\n\nNegative: not the mark', "a: b, c: d, e: f"),
        ("", "only this"),
        ("<lora:a:1> <lora:b>", ""),
    ],
)
def test_prompts_that_look_like_marks(build, prompt, negative):
    text = f"{prompt}\nNegative prompt: {negative}\n{LAST}" if negative else f"{prompt}\n{LAST}"
    found = read_metadata(build.texts(parameters=text))
    assert (found.prompt, found.negative_prompt, found.seed) == (prompt, negative, 5)


def test_a_second_negative_line_belongs_to_the_negative_prompt(build):
    text = f"a\nNegative prompt: b\nNegative prompt: c\n{LAST}"
    found = read_metadata(build.texts(parameters=text))
    assert found.negative_prompt == "b\nNegative prompt: c"


def test_strength_marks_a_picture_from_a_picture(build):
    found = read_metadata(build.texts(parameters=f"a\n{LAST}, Denoising strength: 0.4"))
    assert (found.strength, found.unexpressed) == (0.4, {})


def test_strength_of_a_second_pass_does_not(build):
    text = f"a\n{LAST}, Denoising strength: 0.4, Hires upscale: 2, Hires upscaler: Latent"
    found = read_metadata(build.texts(parameters=text))
    assert (found.strength, found.unexpressed) == (None, {})
    assert found.second_pass == UsedSecondPass(scale=2.0, strength=0.4, upscaler="Latent")
    found = read_metadata(build.texts(parameters=f"{text}, Hires upscaler hash: abcdef0123"))
    assert (found.second_pass.upscaler_hash, found.unexpressed) == ("abcdef0123", {})
    text = f"a\n{LAST}, Denoising strength: 0.4, Hires resize: 64x96, Hires steps: 7"
    second = read_metadata(build.texts(parameters=text)).second_pass
    assert second == UsedSecondPass(width=64, height=96, steps=7, strength=0.4)
    text = f"a\n{LAST}, Denoising strength: 0.4, Hires steps: 7"
    found = read_metadata(build.texts(parameters=text))
    assert (found.strength, found.second_pass) == (None, None)
    assert found.unexpressed == {"Hires steps": "7", "Hires denoising strength": "0.4"}


def test_embeddings_are_named_by_their_hashes(build):
    text = f'a\n{LAST}, TI hashes: "easyneg: 0123456789ab, other: ff"'
    assert read_metadata(build.texts(parameters=text)).embeddings == (
        UsedEmbedding(name="easyneg", hash="0123456789ab"),
        UsedEmbedding(name="other", hash="ff"),
    )


def test_loras_have_their_weights_and_hashes(build):
    text = (
        "x <lora:a> <lora:b:0.5> <lora:c:0.3:0.7> <lora:d:te=0.1:unet=0.2> <lora:b:9> <lyco:e:-1>"
        f'\n{LAST}, Lora hashes: "a: 0123456789ab, c: cdef"'
    )
    assert read_metadata(build.texts(parameters=text)).loras == (
        UsedLora(name="a", weight=1.0, hash="0123456789ab"),
        UsedLora(name="b", weight=0.5),
        UsedLora(name="c", weight=0.7, hash="cdef", text_weight=0.3),
        UsedLora(name="d", weight=0.2, text_weight=0.1),
        UsedLora(name="e", weight=-1.0),
    )


def test_bare_json_among_the_pairs_does_not_tear_them(build):
    hashes = json.dumps({"model": "879db523c3", "lora:fur": "ff00"})
    resources = json.dumps([{"type": "checkpoint", "modelName": "a, b: c"}])
    text = f"{TEXT.replace('Clip', f'Hashes: {hashes}, Clip')}, Civitai resources: {resources}"
    found = read_metadata(build.texts(parameters=text))
    assert (found.clip_skip, found.program) == (2, "AUTOMATIC1111 v1.9.3")
    assert found.loras[0].hash == "ff00"
    assert found.details["Civitai resources"] == resources
    assert found.unexpressed == {}


@pytest.mark.parametrize(
    ("version", "program"),
    [
        ("v1.9.3", "AUTOMATIC1111 v1.9.3"),
        ("1.10.0", "AUTOMATIC1111 1.10.0"),
        ("f2.0.1v1.10.1-previous-313", "Forge f2.0.1v1.10.1-previous-313"),
        ("ComfyUI", "ComfyUI"),
        ("Stepwise 0.1.0", "Stepwise 0.1.0"),
    ],
)
def test_the_version_tells_the_program(build, version, program):
    text = f"a\nSteps: 5, Seed: 1, Version: {version}"
    assert read_metadata(build.texts(parameters=text)).program == program


@pytest.mark.parametrize(
    ("pairs", "used"),
    [
        (
            "Refiner: sd_xl_refiner_1.0 [7440042bbd], Refiner switch at: 0.8",
            UsedRefiner(name="sd_xl_refiner_1.0", hash="7440042bbd", start=0.8),
        ),
        ("Refiner: my [own] one", UsedRefiner(name="my [own] one")),
        ("Refiner: None, Refiner switch at: 0.8", None),
        ("Refiner switch at: 0.8", None),
    ],
)
def test_a_refiner(build, pairs, used):
    found = read_metadata(build.texts(parameters=f"{TEXT}, {pairs}"))
    assert found.refiner == used
    assert found.unexpressed == {}
