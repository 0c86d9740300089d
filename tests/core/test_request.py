import dataclasses
import json
import pickle
from typing import Any

import pytest

from core.errors import InvalidRequest
from core.request import (
    MAX_COUNT,
    MAX_SEED,
    EmbeddingUse,
    Enlarging,
    ImageToImage,
    Inpaint,
    LoraUse,
    Outpaint,
    Precision,
    SchedulerName,
    SecondPass,
    TextToImage,
    Tiling,
    Upscale,
    enlarger_of,
    parse_choice,
)
from core.request_json import from_json, to_json

TEXT = TextToImage(prompts=("a cat", "a dog"), count=3, seed=10)
IMAGE = ImageToImage(
    prompts=("a cat",),
    init_image="/pictures/start.png",
    init_sha256="ab" * 32,
    strength=0.3,
    scheduler=SchedulerName.DPMPP_2M_KARRAS,
    precision=Precision.FP16,
    loras=(LoraUse(path="fox", weight=0.8, text_weight=0.5, sha256="cd" * 32), LoraUse(path="b")),
    embeddings=(EmbeddingUse(path="/wolf.safetensors", token="wolf"),),
)

HIRES = TextToImage(
    prompts=("a cat",),
    second_pass=SecondPass(scale=1.3, upscaler=Enlarging.LATENT, window=64),
    vae="soft",
    vae_sha256="ef" * 32,
    vae_tiling=Tiling.ON,
)
INPAINT = Inpaint(prompts=("a cat",), init_image="/a.png", mask_image="/m.png", mask_invert=True)
LARGER = Upscale(
    prompts=("a cat",), init_image="/a.png", upscaler="/4x.pth", upscaler_sha256="ab" * 32
)
OUTPAINT = Outpaint(prompts=("a cat",), init_image="/a.png", left=64, bottom=8)


def refused(field: str, request: TextToImage = IMAGE, **changes: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        dataclasses.replace(request, **changes)
    assert caught.value.field == field
    assert caught.value.reason.endswith(".")
    return caught.value.reason


def test_the_contracts_thirteen_schedulers_are_there():
    assert " ".join(SchedulerName) == (
        "pndm ddim lms euler euler-a heun dpm++2m dpm++2m-karras dpm++sde unipc ddpm lcm tcd"
    )


def test_pictures_are_numbered_by_prompt_then_by_count():
    assert TEXT.total == 6
    assert [TEXT.prompt_of(i) for i in range(6)] == ["a cat"] * 3 + ["a dog"] * 3
    assert [TEXT.seed_of(i) for i in range(6)] == [10, 11, 12, 13, 14, 15]


@pytest.mark.parametrize("request_", [TEXT, IMAGE, HIRES, INPAINT, OUTPAINT, LARGER])
def test_a_request_goes_to_json_and_to_another_process_and_back(request_):
    assert from_json(json.loads(json.dumps(to_json(request_)))) == request_
    assert pickle.loads(pickle.dumps(request_)) == request_


def test_the_two_kinds_are_never_equal():
    fields = {f.name: getattr(IMAGE, f.name) for f in dataclasses.fields(TextToImage)}
    assert TextToImage(**fields) != IMAGE


def test_a_request_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TEXT.steps = 5


NUMBERS_OUT_OF_RANGE = [
    ("steps", [0, -1, 1001, 1.0, "5", True, None]),
    ("guidance_scale", [-0.1, 100.1, float("nan"), float("inf"), 10**400, "7", None, True]),
    ("guidance_rescale", [-0.1, 1.1, float("nan")]),
    ("guidance_start", [-0.1, 1.1, float("nan")]),
    ("guidance_end", [-0.1, 1.1, float("nan")]),
    ("width", [0, -8, 7, 4104, 512.0, 10**30]),
    ("height", [0, -8, 7, 4104, 512.0]),
    ("seed", [-1, MAX_SEED + 1, 0.5]),
    ("count", [0, MAX_COUNT + 1]),
    ("batch_size", [-1, MAX_COUNT + 1]),
    ("strength", [-0.1, 0.0, 1.1, float("nan")]),
]


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in NUMBERS_OUT_OF_RANGE for value in values],
)
def test_a_number_out_of_range_is_refused_by_name(field, value):
    assert repr(value) in refused(field, **{field: value}) or value == 0.0


@pytest.mark.parametrize("width", [9, 100, 513])
def test_a_width_between_two_that_work_is_told_both(width):
    below, above = width // 8 * 8, width // 8 * 8 + 8
    assert f"{below} or {above} would do" in refused("width", width=width)


@pytest.mark.parametrize("prompts", [(), [], ["a"], "a", None, (1,), (None,)])
def test_prompts_that_are_no_texts_are_refused(prompts):
    refused("prompts", prompts=prompts)


