import json

import pytest

from core.images.foreign import UsedLora, UsedRefiner
from core.images.metadata import read_metadata
from core.request import SchedulerName

VALUES = {
    "adm_guidance": "(1.5, 0.8, 0.3)",
    "base_model": "juggernautXL_v8Rundiffusion",
    "base_model_hash": "aeb7e9e689",
    "clip_skip": 2,
    "full_negative_prompt": ["", "blurry"],
    "full_prompt": ["cinematic still a cat", "35mm"],
    "guidance_scale": 4,
    "loras": [["sd_xl_offset", 0.1, "4852686128"]],
    "metadata_scheme": "fooocus",
    "negative_prompt": "",
    "performance": "Speed",
    "prompt": "a cat",
    "resolution": "(1152, 896)",
    "sampler": "dpmpp_2m_sde_gpu",
    "scheduler": "karras",
    "seed": "1234",
    "sharpness": 2,
    "steps": 30,
    "styles": "['Fooocus V2']",
    "refiner_model": "None",
    "vae": "Default (model)",
    "version": "Fooocus v2.5.5",
}


def check(found) -> None:
    assert (found.source, found.program) == ("fooocus", "Fooocus v2.5.5")
    assert (found.prompt, found.negative_prompt) == ("cinematic still a cat, 35mm", "blurry")
    assert (found.width, found.height, found.seed, found.steps) == (1152, 896, 1234, 30)
    assert (found.model, found.model_hash) == ("juggernautXL_v8Rundiffusion", "aeb7e9e689")
    assert found.match.scheduler is SchedulerName.DPMPP_SDE
    assert found.match.same_method
    assert not found.match.same_schedule
    assert found.loras == (UsedLora(name="sd_xl_offset", weight=0.1, hash="4852686128"),)
    assert (found.vae, found.clip_skip, found.unexpressed) == ("", 2, {})


def test_the_json_of_a_png(build):
    check(read_metadata(build.texts(parameters=VALUES, fooocus_scheme="fooocus")))


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_the_comment_in_the_first_directory(build, kind):
    main = {0x0131: b"Fooocus v2.5.5", 0x927C: b"fooocus", 0x9286: json.dumps(VALUES).encode()}
    block = build.exif(main=main)
    path = build.jpeg_exif(block) if kind == "jpeg" else build.webp((b"EXIF", block))
    check(read_metadata(path))


def test_the_web_uis_text(build):
    text = "a cat\nSteps: 30, Sampler: DPM++ 2M SDE, Seed: 5, Size: 64x64, Version: Fooocus v2.5.5"
    found = read_metadata(build.texts(parameters=text, fooocus_scheme="a1111"))
    assert (found.source, found.program, found.seed) == ("fooocus", "Fooocus v2.5.5", 5)


def test_what_the_web_uis_text_calls_in_a_way_of_its_own(build):
    text = (
        "cinematic still a cat\nNegative prompt: blurry\nSteps: 30, Sampler: DPM++ 2M, Seed: 5, "
        "Size: 64x64, CFG scale: 4, Sharpness: 2, ADM Guidance: (1.5; 0.8; 0.3), Model: x, "
        "Model hash: aeb7e9e689, Performance: Speed, Scheduler: karras, VAE: Default (model), "
        "Raw prompt: a cat, Styles: \"['Fooocus V2']\", Refiner: fine, Refiner hash: 0123456789, "
        'Lora hashes: "fur: 4852686128, b: 1", Lora weights: "fur: 0.3, b: -1", '
        "Version: Fooocus v2.5.5"
    )
    found = read_metadata(build.texts(parameters=text, fooocus_scheme="a1111"))
    assert found.loras == (
        UsedLora(name="fur", weight=0.3, hash="4852686128"),
        UsedLora(name="b", weight=-1.0, hash="1"),
    )
    assert found.match.scheduler is SchedulerName.DPMPP_2M_KARRAS
    assert (found.vae, found.unexpressed) == ("", {})
    assert found.refiner == UsedRefiner(name="fine", hash="0123456789")
    assert (found.details["Raw prompt"], found.details["Performance"]) == ("a cat", "Speed")


def test_a_refiner(build):
    values = VALUES | {"refiner_model": "fine", "refiner_switch": "0.5"}
    found = read_metadata(build.texts(parameters=values, fooocus_scheme="fooocus"))
    assert found.refiner == UsedRefiner(name="fine", start=0.5)
    assert found.unexpressed == {}


def test_loras_under_a_key_each(build):
    values = {k: v for k, v in VALUES.items() if k != "loras"} | {
        "lora_combined_1": "fur : 0.5",
        "lora_combined_2": "None : 1.0.0",
    }
    found = read_metadata(build.texts(parameters=values, fooocus_scheme="fooocus"))
    assert found.loras == (UsedLora(name="fur", weight=0.5),)
