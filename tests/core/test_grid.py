import pytest

from core.errors import InvalidRequest
from core.grid import batches_of, check_axes, make_grid
from core.grid_axes import read_axis
from core.grid_words import in_common
from core.request import (
    ControlUse,
    EmbeddingUse,
    ImageToImage,
    Inpaint,
    LoraUse,
    Outpaint,
    SecondPass,
    TextToImage,
)


def grid_of(x=None, y=None, **given):
    axes = [words and read_axis("x", words) for words in (x, y)]
    kind = ImageToImage if "init_image" in given else TextToImage
    return make_grid(*axes, {"prompts": ("a",), "seed": 7} | given, lambda s: kind(**s))


def test_cells_go_row_by_row_and_share_the_seed():
    grid = grid_of("guidance=1,3", "prompt=a|b|c")
    assert (grid.columns, grid.rows) == (2, 3)
    assert [(c.column, c.row) for c in grid.cells] == [
        (0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)
    ]  # fmt: skip
    assert [c.request.guidance_scale for c in grid.cells] == [1, 3] * 3
    assert [c.request.prompt_of(0) for c in grid.cells] == list("aabbcc")
    assert {c.request.seed for c in grid.cells} == {7}


@pytest.mark.parametrize(("x", "y"), [("steps=4,5", None), (None, "steps=4,5")])
def test_one_axis_is_enough(x, y):
    grid = grid_of(x, y)
    assert [c.request.steps for c in grid.cells] == [4, 5]
    assert {grid.columns, grid.rows} == {1, 2}


def test_cells_that_differ_in_what_a_picture_may_have_of_its_own_are_one_request():
    plain, guided = batches_of(grid_of("guidance=1,3,7.5", "prompt=a|b", negative_prompt="fog"))
    assert plain.request.guidance_scales == ()
    assert plain.request.guidance_scale == 1
    assert guided.request.guidance_scales == (3, 7.5, 3, 7.5)
    assert guided.request.negative_prompts == ()
    for batch in (plain, guided):
        assert [batch.request.alone(i) for i in range(len(batch.cells))] == [
            cell.request for cell in batch.cells
        ]


@pytest.mark.parametrize(
    ("axes", "requests"),
    [
        (("prompt=a|b|c",), 1),
        (("negative=a|b", "guidance=2,3"), 1),
        (("seed=5,9,6", "guidance=2,3"), 1),
        (("seed=5,9,6", "prompt=a|b"), 1),
        (("steps=5,9,6", "prompt=a|b"), 3),
        (("scheduler=ddim,pndm", "seed=1,2,3"), 2),
    ],
)
def test_every_cell_is_in_one_request(axes, requests):
    grid = grid_of(*axes)
    batches = batches_of(grid)
    assert len(batches) == requests
    cells = [cell for batch in batches for cell in batch.cells]
    assert sorted(map(str, cells)) == sorted(map(str, grid.cells))
    alone = [batch.request.alone(i) for batch in batches for i in range(len(batch.cells))]
    assert alone == [cell.request for cell in cells]


def test_a_batch_size_of_one_keeps_every_cell_a_request_of_its_own():
    grid = grid_of("prompt=a|b", "seed=1,2", batch_size=1)
    assert [b.request for b in batches_of(grid)] == [c.request for c in grid.cells]


def test_each_model_is_loaded_once():
    batches = batches_of(grid_of("model=m,n", "steps=3,4,5"))
    assert [b.request.model for b in batches] == ["m"] * 3 + ["n"] * 3


def test_what_all_cells_share_is_said_and_defaults_are_not():
    grid = grid_of("guidance=1,3", width=64, init_image="/p/cat.png", strength=0.5)
    assert grid.same_prompt() == "a"
    assert grid.same_settings() == {
        "model": "starter",
        "scheduler": "ddim",
        "steps": "20",
        "seed": "7",
        "size": "64 x 512",
        "init": "cat.png",
        "strength": "0.5",
    }
    assert grid_of("prompt=a|b").same_prompt() == ""


