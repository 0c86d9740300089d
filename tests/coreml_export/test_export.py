import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.coreml_folder import MANIFEST, Manifest
from core.engine import TorchEngine
from core.errors import InvalidRequest, ModelInvalid, ModelMissing, SaveFailed, Unsupported
from core.events import ImageReady, Loading, Notice, PreviewSettings
from core.models import catalog
from core.models.families import Distillation
from core.models.identify import identify
from core.paths import Profile
from core.request import ControlUse, DeviceName, LoraUse, PreviewDecoder
from core.sampling import linear_preview
from coreml_export.events import Exported, ExportStep, Needs, PartWritten, Stage
from coreml_export.export import export
from coreml_export.interpreter.program import Program
from coreml_export.interpreter.psnr import psnr
from coreml_export.request import ExportRequest
from tests.coreml_export.conftest import needs_coremltools, of_all_kinds, of_kinds
from tests.fixtures.converted import decibels, interpreted
from tests.fixtures.exported import request_of

CONTRACT = {
    "TextEncoder": (
        {"input_ids": ((1, 77), "fp32")},
        {"last_hidden_state": (1, 77, 16), "pooled_outputs": (1, 16)},
    ),
    "Unet": (
        {
            "sample": ((2, 4, 8, 8), "fp16"),
            "timestep": ((2,), "fp32"),
            "encoder_hidden_states": ((2, 16, 1, 77), "fp16"),
        },
        {"noise_pred": (2, 4, 8, 8)},
    ),
    "VAEDecoder": ({"z": ((1, 4, 8, 8), "fp16")}, {"image": (1, 3, 64, 64)}),
    "VAEEncoder": ({"x": ((1, 3, 64, 64), "fp16")}, {"latent": (1, 8, 8, 8)}),
}
"""What Apple's Swift package asks for (``swift/StableDiffusion/pipeline`` in
https://github.com/apple/ml-stable-diffusion), a timestep in fp32 aside, which it has in fp32."""

BESIDE = {"manifest.json", "stepwise.json", "preview.json", "vocab.json", "merges.txt"}
"""What lies beside the parts."""


def program(done, name):
    return Program.read(done.folder / f"{name}.mlpackage")


def test_it_tells_what_it_needs_then_where_it_stands_then_what_there_is(exported):
    events = exported.events
    assert isinstance(events[0], Loading)
    needs = next(event for event in events if isinstance(event, Needs))
    assert needs.target == "macOS13"
    assert needs.parts[0] == "Unet"
    assert 0 < needs.disk < needs.free_disk
    assert needs.memory > 0
    steps = [event for event in events if isinstance(event, ExportStep)]
    assert {step.part for step in steps} == set(CONTRACT)
    assert {Stage.TRACE, Stage.CONVERT, Stage.CHECK} <= {step.stage for step in steps}
    shares = [step.share for step in steps]
    assert shares == sorted(shares)
    assert shares[-1] < 1
    written = [event for event in events if isinstance(event, PartWritten)]
    assert [event.record.name for event in written] == list(needs.parts)
    assert not any(event.kept for event in written)
    assert isinstance(events[-1], Exported)
    assert events[-1].manifest == exported.manifest


def test_folder_holds_what_the_readers_look_for_and_nothing_unfinished(exported):
    names = {path.name for path in exported.folder.iterdir() if path.suffix != ".mlmodelc"}
    packages = {f"{name}.mlpackage" for name in CONTRACT}
    assert names == packages | BESIDE


@pytest.mark.parametrize("name", CONTRACT)
def test_parts_take_and_give_what_the_readers_know(exported, name):
    inputs, outputs = CONTRACT[name]
    there = program(exported, name)
    assert {one.name: (one.shape, one.dtype.value) for one in there.inputs} == inputs
    assert {one.name: one.shape for one in there.outputs} == outputs
    assert {one.dtype.value for one in there.outputs} == {"fp32"}
    assert there.specification_version == 7
    assert there.metadata["com.github.apple.ml-stable-diffusion.version"].startswith("Stepwise")
    record = next(part for part in exported.manifest.parts if part.name == name)
    assert {one.name: one.shape for one in record.inputs} == {n: s for n, (s, _) in inputs.items()}
    assert {one.name: one.shape for one in record.outputs} == outputs


