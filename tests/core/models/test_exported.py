"""Folders of exported models in the library: recognised, listed, checked, and what they can do."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest

from core.compute_units import AUTO
from core.coreml_folder import ExportFormat, Layout
from core.errors import InvalidRequest, ModelInvalid, NeedsExport, Unsupported
from core.models import catalog
from core.models.exported_limits import (
    check_length,
    check_limits,
    function_of,
    refusal_here,
    settled_for,
    units_refusal_here,
)
from core.models.found_files import models_in
from core.models.identify import Family, Identity, PredictionType, identify
from core.models.library import Library
from core.models.library_events import Added, Checked, State
from core.models.listing import listing
from core.models.verdict import Kind, judge
from core.paths import Profile
from core.request import (
    ControlUse,
    EmbeddingUse,
    ImageToImage,
    LoraUse,
    MemoryMode,
    Precision,
    SecondPass,
    TextToImage,
    Tiling,
    Upscale,
)
from tests.fixtures.packages import (
    STARTER,
    UNET_INPUTS,
    write_compiled,
    write_foreign,
    write_ours,
)

SD2 = UNET_INPUTS | {"encoder_hidden_states": ((2, 1024, 1, 77), "float16")}
XL = {
    "sample": ((2, 4, 128, 96), "float16"),
    "timestep": ((2,), "float16"),
    "encoder_hidden_states": ((2, 2048, 1, 77), "float16"),
    "time_ids": ((2, 6), "float16"),
    "text_embeds": ((2, 1280), "float16"),
}
ALL = ("TextEncoder", "Unet", "VAEDecoder", "VAEEncoder")


def text_to_image(**changes: Any) -> TextToImage:
    settings = {"prompts": ("a cat",), "width": 128, "height": 128}
    return TextToImage(**(settings | changes))


def test_a_folder_of_another_converter_is_identified_by_its_unet(tmp_path: Path):
    identity = identify(write_foreign(tmp_path / "dreamy", UNET_INPUTS))
    exported = identity.exported
    assert exported is not None
    assert (identity.family, identity.prediction_type) == (Family.SD1, PredictionType.EPSILON)
    assert (identity.width, identity.height, identity.vae_scale) == (512, 512, 8)
    assert identity.text_encoders == ("text_encoder",)
    assert (exported.layout, exported.source) == (Layout.SPLIT_EINSUM, "")
    assert identity.parameters["unet"] > 0
    assert not exported.lacking(("unet", "text_encoder", "vae"))


@pytest.mark.parametrize(
    ("name", "unet", "family", "prediction"),
    [
        ("sd-2-1-base", SD2, Family.SD2, PredictionType.EPSILON),
        ("any", SD2 | {"sample": ((2, 4, 96, 96), "float16")}, Family.SD2, PredictionType.V),
        ("any", XL, Family.SDXL, PredictionType.EPSILON),
    ],
)
def test_the_families(tmp_path: Path, name: str, unet: Any, family: Family, prediction: Any):
    identity = identify(write_foreign(tmp_path / name, unet))
    assert (identity.family, identity.prediction_type) == (family, prediction)
    assert identity.needs_size is (family is Family.SDXL)
    sample = unet["sample"][0]
    assert (identity.width, identity.height) == (sample[3] * 8, sample[2] * 8)


def test_the_converters_own_names_are_read(tmp_path: Path):
    write_foreign(tmp_path, UNET_INPUTS)
    for part, name in (
        ("Unet", "unet"),
        ("TextEncoder", "text_encoder"),
        ("VAEDecoder", "vae_decoder"),
        ("VAEEncoder", "vae_encoder"),
    ):
        stem = f"Stable_Diffusion_version_runwayml_stable-diffusion-v1-5_{name}"
        (tmp_path / f"{part}.mlmodelc").rename(tmp_path / f"{stem}.mlmodelc")
    exported = identify(tmp_path).exported
    assert exported is not None
    assert set(exported.packages) == set(ALL)


def test_chunks_are_run_one_after_another(tmp_path: Path):
    write_foreign(tmp_path, UNET_INPUTS)
    handed = {"hidden": ((2, 1280, 8, 8), "float32")}
    write_compiled(tmp_path / "UnetChunk1.mlmodelc", UNET_INPUTS, handed)
    write_compiled(tmp_path / "UnetChunk2.mlmodelc", handed, {"noise_pred": ((1,), "float32")})
    exported = identify(tmp_path).exported
    assert exported is not None
    assert [part.name for part in exported.of("unet")] == ["UnetChunk1", "UnetChunk2"]
    assert "Unet/metadata.json" not in exported.weights


def test_a_package_goes_before_what_was_compiled_of_it(tmp_path: Path):
    write_ours(tmp_path)
    write_compiled(tmp_path / "Unet.mlmodelc", UNET_INPUTS, {"noise_pred": ((1,), "float32")})
    exported = identify(tmp_path).exported
    assert exported is not None
    unet = exported.packages["Unet"]
    assert (unet.path.suffix, unet.compiled) == (".mlpackage", tmp_path / "Unet.mlmodelc")


def test_our_own_folder_is_what_its_source_is(tmp_path: Path):
    identity = identify(write_ours(tmp_path))
    assert (identity.family, identity.prediction_type) == (Family.CUSTOM, STARTER.prediction_type)
    assert (identity.width, identity.vae_scale) == (128, STARTER.vae_scale)
    assert identity.defaults == STARTER.defaults
    assert identity.parameters == STARTER.parameters
    assert identity.exported is not None
    assert identity.exported.lacking(("unet", "text_encoder", "vae")) == ("text_encoder",)


@pytest.mark.parametrize(
    "model",
    [{}, {"configs": {}}, {"configs": {"unet": {}, "vae": {}, "scheduler": {}}}, {"configs": 3}],
)
def test_a_manifest_that_does_not_describe_its_model_is_refused(tmp_path: Path, model: Any):
    with pytest.raises((ModelInvalid, Unsupported)):
        identify(write_ours(tmp_path, model=model))


def test_a_part_that_the_manifest_names_must_be_there(tmp_path: Path):
    write_ours(tmp_path)
    shutil.rmtree(tmp_path / "Unet.mlpackage")
    with pytest.raises(ModelInvalid, match=r"Unet\.mlpackage is missing"):
        identify(tmp_path)


def test_a_part_that_is_cut_short_is_damaged(tmp_path: Path):
    write_ours(tmp_path)
    for file in (tmp_path / "Unet.mlpackage").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with pytest.raises(ModelInvalid, match=r"Unet\.mlpackage is damaged: it has 0 of 1 bytes"):
        identify(tmp_path)


def test_a_single_part_is_no_model(tmp_path: Path):
    write_ours(tmp_path)
    for look in (identify, judge):
        with pytest.raises(ModelInvalid, match="give the folder that it lies in"):
            look(tmp_path / "Unet.mlpackage")


def test_a_folder_without_a_unet_or_manifest_is_refused(tmp_path: Path):
    write_foreign(tmp_path, UNET_INPUTS)
    shutil.rmtree(tmp_path / "Unet.mlmodelc")
    with pytest.raises(ModelInvalid, match="no Unet"):
        identify(tmp_path)


def test_a_unet_of_no_known_family_is_refused(tmp_path: Path):
    odd = UNET_INPUTS | {"encoder_hidden_states": ((2, 999, 1, 77), "float16")}
    with pytest.raises(Unsupported, match="999 wide"):
        identify(write_foreign(tmp_path, odd))


def test_the_library_adds_checks_and_removes_it(tmp_path: Path):
    folder = write_ours(tmp_path / "models" / "tiny-coreml", ALL)
    library = Library(Profile(tmp_path / "profile"))
    assert list(models_in(tmp_path / "models")) == [folder]
    added = list(library.add(folder, copy=True))[-1]
    assert isinstance(added, Added)
    entry = added.entry
    assert (entry.kind, entry.title) == (Kind.MODEL, "custom Stable Diffusion Core ML model")
    inside = "Unet.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    assert inside in [file.name for file in entry.files]
    assert identify(entry.path).exported is not None
    assert library.fingerprints.of_model(identify(folder).weights) == entry.sha256
    (entry.path / inside).write_bytes(b"another")
    checked = [event for event in library.verify() if isinstance(event, Checked)]
    assert [one.state for one in checked] == [State.CHANGED]
    assert library.remove(entry.name).deleted
    assert not entry.path.exists()


def test_a_list_of_models_says_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    library = Library(Profile(tmp_path / "profile"))
    list(library.add(write_ours(tmp_path / "tiny-coreml", ALL)))
    row = list(listing(library))[-1]
    assert row.card is not None
    assert row.card.sizes == ((128, 128),)
    assert set(row.card.limits) == {
        "loras",
        "embeddings",
        "refiner",
        "controls",
        "vae_tiling",
        "precision",
    }
    assert row.refused == refusal_here(identity_of(tmp_path / "tiny-coreml"))
    assert row.precision == "fp16"
    assert tuple(row.card.usual_units) == ("TextEncoder", "Unet", "VAEDecoder", "VAEEncoder")
    assert len(set(row.card.usual_units.values())) == 1


def identity_of(folder: Path) -> Any:
    return identify(folder).exported


def test_it_runs_on_macs_alone_and_says_what_runs_elsewhere(tmp_path: Path):
    ours, other = identity_of(write_ours(tmp_path / "a")), tmp_path / "b"
    assert refusal_here(ours, "darwin") == ""
    assert refusal_here(ours, "linux") == (
        "Running a Core ML model needs a Mac; starter, which this one was made from, runs here."
    )
    foreign = identity_of(write_foreign(other, UNET_INPUTS))
    assert "choose another model" in refusal_here(foreign, "win32")
    newer = dataclasses.replace(ours, format=ExportFormat.COREAI)
    assert refusal_here(newer, "darwin") == refusal_here(newer, "linux") == ""
    assert refusal_here(newer, "win32").startswith("Running a Core AI model needs a Mac;")
    assert units_refusal_here(ours, "darwin") == units_refusal_here(newer, "darwin") == ""
    assert units_refusal_here(ours, "linux") == refusal_here(ours, "linux")
    assert units_refusal_here(newer, "linux") == "Core AI computes on the CPU alone on this system."


@pytest.fixture
def whole(tmp_path: Path) -> Identity:
    return identify(write_ours(tmp_path, ALL))


def test_what_it_can_do_is_let_pass(whole: Identity):
    check_limits(text_to_image(compute_units="Unet=cpu-ane", precision=Precision.FP16), whole)
    check_limits(ImageToImage(prompts=("",), init_image="a.png", width=128, height=128), whole)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"loras": (LoraUse(path="a.safetensors"),)}, "loras", "export it again with this LoRA"),
        (
            {"embeddings": (EmbeddingUse(path="a.pt", token="a"),)},
            "embeddings",
            "again with this one",
        ),
        ({"controls": (ControlUse(path="c", image="a.png"),)}, "controls", "again with this"),
        ({"refiner": "sdxl-refiner"}, "refiner", "no refiner"),
        ({"vae_tiling": Tiling.ON}, "vae_tiling", "whole picture"),
        ({"precision": Precision.FP32}, "precision", "fixed"),
        ({"width": 256}, "width", "export it again in this size"),
        ({"second_pass": SecondPass(scale=2.0)}, "second_pass.scale", "256 x 256"),
    ],
)
def test_what_it_cannot_do_is_refused_with_the_remedy(
    whole: Identity, changes: Any, field: str, words: str
):
    with pytest.raises(InvalidRequest, match=words) as refused:
        check_limits(text_to_image(**changes), whole)
    assert refused.value.field == field
    assert isinstance(refused.value, NeedsExport) == ("again" in words)


def test_no_export_is_offered_for_what_needs_two_sizes(whole: Identity):
    tiles = Upscale(prompts=("",), init_image="a.png", width=1024, height=1024, window=512)
    twice = text_to_image(width=256, second_pass=SecondPass(scale=2.0))
    for request, of_the_rest in ((tiles, "512 x 512"), (twice, "256 x 128")):
        with pytest.raises(InvalidRequest, match=f"than the {of_the_rest} of the rest") as refused:
            check_limits(request, whole)
        assert not isinstance(refused.value, NeedsExport)


def test_a_start_picture_needs_what_reads_it(tmp_path: Path):
    identity = identify(write_ours(tmp_path, ALL[:3]))
    request = ImageToImage(prompts=("",), init_image="a.png", width=128, height=128)
    with pytest.raises(NeedsExport, match="VAEEncoder"):
        check_limits(request, identity)
    check_limits(dataclasses.replace(request, vae="other.safetensors"), identity)


def test_what_torch_does_of_it_has_no_limits(tmp_path: Path):
    vae_alone = identify(write_ours(tmp_path, ("VAEDecoder", "VAEEncoder")))
    check_limits(
        text_to_image(
            loras=(LoraUse(path="a.safetensors"),),
            embeddings=(EmbeddingUse(path="a.pt", token="a"),),
            precision=Precision.FP32,
        ),
        vae_alone,
    )


def test_compute_units_are_for_exported_models_alone(whole: Identity):
    with pytest.raises(InvalidRequest, match="Core ML models alone"):
        check_limits(text_to_image(compute_units="cpu-ane"), STARTER)
    with pytest.raises(InvalidRequest, match="TextEncoder2"):
        settled_for(text_to_image(compute_units="TextEncoder2=cpu"), whole)


def test_what_is_left_open_is_settled_and_stays(whole: Identity):
    made = settled_for(text_to_image(), whole)
    assert made.compute_units != AUTO
    assert (made.precision, made.vae_tiling) == (Precision.FP16, Tiling.OFF)
    assert settled_for(made, whole) == made
    assert settled_for(text_to_image(memory=MemoryMode.LOW), STARTER).compute_units == AUTO


def test_another_size_is_another_function(tmp_path: Path):
    exported = identity_of(write_ours(tmp_path, ALL, sizes=((128, 128), (128, 192))))
    assert function_of(text_to_image(), exported.sizes) == ""
    assert function_of(text_to_image(height=192), exported.sizes) == "size_128x192"


def test_longer_texts_than_it_reads_are_refused(whole: Identity):
    check_length(1, "prompts", whole)
    check_length(2, "prompts", STARTER)
    with pytest.raises(InvalidRequest, match="75 tokens"):
        check_length(2, "prompts", whole)


def test_a_card_tells_the_limits(whole: Identity):
    card = catalog.card(str(whole.path))
    assert card.sizes == ((128, 128),)
    assert "export it again" in card.limits["loras"]
    assert catalog.card("starter").limits == {}
