from dataclasses import replace

import pytest

from core.coreml_folder import ExportFormat
from core.errors import InvalidRequest
from core.models.identify import identify
from coreml_export.events import Stage, StageBegan
from coreml_export.plan import Planned, disk_needed, memory_needed, plan, target_of
from coreml_export.progress import Progress
from coreml_export.request import Compression, ExportRequest

REQUEST = ExportRequest(out="o")


def names(request, model, nets=None):
    parts = plan(request, identify(model), nets or {}, compiles=False)
    return [str(part.name) for part in parts]


def test_all_parts_are_made_the_largest_first(tiny_model, tiny_xl_model):
    assert names(REQUEST, tiny_model)[0] == "Unet"
    assert sorted(names(REQUEST, tiny_model)) == ["TextEncoder", "Unet", "VAEDecoder", "VAEEncoder"]
    assert "TextEncoder2" in names(REQUEST, tiny_xl_model)
    parts = plan(REQUEST, identify(tiny_xl_model), {}, compiles=False)
    sizes = [part.parameters for part in parts]
    assert sizes == sorted(sizes, reverse=True)


def test_parts_are_chosen_and_those_that_a_model_lacks_are_told(tiny_model):
    assert names(replace(REQUEST, parts=("VAEDecoder", "Unet")), tiny_model) == [
        "Unet",
        "VAEDecoder",
    ]
    with pytest.raises(InvalidRequest, match="none of this model's: Unet, TextEncoder, "):
        names(replace(REQUEST, parts=("TextEncoder2",)), tiny_model)


def test_controls_make_the_unet_another_part(tiny_model):
    led = replace(REQUEST, controls=("canny",))
    assert {"ControlledUnet", "controlnet/Canny"} <= set(names(led, tiny_model, {"Canny": 5}))
    assert names(replace(led, parts=("Unet",)), tiny_model, {"Canny": 5}) == ["ControlledUnet"]
    assert names(replace(led, parts=("controlnet",)), tiny_model, {"Canny": 5}) == [
        "controlnet/Canny"
    ]


def test_vae_is_never_packed_and_stages_follow_what_is_asked_for(tiny_model):
    request = replace(REQUEST, compression=Compression.parse("mixed"), check=False)
    parts = {p.name: p for p in plan(request, identify(tiny_model), {}, compiles=True)}
    assert parts["Unet"].stages == (
        Stage.LOAD,
        Stage.MEASURE,
        Stage.TRACE,
        Stage.CONVERT,
        Stage.COMPRESS,
        Stage.COMPILE,
    )
    assert parts["VAEDecoder"].stages == (Stage.LOAD, Stage.TRACE, Stage.CONVERT, Stage.COMPILE)


def test_text_encoders_compute_as_they_did_where_activations_are_rounded(tiny_xl_model):
    request = replace(REQUEST, compression=Compression.parse("w8a8"))
    parts = {p.name: p for p in plan(request, identify(tiny_xl_model), {"a": 5}, compiles=False)}
    assert {name: str(part.compression) for name, part in parts.items()} == {
        "Unet": "w8a8",
        "controlnet/a": "w8a8",
        "TextEncoder": "int8",
        "TextEncoder2": "int8",
        "VAEDecoder": "none",
        "VAEEncoder": "none",
    }
    assert Stage.MEASURE in parts["Unet"].stages
    assert Stage.MEASURE not in parts["TextEncoder"].stages


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({}, "macOS13"),
        ({"compression": Compression.parse("int8")}, "macOS14"),
        ({"sizes": ((512, 512), (512, 768))}, "macOS15"),
    ],
)
def test_the_oldest_system_follows_from_what_is_asked_for(changes, target):
    assert target_of(replace(REQUEST, **changes)) == target


def test_needs_grow_with_the_largest_part_and_shrink_with_packing(tiny_model):
    part = plan(REQUEST, identify(tiny_model), {}, compiles=False)[0]
    real = replace(part, parameters=859_520_964)
    # As measured on the UNets of Stable Diffusion 1.5, 1.72 and 6.19 GB, and of SDXL, 16.39 GB.
    assert real.bytes == pytest.approx(1.72e9, rel=0.01)
    assert 6.19e9 < memory_needed([real, part]) < 1.1 * 6.19e9
    assert 16.39e9 < memory_needed([replace(part, parameters=2_567_463_684)]) < 1.1 * 16.39e9
    packed = replace(real, compression=Compression.parse("palette6"))
    assert packed.bytes < 0.4 * real.bytes
    assert disk_needed([packed]) < disk_needed([real])
    # All sizes lie there before they are joined.
    two = replace(REQUEST, sizes=((64, 64), (64, 128)))
    joined = replace(real, stages=plan(two, identify(tiny_model), {}, compiles=False)[0].stages)
    assert disk_needed([joined]) > disk_needed([real]) + 1.72e9


def test_each_size_goes_through_the_stages_again(tiny_model):
    two = replace(REQUEST, sizes=((64, 64), (64, 128)))
    each = (Stage.LOAD, Stage.TRACE, Stage.CONVERT)
    parts = {p.name: p for p in plan(two, identify(tiny_model), {}, compiles=False)}
    assert parts["Unet"].stages == (*each, *each, Stage.CHECK)
    assert parts["TextEncoder"].stages == (*each, Stage.CHECK)
    coreai = replace(two, format=ExportFormat.COREAI)
    parts = {p.name: p for p in plan(coreai, identify(tiny_model), {}, compiles=False)}
    assert parts["Unet"].stages[:5] == (*each[:2], *each)


@pytest.mark.parametrize("sizes", [(), ((64, 64), (64, 128))])
def test_progress_grows_to_the_end_and_learns_the_pace(tiny_model, sizes):
    now = 0.0
    progress = Progress(lambda: now)
    assert progress.step() is None
    parts = plan(replace(REQUEST, sizes=sizes), identify(tiny_model), {}, compiles=False)
    progress.note(Planned(parts))
    shares, left = [], []
    for part in parts:
        for stage in part.stages:
            progress.note(StageBegan(part=part.name, stage=stage))
            for _ in range(4):
                step = progress.step()
                assert (step.part, step.stage) == (part.name, stage)
                shares.append(step.share)
                left.append(step.seconds_left)
                now += part.seconds(stage) / 2  # twice as long as expected
    assert shares == sorted(set(shares))
    assert shares[0] == 0
    assert 0.95 < shares[-1] < 1
    assert left[0] is None
    total = 2 * sum(part.seconds(stage) for part in parts for stage in part.stages)
    middle = len(left) // 2
    assert left[middle] == pytest.approx((1 - shares[middle]) * total, rel=0.2)