@of_all_kinds
def test_parts_compute_what_torch_computes(done):
    for part in done.manifest.parts:
        least = 50 if part.name.startswith("VAE") else 60
        assert part.psnr["fp32"] > least, part.name
        assert part.psnr["fp16"] > least - 10, part.name


@of_kinds("sd1-led")
@torch.no_grad()
def test_unet_and_control_net_do_together_what_they_do_in_diffusers(done, tiny_model, tiny_control):
    from diffusers import ControlNetModel, UNet2DConditionModel

    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(2, 4, 8, 8, generator=generator)
    text = torch.randn(2, 16, 1, 77, generator=generator)
    picture = torch.rand(2, 3, 64, 64, generator=generator)
    inputs = {"sample": sample, "timestep": torch.full((2,), 500.0), "encoder_hidden_states": text}
    added = program(done, "controlnet/CannyEdges").run(inputs | {"controlnet_cond": picture})
    found = program(done, "ControlledUnet").run(inputs | added)["noise_pred"]

    states = text.squeeze(2).transpose(1, 2)
    net = ControlNetModel.from_pretrained(tiny_control)
    unet = UNet2DConditionModel.from_pretrained(tiny_model / "unet")
    down, middle = net(sample, 500, states, picture, return_dict=False)
    expected = unet(
        sample,
        500,
        states,
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
    ).sample
    assert psnr(expected, found) > 60
    assert psnr(unet(sample, 500, states).sample, found) < 40


@of_kinds("sd1-led")
def test_a_whole_picture_follows_the_control_net(
    done, tiny_model, tiny_control, other_vae, start_picture, tmp_path
):
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path, open_part=interpreted)

    def made(model, path, **changes):
        controls = (ControlUse(path=str(path), image=str(start_picture), weight=3.0),)
        request = request_of(model, 64, steps=4, controls=controls, **changes)
        events = engine.generate(request, preview=PreviewSettings(decoder=PreviewDecoder.OFF))
        return next(event for event in events if isinstance(event, ImageReady))

    found = made(done.folder, "canny-edges")
    assert found.request.controls[0].path.endswith("CannyEdges.mlpackage")
    assert decibels(found, made(tiny_model, tiny_control, vae=str(other_vae))) > 40


@of_kinds("sd1-led")
@torch.no_grad()
def test_vae_in_the_place_of_the_models_own_is_the_one_that_is_exported(
    done, tiny_model, other_vae
):
    from diffusers import AutoencoderKL

    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    found = program(done, "VAEDecoder").run({"z": latents})["image"]
    vae, own = map(AutoencoderKL.from_pretrained, (other_vae, tiny_model / "vae"))
    assert psnr(vae.decode(latents).sample, found) > 50
    assert psnr(own.decode(latents).sample, found) < 40


@of_kinds("sd1-led")
@torch.no_grad()
def test_learned_word_is_read_as_its_vectors(done, tiny_model, taught):
    from safetensors.torch import load_file
    from transformers import CLIPTextModel

    encoder = CLIPTextModel.from_pretrained(tiny_model / "text_encoder")
    table = encoder.get_input_embeddings()
    vectors = load_file(taught[1])["emb_params"]
    table.weight = torch.nn.Parameter(torch.cat([table.weight, vectors]))
    end = encoder.config.eos_token_id
    ids = torch.tensor([[end - 1, 5, *done.manifest.model["words"]["wolf"], 7, *[end] * 72]])
    expected = encoder(ids).last_hidden_state
    found = program(done, "TextEncoder").run({"input_ids": ids.float()})["last_hidden_state"]
    assert psnr(expected, found) > 60


def test_sines_of_the_timestep_are_fp32(exported):
    unet = program(exported, "Unet")
    dtypes = {
        operation.type: operation.outputs[0].dtype.value
        for operation in unet._function.operations
        if operation.type in ("sin", "cos", "linear")
    }
    assert dtypes == {"sin": "fp32", "cos": "fp32", "linear": "fp16"}


def test_folder_brings_the_colours_of_its_previews(exported):
    vae = exported.manifest.model["vae_sha256"]
    assert linear_preview.read(exported.folder / linear_preview.FILE_NAME, vae) is not None