@pytest.mark.parametrize("field", ["negative_prompt", "model", "init_image"])
@pytest.mark.parametrize("text", ["a\0b", "\ud800", None, 5])
def test_texts_that_cannot_be_written_are_refused(field, text):
    refused(field, **{field: text})


@pytest.mark.parametrize("field", ["model", "init_image"])
def test_a_path_may_not_be_empty(field):
    refused(field, **{field: "  "})


def test_an_empty_prompt_is_a_prompt():
    assert TextToImage(prompts=("",)).prompt_of(0) == ""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("loras", [LoraUse(path="a")]),
        ("loras", ("a",)),
        ("loras", (EmbeddingUse(path="a"),)),
        ("loras", (LoraUse(path=""),)),
        ("loras", (LoraUse(path="a\0"),)),
        ("loras", (LoraUse(path="a", weight=float("nan")),)),
        ("loras", (LoraUse(path="a", weight=101),)),
        ("loras", (LoraUse(path="a", text_weight="1"),)),
        ("loras", (LoraUse(path="a", sha256=None),)),
        ("embeddings", (EmbeddingUse(path=""),)),
        ("embeddings", (EmbeddingUse(path="a", token=None),)),
    ],
)
def test_adapters_that_make_no_sense_are_refused(field, value):
    refused(field, **{field: value})


def test_guidance_cannot_end_before_it_begins():
    refused("guidance_end", guidance_start=0.6, guidance_end=0.5)


def test_a_strength_that_leaves_no_step_is_told_the_least():
    assert "at least 0.1" in refused("strength", steps=10, strength=0.05)


def test_the_least_strength_that_is_told_is_enough():
    for steps in range(1, 1001):
        reason = refused("strength", steps=steps, strength=0.0)
        least = float(reason.removesuffix(".").rpartition(" ")[2])
        assert dataclasses.replace(IMAGE, steps=steps, strength=least).strength == least


def test_prompts_times_count_is_limited():
    prompts = ("a",) * 101
    assert "1010 pictures" in refused("count", prompts=prompts, count=10)


def test_the_last_picture_needs_a_seed_too():
    assert dataclasses.replace(TEXT, seed=MAX_SEED - 5).seed_of(5) == MAX_SEED
    with pytest.raises(InvalidRequest, match="6 pictures"):
        dataclasses.replace(TEXT, seed=MAX_SEED - 4)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "video"}, "kind"),
        ({"kind": None}, "kind"),
        ({"new_setting": 1}, "new_setting"),
        ({"scheduler": "magic"}, "scheduler"),
        ({"precision": 16}, "precision"),
        ({"prompts": "a cat"}, "prompts"),
        ({"prompts": []}, "prompts"),
        ({"init_image": "/a"}, "init_image"),
        ({"loras": {}}, "loras"),
        ({"loras": ["a"]}, "loras"),
        ({"loras": [{"weight": 1}]}, "loras"),
        ({"loras": [{"path": "a", "size": 1}]}, "loras"),
        ({"embeddings": [{"path": 1}]}, "embeddings"),
        ({"vae_tiling": "often"}, "vae_tiling"),
        ({"second_pass": 2}, "second_pass"),
        ({"second_pass": {"size": 2}}, "second_pass"),
        ({"second_pass": {"scale": 0.5}}, "second_pass.scale"),
        ({"second_pass": {"upscaler": ""}}, "second_pass.upscaler"),
        ({"second_pass": {"upscaler": 2}}, "second_pass.upscaler"),
        ({"mask_image": "/m"}, "mask_image"),
    ],
)
def test_json_of_no_request_is_refused_by_name(changes, field):
    with pytest.raises(InvalidRequest) as caught:
        from_json(to_json(TEXT) | changes)
    assert caught.value.field == field


def test_json_without_what_is_needed_is_refused():
    with pytest.raises(InvalidRequest, match="prompts"):
        from_json({"kind": "text-to-image"})


def test_json_may_leave_out_what_has_a_default():
    assert from_json({"kind": "text-to-image", "prompts": ["a"]}) == TextToImage(prompts=("a",))


def test_a_choice_is_told_what_there_is():
    assert parse_choice("scheduler", "ddim", SchedulerName) is SchedulerName.DDIM
    with pytest.raises(InvalidRequest, match="'best' is none of pndm, ddim"):
        parse_choice("scheduler", "best", SchedulerName)


