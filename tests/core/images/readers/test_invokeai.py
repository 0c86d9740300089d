import json

import pytest

from core.images.foreign import UsedEmbedding, UsedLora, UsedRefiner, UsedSecondPass
from core.images.metadata import read_metadata
from core.images.nearest import nearest
from core.request import SchedulerName

VALUES = {
    "generation_mode": "txt2img",
    "positive_prompt": "a cat",
    "negative_prompt": "dog",
    "width": 512,
    "height": 768,
    "seed": 7,
    "rand_device": "cpu",
    "cfg_scale": 6.5,
    "cfg_rescale_multiplier": 0.0,
    "steps": 30,
    "scheduler": "dpmpp_2m_k",
    "seamless_x": False,
    "clip_skip": 0,
    "model": {"key": "x", "hash": "blake3:" + "ab" * 32, "name": "dreamshaper", "base": "sd-1"},
    "loras": [{"model": {"name": "fur", "hash": "blake3:cd"}, "weight": 0.75}],
    "controlnets": [],
    "strength": 0.5,
    "app_version": "5.4.1",
}


def test_the_present_form(build):
    found = read_metadata(build.texts(invokeai_metadata=VALUES, invokeai_graph="{}"))
    assert (found.source, found.program) == ("invokeai", "InvokeAI 5.4.1")
    assert (found.prompt, found.negative_prompt) == ("a cat", "dog")
    assert (found.width, found.height, found.seed, found.steps) == (512, 768, 7, 30)
    assert (found.guidance_scale, found.strength, found.clip_skip) == (6.5, None, 1)
    assert found.match.scheduler is SchedulerName.DPMPP_2M_KARRAS
    assert (found.model, found.model_hash) == ("dreamshaper", "blake3:" + "ab" * 32)
    assert found.loras == (UsedLora(name="fur", weight=0.75, hash="blake3:cd"),)
    assert found.unexpressed == {}


def test_what_changes_the_picture_is_kept(build):
    values = VALUES | {"seamless_x": True, "generation_mode": "img2img", "init_image": "a.png"}
    found = read_metadata(build.texts(invokeai_metadata=values))
    assert found.unexpressed == {"seamless_x": "true"}
    assert (found.strength, found.start_picture) == (0.5, "a.png")


def test_a_refiner(build):
    refiner = {"name": "fine", "hash": "blake3:ef"}
    values = VALUES | {"refiner_model": refiner, "refiner_start": 0.7, "refiner_steps": 9}
    found = read_metadata(build.texts(invokeai_metadata=values))
    assert found.refiner == UsedRefiner(name="fine", hash="blake3:ef", start=0.7)
    assert found.unexpressed == {"refiner_steps": "9"}


def test_its_weights_embeddings_and_rescaling_become_ours(build):
    values = VALUES | {
        "positive_prompt": "a cat++ (on a roof)1.3",
        "negative_prompt": "<easyneg>, dog",
        "cfg_rescale_multiplier": 0.7,
    }
    found = read_metadata(build.texts(invokeai_metadata=values))
    assert found.embeddings == (UsedEmbedding(name="easyneg"),)
    assert (found.unexpressed, found.notes) == ({}, ())
    settings = nearest(found).settings
    assert settings["prompts"] == ("a (cat:1.21) (on a roof:1.3)",)
    assert settings["negative_prompt"] == "easyneg, dog"
    assert settings["guidance_rescale"] == 0.7


def test_prompts_that_it_combined_are_said(build):
    values = VALUES | {"positive_prompt": '("a cat", "a dog").blend(0.7, 0.3)'}
    (note,) = read_metadata(build.texts(invokeai_metadata=values)).notes
    assert ".blend(" in note


@pytest.mark.parametrize(
    ("more", "size", "upscaler"),
    [
        ({"hrf_method": "latent", "hrf_scale": 2}, (512, 768), "latent"),
        # Its first pass has the area of the model's own size.
        ({"hrf_method": "ESRGAN"}, (416, 624), "RealESRGAN_x4plus"),
        ({"hrf_method": "bilinear"}, (416, 624), "bilinear"),
    ],
)
def test_a_pass_at_a_larger_size(build, more, size, upscaler):
    values = VALUES | {"width": 1024, "height": 1536, "hrf_enabled": True, "hrf_strength": 0.4}
    found = read_metadata(build.texts(invokeai_metadata=values | more))
    assert (found.width, found.height) == size
    assert found.second_pass == UsedSecondPass(
        width=1024, height=1536, strength=0.4, upscaler=upscaler
    )
    assert found.unexpressed == {}


def test_the_form_of_version_3(build):
    values = VALUES | {
        "model": {"model_name": "sd15", "base_model": "sd-1", "model_type": "main"},
        "loras": [{"lora": {"model_name": "fur", "base_model": "sd-1"}, "weight": 0.5}],
    }
    found = read_metadata(build.texts(invokeai_metadata=values))
    assert found.model == "sd15"
    assert found.loras == (UsedLora(name="fur", weight=0.5),)


def test_the_form_of_version_2(build):
    values = {
        "model_weights": "stable-diffusion-1.5",
        "model_hash": "cc6cb27103417325",
        "app_version": "2.3.5",
        "image": {
            "prompt": [{"prompt": "a cat [dog] on a roof", "weight": 1.0}],
            "steps": 50,
            "cfg_scale": 7.5,
            "width": 512,
            "height": 512,
            "seed": 5,
            "type": "txt2img",
            "sampler": "k_lms",
        },
    }
    found = read_metadata(build.texts(**{"sd__metadata": values}))
    assert (found.prompt, found.negative_prompt) == ("a cat on a roof", "dog")
    assert (found.steps, found.seed, found.model) == (50, 5, "stable-diffusion-1.5")
    assert found.match.scheduler is SchedulerName.LMS


def test_the_command_line_of_the_first_versions(build):
    found = read_metadata(
        build.texts(Dream='"a cat [dog]" -s 40 -S 99 -W 512 -H 640 -C 6.5 -A k_euler_a')
    )
    assert (found.prompt, found.negative_prompt) == ("a cat", "dog")
    assert (found.steps, found.seed, found.width, found.height) == (40, 99, 512, 640)
    assert found.guidance_scale == 6.5
    assert found.match.scheduler is SchedulerName.EULER_ANCESTRAL


def test_damaged_forms_say_little_or_nothing(build):
    assert read_metadata(build.texts(Dream='"no end')) is None
    assert read_metadata(build.texts(invokeai_metadata="{")) is None
    odd = {"model": 5, "loras": [1, {"model": []}], "steps": "many", "seed": None, "width": 1e400}
    found = read_metadata(build.texts(invokeai_metadata=json.dumps(odd)))
    assert (found.steps, found.width, found.model) == (None, None, "")