def test_good_settings_of_the_model_go_with_it(copied, tiny_model, tmp_path, export_here):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    good = {"steps": 7, "guidance_scale": 2.5, "scheduler": "euler"}
    (model / "stepwise.json").write_text(json.dumps({"defaults": good}))
    done = copied(model=str(model))
    events = export_here(done.request, done.profile)
    assert all(event.kept for event in events if isinstance(event, PartWritten))
    card = catalog.card(str(done.folder))
    assert (card.steps, card.guidance_scale, card.scheduler) == (7, 2.5, "euler")


def test_lora_of_few_steps_sets_the_pace_of_what_it_is_merged_into(
    copied, taught, tmp_path, export_here
):
    lora = shutil.copy(taught[0], tmp_path / "fox-lcm.safetensors")
    done = copied(loras=(LoraUse(path=str(lora), weight=2.0),))
    export_here(done.request, done.profile)
    card = catalog.card(str(done.folder))
    assert (card.steps, card.guidance_scale, card.scheduler) == (4, 1.0, "lcm")
    assert identify(done.folder).distillation is Distillation.LCM


def test_manifest_says_how_it_was_made(exported, tiny_model):
    manifest, request = exported.manifest, exported.request
    assert Manifest.read(exported.folder) == manifest
    assert (manifest.source, manifest.family) == (str(tiny_model), "custom")
    assert manifest.sizes == ((64, 64),)
    assert manifest.loras == ((request.loras[0].path, 2.0),)
    assert manifest.words == ("wolf",)
    size = identify(tiny_model).configs["text_encoder"]["vocab_size"]
    assert manifest.model["words"] == {"wolf": [size, size + 1]}
    assert len(manifest.source_sha256) == 64
    assert {"coremltools", "torch", "stepwise"} <= set(manifest.versions)
    begun = ExportRequest.from_json(manifest.request)
    assert all(use.sha256 for use in (*begun.loras, *begun.embeddings))
    assert begun == replace(
        request, sizes=manifest.sizes, loras=begun.loras, embeddings=begun.embeddings
    )
    assert [use.path for use in begun.loras] == [use.path for use in request.loras]


def test_lora_is_merged_and_the_word_is_known(exported, tiny_model):
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(tiny_model / "unet")
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(2, 4, 8, 8, generator=generator)
    text = torch.randn(2, 16, 1, 77, generator=generator)
    with torch.no_grad():
        plain = unet(sample, 500, text.squeeze(2).transpose(1, 2)).sample
    inputs = {"sample": sample, "timestep": torch.full((2,), 500.0), "encoder_hidden_states": text}
    there = program(exported, "Unet").run(inputs)["noise_pred"]
    assert (there - plain).abs().max() > 0.01 * plain.abs().max()
    ids = torch.full((1, 77), float(exported.manifest.model["words"]["wolf"][0]))
    encoder = program(exported, "TextEncoder")
    learned = encoder.run({"input_ids": ids})["last_hidden_state"]
    assert (learned - encoder.run({"input_ids": ids + 1})["last_hidden_state"]).abs().max() > 0.01


def test_person_is_told_how_a_word_of_two_vectors_is_written_elsewhere(exported):
    notices = [event.message for event in exported.events if isinstance(event, Notice)]
    assert any("write wolf wolf_1 for it" in notice for notice in notices)


def test_what_was_made_from_the_same_is_kept_and_the_rest_is_made(copied, export_here):
    done = copied(batch=1, parts=("Unet", "VAEDecoder"), check=False)
    before = (done.folder / "VAEDecoder.mlpackage").stat().st_mtime_ns
    events = export_here(done.request, done.profile)
    written = {e.record.name: e.kept for e in events if isinstance(e, PartWritten)}
    assert written == {"Unet": False, "VAEDecoder": True}
    assert (done.folder / "VAEDecoder.mlpackage").stat().st_mtime_ns == before
    assert {one.shape for one in program(done, "Unet").outputs} == {(1, 4, 8, 8)}
    # Nothing else depends on the batch, so the folder is whole again.
    assert {part.name for part in done.manifest.parts} == set(CONTRACT)
    assert done.manifest.batch == 1


