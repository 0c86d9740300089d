import pytest

from core.images.foreign import (
    Foreign,
    Match,
    UsedEmbedding,
    UsedLora,
    UsedRefiner,
    UsedSecondPass,
)
from core.images.nearest import MOST_SENTENCES, nearest
from core.request import (
    EmbeddingUse,
    Enlarging,
    LoraUse,
    SchedulerName,
    SecondPass,
    TextToImage,
)


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
    assert near.lost[0] == (
        "The LoRA fur at 0.5 (hash ff) is not in the library and is not applied; add its file by "
        "`stepwise models add`."
    )
    assert len(near.lost[1]) < 250
    assert "loras" not in near.settings


class Shelf:
    """Has one LoRA and one embedding of SD 1.x, and says whether they are the very ones."""

    def __init__(self, *, is_sure: bool = True) -> None:
        self.is_sure = is_sure

    def lora(self, used):
        return self.find("fur", used)

    def embedding(self, used):
        return self.find("easyneg", used)

    def vae(self, name, sha256):
        return self.find("soft.pt", UsedLora(name=name, hash=sha256))

    def upscaler(self, name, sha256):
        return self.find("4x-UltraSharp", UsedLora(name=name, hash=sha256))

    def find(self, name, used):
        if used.name != name:
            return None
        return Match(path=f"/{name}.safetensors", family="sd1", is_sure=self.is_sure)


USES_FILES = {
    "prompt": "a cat <lora:fur:0.5>",
    "loras": (UsedLora(name="fur", weight=0.5, text_weight=200.0), UsedLora(name="gone")),
    "embeddings": (UsedEmbedding(name="easyneg"), UsedEmbedding(name="lost", hash="ff")),
}


def test_what_the_library_has_is_used():
    near = nearest(foreign(**USES_FILES), finder=Shelf(), family="sd1")
    assert near.settings["loras"] == (
        LoraUse(path="/fur.safetensors", weight=0.5, text_weight=100.0),
    )
    assert near.settings["embeddings"] == (
        EmbeddingUse(path="/easyneg.safetensors", token="easyneg"),
    )
    TextToImage(**near.settings)
    beyond, lora, embedding = near.lost
    assert "weight is beyond ours; 100 is used" in beyond
    assert "LoRA gone at 1 is not in the library" in lora
    assert "embedding lost (hash ff) is not in the library and is a word like" in embedding
    given = ("loras", "embeddings")
    assert nearest(foreign(**USES_FILES), given=given).lost == ()


@pytest.mark.parametrize(
    ("vae", "family", "path", "word"),
    [
        ("soft.pt", "sd1", "/soft.pt.safetensors", None),
        ("soft.pt", "sd2", "/soft.pt.safetensors", None),
        ("soft.pt", "sdxl", None, "VAE soft.pt (hash ff) is for another kind of model"),
        ("best.pt", "sd1", None, "VAE best.pt (hash ff) is not in the library and is not used"),
    ],
)
def test_a_vae_is_used_if_it_fits(vae, family, path, word):
    near = nearest(foreign(vae=vae, vae_hash="ff"), finder=Shelf(), family=family)
    assert near.settings.get("vae") == path
    assert len(near.lost) == (word is not None)
    assert word is None or word in near.lost[0]


class Refiners(Shelf):
    """Has a refiner, and a base model that others take for one."""

    def model(self, name, sha256):
        families = {"fine": "sdxl-refiner", "base": "sdxl"}
        if name not in families:
            return None
        return Match(path=name, family=families[name], is_sure=True)