@pytest.mark.parametrize("pair", [("steps=1,2", "steps=3,4"), ("size=64,128", "width=64,72")])
def test_one_setting_cannot_go_both_ways(pair):
    with pytest.raises(InvalidRequest, match="both axes"):
        check_axes(*(read_axis("x", words) for words in pair))


def test_ten_thousand_cells_are_too_many():
    with pytest.raises(InvalidRequest, match="10000 pictures"):
        check_axes(read_axis("x", "seed=1..100"), read_axis("y", "steps=1..100"))


def test_a_cell_that_cannot_be_made_is_refused_at_once():
    with pytest.raises(InvalidRequest, match="steps: 0"):
        grid_of("steps=10,0")


@pytest.mark.parametrize("axis", ["negative=a|b", "guidance-rescale=0,0.5"])
def test_what_needs_guidance_is_refused_without(axis):
    with pytest.raises(InvalidRequest, match="raise --guidance"):
        grid_of(axis, guidance_scale=1.0)
    assert len(grid_of(axis, "guidance=1,2").cells) == 4


def test_the_weight_of_all_loras_can_be_varied_and_needs_one():
    loras = (LoraUse(path="fox"), LoraUse(path="fur"))
    grid = grid_of("lora-weight=0,0.5", loras=loras)
    assert [[use.weight for use in c.request.loras] for c in grid.cells] == [[0, 0], [0.5, 0.5]]
    with pytest.raises(InvalidRequest, match="--lora"):
        grid_of("lora-weight=0,0.5")
    with pytest.raises(InvalidRequest, match="both axes"):
        check_axes(read_axis("x", "lora-weight=0,1"), read_axis("y", "lora-weight=2,3"))


@pytest.mark.parametrize(
    "given",
    [
        {"loras": (LoraUse(path="fur"), LoraUse(path="fox", weight=0.3))},
        {"loras": (LoraUse(path="fox", text_weight=0.3),)},
        {"prompts": ("a <lora:fox:0.3>",)},
    ],
)
def test_a_weight_that_is_given_is_not_varied_too(given):
    with pytest.raises(InvalidRequest, match="weighs fox too"):
        grid_of("lora-weight=0,0.5", **given)


def test_a_lora_that_the_prompt_names_is_weighed():
    grid = grid_of("lora-weight=0,0.5", prompts=("a <lora:fox:1>",))
    requests = [cell.request for cell in grid.cells]
    assert [r.prompts for r in requests] == [("a",)] * 2
    assert [r.loras for r in requests] == [(LoraUse(path="fox", weight=w),) for w in (0, 0.5)]


def test_what_pictures_are_made_of_is_said():
    given = {
        "loras": (LoraUse(path="/l/fur.safetensors"),),
        "embeddings": (EmbeddingUse(path="/e/x.pt", token="sks"),),
        "controls": (ControlUse(path="/c/canny", image="/p/cat.png", weight=0.5),),
        "second_pass": SecondPass(scale=2, strength=0.4),
    }
    made_of = {
        "embedding": "sks",
        "ControlNet": "canny over cat.png at 0.5",
        "second pass": "2 times, strength 0.4, lanczos",
    }
    said = grid_of("steps=4,5", **given).same_settings()
    assert said.items() >= {**made_of, "LoRA": "fur.safetensors at 1"}.items()
    varied = grid_of("lora-weight=0,0.5", **given)
    assert varied.same_settings().items() >= {**made_of, "LoRA": "fur.safetensors"}.items()
    assert varied.axes[0].parameter.title == "LoRA weight"


def test_the_part_that_is_painted_is_said():
    start = {"prompts": ("a",), "init_image": "/p/cat.png"}
    masked = Inpaint(**start, mask_image="/p/m.png", mask_invert=True, only_masked=True)
    assert in_common([masked])["mask"] == "m.png, inverted, blur 4, only masked with 32 around"
    assert in_common([Outpaint(**start, left=8, top=16)])["painted on"] == "left 8, top 16, blur 0"