def test_part_that_nobody_checked_is_made_again_where_a_check_is_asked_for(copied, export_here):
    done = copied(parts=("TextEncoder", "VAEDecoder"))
    unchecked = [
        replace(part, psnr={}) if part.name == "TextEncoder" else part
        for part in done.manifest.parts
    ]
    manifest = replace(done.manifest, parts=tuple(unchecked))
    (done.folder / MANIFEST).write_text(manifest.to_json())
    as_it_is = export_here(replace(done.request, check=False), done.profile)
    assert all(event.kept for event in as_it_is if isinstance(event, PartWritten))
    events = export_here(done.request, done.profile)
    written = {e.record.name: e for e in events if isinstance(e, PartWritten)}
    assert {name: e.kept for name, e in written.items()} == {
        "TextEncoder": False,
        "VAEDecoder": True,
    }
    assert written["TextEncoder"].record.psnr["fp32"] > 60


def test_export_can_be_stopped_while_its_process_begins(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr("coreml_export.export.BEAT", 0.05)
    request = ExportRequest(model=str(tiny_model), out=str(tmp_path / "out"))
    events = export(request, Profile(tmp_path / "profile"))
    first, second = next(events), next(events)
    assert first == second == Loading(what="the converter")
    assert 0 < first.seconds < second.seconds
    events.close()
    assert not (tmp_path / "out").exists()


def test_stopping_leaves_no_half_part(tiny_model, tmp_path):
    request = ExportRequest(model=str(tiny_model), out=str(tmp_path / "out"), parts=("Unet",))
    events = export(request, Profile(tmp_path / "profile"))
    for event in events:
        if isinstance(event, ExportStep) and event.stage is Stage.CONVERT:
            break
    began = time.monotonic()
    events.close()
    assert time.monotonic() - began < 20
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == BESIDE
    assert Manifest.read(tmp_path / "out").parts == ()


def test_parts_made_otherwise_are_not_left_beside_others(copied, export_here):
    done = copied(sizes=((128, 64),), parts=("Unet",))
    with pytest.raises(InvalidRequest, match=r"leaves VAEDecoder, VAEEncoder in"):
        export_here(done.request, done.profile)
    assert {part.name for part in done.manifest.parts} == set(CONTRACT)


@needs_coremltools
def test_folder_that_holds_other_things_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    request = ExportRequest(out=str(tmp_path))
    with pytest.raises(InvalidRequest, match=r"holds other things \(mine.txt\)"):
        next(export(request, Profile(tmp_path / "profile")))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@needs_coremltools
def test_missing_model_is_told_before_anything_is_begun(tmp_path):
    request = ExportRequest(model="nowhere", out=str(tmp_path / "out"))
    with pytest.raises(ModelMissing):
        next(export(request, Profile(tmp_path / "profile")))
    assert not (tmp_path / "out").exists()


@needs_coremltools
def test_disk_without_room_is_told_before_anything_is_made(tiny_model, tmp_path, monkeypatch):
    from coreml_export import work

    # What the export's own process changes for itself is put back here.
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(catalog, "_shelf", None)
    monkeypatch.setattr(work, "disk_needed", lambda parts: 10**18)
    request = ExportRequest(model=str(tiny_model), out=str(tmp_path / "out"))
    out = tmp_path / "out"
    (out / ".unfinished").mkdir(parents=True)
    with pytest.raises(SaveFailed, match="choose a folder on another disk"):
        list(work.export_here(Profile(tmp_path / "profile"), request))
    assert [path.name for path in out.iterdir()] == [".unfinished"]


def test_refused_export_leaves_no_folder(tmp_path, export_here):
    (tmp_path / "fox.safetensors").write_text("hello")
    request = ExportRequest(
        out=str(tmp_path / "out"), loras=(LoraUse(path=str(tmp_path / "fox.safetensors")),)
    )
    with pytest.raises(ModelInvalid):
        export_here(request, Profile(tmp_path / "profile"))
    assert not (tmp_path / "out").exists()


def test_two_exports_do_not_fill_one_folder(tmp_path):
    from coreml_export.folder import ExportFolder

    request = ExportRequest(out=str(tmp_path / "out"))
    profile = Profile(tmp_path / "profile")
    folder = ExportFolder(Path(request.out), ".mlpackage")
    with (
        folder.alone(profile.root / "locks"),
        pytest.raises(InvalidRequest, match="another export"),
    ):
        next(export(request, profile))


def test_system_without_coremltools_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unsupported, match="coremltools, which is not installed here"):
        next(export(ExportRequest(out=str(tmp_path / "out")), Profile(tmp_path / "profile")))