def test_each_picture_may_have_a_seed_a_guidance_and_a_negative_prompt_of_its_own():
    request = TextToImage(
        prompts=("a", "b"),
        negative_prompt="fog",
        negative_prompts=("fog", ""),
        guidance_scale=1.5,
        guidance_scales=(1.5, 9.0),
        seed=MAX_SEED,
        seeds=(MAX_SEED, 3),
    )
    assert from_json(json.loads(json.dumps(to_json(request)))) == request
    assert request.texts == ("a", "b", "fog", "")
    assert request.alone(1) == TextToImage(prompts=("b",), guidance_scale=9.0, seed=3)
    assert [request.seed_of(i) for i in range(2)] == [MAX_SEED, 3]
    assert request.alone(0).alone(0) == request.alone(0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seeds": (1, 2, 3)}, "seeds: must be one for each prompt"),
        ({"seeds": [0, 1]}, "seeds: must be one for each prompt"),
        ({"seeds": (0, -1)}, "seeds: -1 must be"),
        ({"seeds": (1, 2)}, "seed: must be the first of the seeds"),
        ({"seeds": (0, 1), "count": 2}, "count: must be 1 where each picture has seeds"),
        ({"guidance_scale": 2.0, "guidance_scales": (2.0, 101.0)}, "guidance_scales: 101.0 must"),
        ({"negative_prompts": ("", 4)}, "negative_prompts: 4 is not text"),
    ],
)
def test_what_pictures_have_of_their_own_is_checked(changes, sentence):
    with pytest.raises(InvalidRequest, match=sentence):
        TextToImage(prompts=("a", "b"), **changes)


def test_pictures_that_were_said_to_share_a_seed_are_read_still():
    written = to_json(TextToImage(prompts=("a", "b"), seed=5))
    del written["seeds"], written["guidance_scales"], written["negative_prompts"]
    request = from_json(written | {"shared_seed": True})
    assert [request.seed_of(i) for i in range(2)] == [5, 5]
    assert from_json(written | {"shared_seed": False}).seeds == ()


def test_the_final_size_is_a_multiple_of_8():
    assert TEXT.final_size == (512, 512)
    assert HIRES.final_size == (664, 664)  # 1.3 times 512 is 665.6.


@pytest.mark.parametrize(
    ("field", "request_", "changes"),
    [
        ("second_pass", TEXT, {"second_pass": 2.0}),
        ("second_pass.scale", TEXT, {"width": 4096, "second_pass": SecondPass()}),
        ("second_pass.strength", TEXT, {"steps": 1, "second_pass": SecondPass()}),
        ("vae_tiling", TEXT, {"vae_tiling": "on"}),
        ("vae", TEXT, {"vae": None}),
        ("vae_sha256", TEXT, {"vae_sha256": 1}),
        ("refiner", TEXT, {"refiner": None}),
        ("refiner_sha256", TEXT, {"refiner_sha256": 1}),
        ("refiner_start", TEXT, {"refiner": "fine", "refiner_start": -0.1}),
        ("refiner_start", TEXT, {"refiner": "fine", "refiner_start": 1.1}),
        ("refiner_start", TEXT, {"refiner_start": 0.5}),
        ("second_pass", INPAINT, {"second_pass": SecondPass()}),
        ("mask_image", INPAINT, {"mask_image": " "}),
        ("mask_sha256", INPAINT, {"mask_sha256": None}),
        ("mask_invert", INPAINT, {"mask_invert": 1}),
        ("mask_blur", INPAINT, {"mask_blur": -1}),
        ("mask_blur", INPAINT, {"mask_blur": 257}),
        ("only_masked", INPAINT, {"only_masked": None}),
        ("padding", INPAINT, {"padding": -1}),
        ("strength", INPAINT, {"strength": 1.5}),
        ("second_pass", OUTPAINT, {"second_pass": SecondPass()}),
        ("left", OUTPAINT, {"left": 0, "bottom": 0}),
        ("top", OUTPAINT, {"top": -8}),
        ("width", OUTPAINT, {"right": 445}),
        ("height", OUTPAINT, {"height": 8}),
        ("mask_blur", OUTPAINT, {"mask_blur": 1.0}),
    ],
)
def test_what_cannot_be_painted_is_refused_by_name(field, request_, changes):
    refused(field, request_, **changes)


def test_a_file_alone_may_enlarge_a_picture_and_a_filter_may_not():
    assert LARGER.denoises
    assert not dataclasses.replace(LARGER, strength=0.0).denoises
    refused("strength", LARGER, strength=0.0, upscaler="lanczos")
    assert "leaves none to run" in refused("strength", LARGER, strength=0.01)
    refused("upscaler", LARGER, upscaler="latent")
    refused("upscaler", LARGER, upscaler="")


def test_what_enlarges_a_requests_pictures_stands_in_one_of_two_places():
    assert enlarger_of(LARGER) is LARGER
    assert enlarger_of(HIRES) is HIRES.second_pass
    assert enlarger_of(TEXT) is None