@pytest.mark.parametrize(
    ("name", "start", "family", "taken", "word"),
    [
        ("fine", 0.7, "sdxl", ("fine", 0.7), None),
        ("fine", 0.7, "", ("fine", 0.7), None),
        ("fine", None, "sdxl", ("fine", None), None),
        ("fine", 1.5, "sdxl", ("fine", 1.0), "refiner start 1.5 is beyond ours"),
        ("fine", 0.7, "sd1", (None, None), "refiner fine goes with SDXL base models"),
        ("base", 0.7, "sdxl", (None, None), "refiner base is no SDXL refiner in the library"),
        ("gone", 0.7, "sdxl", (None, None), "refiner gone (hash ff) is not in the library"),
    ],
)
def test_a_refiner_is_used_if_it_fits(name, start, family, taken, word):
    found = foreign(refiner=UsedRefiner(name=name, hash="ff", start=start))
    near = nearest(found, finder=Refiners(), family=family)
    assert (near.settings.get("refiner"), near.settings.get("refiner_start")) == taken
    assert len(near.lost) == (word is not None)
    assert word is None or word in near.lost[0]
    TextToImage(**near.settings)
    given = nearest(found, given=("refiner", "refiner_start"), family=family)
    assert given.settings == {"prompts": ("a cat",), "negative_prompt": ""}


def test_a_file_of_the_same_name_is_used_and_said():
    lost = nearest(foreign(**USES_FILES), finder=Shelf(is_sure=False), family="sd1").lost
    assert any("fur at 0.5 is in the library with another hash" in one for one in lost)


def test_a_file_for_another_kind_of_model_is_not_used():
    near = nearest(foreign(**USES_FILES), finder=Shelf(), family="sdxl")
    assert not {"loras", "embeddings"} & near.settings.keys()
    assert any("fur at 0.5 is for another kind of model (sd1)" in one for one in near.lost)


@pytest.mark.parametrize(
    ("used", "second", "word"),
    [
        ({"scale": 2.0, "strength": 0.4, "upscaler": "Lanczos"},
         SecondPass(scale=2.0, strength=0.4), None),
        ({"scale": 1.5, "steps": 30, "upscaler": "Latent"},
         SecondPass(scale=1.5, steps=30, upscaler=Enlarging.LATENT), None),
        ({"width": 768, "height": 768, "strength": 0.4},
         SecondPass(scale=1.5, strength=0.4), None),
        ({"scale": 2.0, "upscaler": "R-ESRGAN 4x+"}, SecondPass(scale=2.0), "R-ESRGAN 4x+ is not"),
        ({"scale": 2.0, "upscaler": "Latent (bicubic)"},
         SecondPass(scale=2.0, upscaler=Enlarging.LATENT), "Latent (bicubic) is not"),
        ({"scale": 1.0}, None, "second pass, 1 times as large"),
        ({"scale": 9.0}, None, "second pass, 9 times"),
        ({"scale": 1e308}, None, "second pass"),
        ({"scale": 2.0, "strength": 0.0}, None, "strength 0, is beyond"),
        ({"scale": 2.0, "strength": 0.001}, None, "strength 0.001, is beyond"),
    ],
    ids=str,
)  # fmt: skip
def test_a_second_pass_is_taken_over(used, second, word):
    found = foreign(width=512, height=512, steps=20, second_pass=UsedSecondPass(**used))
    near = nearest(found)
    assert near.settings.get("second_pass") == second
    TextToImage(**near.settings)
    assert len(near.lost) == (word is not None)
    assert word is None or word in near.lost[0]
    assert nearest(found, given=("second_pass",)).lost == ()


@pytest.mark.parametrize("is_sure", [True, False])
def test_the_librarys_own_upscaler_is_taken(is_sure):
    used = UsedSecondPass(scale=2.0, upscaler="4x-UltraSharp")
    near = nearest(foreign(steps=20, second_pass=used), finder=Shelf(is_sure=is_sure))
    second = near.settings["second_pass"]
    assert second == SecondPass(upscaler="/4x-UltraSharp.safetensors")
    assert any("with another hash" in one for one in near.lost) is not is_sure


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
    assert len(lost) == MOST_SENTENCES + 2
    assert lost[0].startswith("The VAE best.pt is not in the library")
    assert lost[1].startswith("Clip skip: 2 ")
    assert f"{101 - MOST_SENTENCES} more" in lost[-1]
    assert all("\n" not in sentence and len(sentence) < 200 for sentence in lost)


def test_notes_are_passed_on():
    assert nearest(foreign(notes=("It was unclear.",))).lost == ("It was unclear.",)
