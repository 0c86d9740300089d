"""A model written as a folder, through our loader and diffusers'."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from core.engine import TorchEngine
from core.errors import SaveFailed
from core.events import ImageReady, PreviewSettings
from core.models.catalog import SHIPPED, STARTER, card
from core.models.writing.folder import write_folder
from core.request import DeviceName, PreviewDecoder, TextToImage
from core.sampling import linear_preview
from core.starter.package import clip_of
from tests.conftest import write_tiny_decoder
from tests.fixtures.small import Small

STARTER_FOLDER = SHIPPED[STARTER]
WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}


@pytest.fixture(params=["sd", "sd-v", "sdxl"])
def source(
    request: pytest.FixtureRequest, tiny_model: Path, tiny_v_model: Path, tiny_xl_model: Path
) -> Path:
    return {"sd": tiny_model, "sd-v": tiny_v_model, "sdxl": tiny_xl_model}[request.param]


def test_our_loader_and_diffusers_read_it_back(
    source: Path, trained: Any, opened: Any, states: Any, latents_of: Any, pipeline_of: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    components, folder = trained(source), tmp_path / "made"
    write_folder(folder, components, dtype=torch.float32, metadata={})
    again = opened(folder)
    torch.testing.assert_close(states(again), states(components), rtol=0, atol=0)
    before, after = components.identity, again.identity
    assert (after.family, after.prediction_type) == (before.family, before.prediction_type)
    assert after.parameters == before.parameters
    assert {**again.scheduler_config} == {
        **components.scheduler_config, "_diffusers_version": after.configs["scheduler"][
            "_diffusers_version"]}  # fmt: skip
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    kind = "XL" if components.text_encoder_2 is not None else ""
    assert type(pipe).__name__ == f"StableDiffusion{kind}Pipeline"
    expected = latents_of(pipeline_of(components))
    assert torch.equal(latents_of(pipe), expected)
    assert torch.equal(latents_of(pipeline_of(again)), expected)
    plain = latents_of(pipeline_of(opened(source)))
    assert not torch.allclose(expected, plain, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_number_format_is_that_asked_for(
    dtype: torch.dtype, trained: Any, states: Any, tiny_xl_model: Path, tmp_path: Path
) -> None:
    components, folder = trained(tiny_xl_model), tmp_path / "made"
    write_folder(folder, components, dtype=dtype, metadata={"ss_steps": "7"})
    expected = states(components)
    for part, stem in WEIGHTS.items():
        tensors = load_file(folder / part / f"{stem}.safetensors")
        assert {tensor.dtype for tensor in tensors.values()} == {dtype}
        for name, tensor in tensors.items():
            key = f"{part}.{name}"
            own = expected.get(key, expected.get(key.replace(".text_model.", ".")))
            assert own is not None, key
            assert torch.equal(tensor, own.to(dtype))
        with safe_open(folder / part / f"{stem}.safetensors", framework="pt") as file:
            notes = {"format": "pt"} | ({"ss_steps": "7"} if part == "unet" else {})
            assert file.metadata() == notes
    pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(
        folder, local_files_only=True, dtype=dtype
    )
    assert pipe.unet.dtype is pipe.text_encoder_2.dtype is dtype


def test_the_files_are_those_that_older_libraries_read_too(
    trained: Any, tiny_xl_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "made"
    write_folder(folder, trained(tiny_xl_model), dtype=torch.float32, metadata={})
    for number in ("", "_2"):
        names = set(load_file(folder / f"text_encoder{number}" / "model.safetensors"))
        assert all(name.startswith(("text_model.", "text_projection")) for name in names)
        own, read = (
            {
                name: (base / f"tokenizer{number}" / name).read_text()
                for name in ("vocab.json", "merges.txt")
            }
            for base in (tiny_xl_model, folder)
        )
        assert json.loads(read["vocab.json"]) == json.loads(own["vocab.json"])
        assert read["merges.txt"] == own["merges.txt"]
        told = json.loads((folder / f"tokenizer{number}/tokenizer_config.json").read_text())
        special = json.loads((folder / f"tokenizer{number}/special_tokens_map.json").read_text())
        assert told["tokenizer_class"] == "CLIPTokenizer"
        assert told["model_max_length"] == 77
        assert special.items() <= told.items()
        assert special["pad_token"] == "<|endoftext|>"
        config = json.loads((folder / f"text_encoder{number}/config.json").read_text())
        assert config["torch_dtype"] == "float32"
        assert config["model_type"] == "clip_text_model"
    index = json.loads((folder / "model_index.json").read_text())
    assert index["force_zeros_for_empty_prompt"] is True
    assert index["text_encoder_2"] == ["transformers", "CLIPTextModelWithProjection"]
    assert index["image_encoder"] == index["feature_extractor"] == [None, None]
    assert "_name_or_path" not in (folder / "unet" / "config.json").read_text()


def test_a_copy_of_the_starter_is_as_good_as_the_starter(trained: Any, tmp_path: Path) -> None:
    components, folder = trained(STARTER_FOLDER), tmp_path / "mine"
    write_folder(folder, components, dtype=torch.float16, title="Mine", metadata={})
    made, own = card(str(folder)), card(STARTER)
    assert made.title == "Mine"
    different = {"name", "title", "path"}
    for field in dataclasses.fields(own):
        if field.name not in different:
            assert getattr(made, field.name) == getattr(own, field.name), field.name
    events = TorchEngine(DeviceName.CPU, cache=tmp_path / "cache").generate(
        TextToImage(model=str(folder), prompts=("a red star",), steps=1, width=128, height=128),
        preview=PreviewSettings(decoder=PreviewDecoder.LINEAR),
    )
    (event,) = [event for event in events if isinstance(event, ImageReady)]
    assert event.pixels.shape == (128, 128, 3)
    clip_of(folder)
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    assert type(pipe.image_encoder).__name__ == "CLIPVisionModelWithProjection"
    assert pipe.feature_extractor is not None


def test_what_is_beside_the_trained_parts_is_taken_over(
    trained: Any, opened: Any, tiny_model: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(tiny_model, tmp_path / "source"))
    write_tiny_decoder(source / "taesd")
    (source / "LICENSE.md").write_text("a license")
    (source / "safety_checker").mkdir()
    (source / "safety_checker" / "model.safetensors").write_bytes(b"large")
    (source / "old.ckpt").write_bytes(b"large")
    index = json.loads((source / "model_index.json").read_text())
    index |= {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
              "requires_safety_checker": True}  # fmt: skip
    (source / "model_index.json").write_text(json.dumps(index))
    folder = tmp_path / "made"
    write_folder(folder, trained(source), dtype=torch.float32, metadata={})
    assert {path.name for path in folder.iterdir()} == {
        "LICENSE.md", "model_index.json", "scheduler", "taesd", "text_encoder", "tokenizer",
        "unet", "vae",
    }  # fmt: skip
    assert opened(folder).tiny_vae is not None
    index = json.loads((folder / "model_index.json").read_text())
    assert index["safety_checker"] == [None, None]
    assert index["requires_safety_checker"] is False


@pytest.mark.parametrize("layout", ["sd1", "sd2", "sdxl", "sdxl-refiner"])
def test_a_model_that_came_from_one_file(
    layout: str, opened: Any, states: Any, tmp_path: Path
) -> None:
    small, folder = Small(layout, tmp_path), tmp_path / "made"
    components = opened(small.path, small.configs)
    write_folder(folder, components, dtype=torch.float32, title="Small", metadata={})
    again = opened(folder)
    torch.testing.assert_close(states(again), states(components), rtol=0, atol=0)
    for tower, own in zip(again.text_towers, components.text_towers, strict=True):
        texts: list[Any] = [
            one.tokenizer("a café", padding="max_length", max_length=9).input_ids
            for one in (tower, own)
        ]
        assert texts[0] == texts[1]
    assert again.identity.is_scored == components.identity.is_scored
    assert card(str(folder)).title == "Small"
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    kinds = {"sdxl": "StableDiffusionXL", "sdxl-refiner": "StableDiffusionXLImg2Img"}
    assert type(pipe).__name__ == f"{kinds.get(layout, 'StableDiffusion')}Pipeline"


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_the_preview_is_the_models_own_whatever_the_number_format(
    dtype: torch.dtype, opened: Any, tmp_path: Path
) -> None:
    components, folder = opened(STARTER_FOLDER), tmp_path / "made"
    write_folder(folder, components, dtype=dtype, metadata={})
    again = opened(folder)
    fitted = linear_preview.read(folder / "preview.json", again.vae_sha256)
    shipped = linear_preview.read(STARTER_FOLDER / "preview.json", components.vae_sha256)
    assert fitted is not None
    assert shipped is not None
    assert torch.equal(fitted.matrix, shipped.matrix)


def test_another_vae_brings_no_preview(opened: Any, tmp_path: Path) -> None:
    components = dataclasses.replace(opened(STARTER_FOLDER), vae_sha256="0" * 64)
    write_folder(tmp_path / "made", components, dtype=torch.float16, metadata={})
    assert not (tmp_path / "made" / "preview.json").exists()


def test_nothing_is_written_over(opened: Any, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    with pytest.raises(SaveFailed, match="made is there already"):
        write_folder(tmp_path / "made", opened(tiny_model), dtype=torch.float32, metadata={})
    assert list((tmp_path / "made").iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_a_full_disk_leaves_nothing(opened: Any, tiny_model: Path, tmp_path: Path) -> None:
    import resource

    components = opened(tiny_model)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        with pytest.raises(SaveFailed, match="takes no file of that size"):
            write_folder(tmp_path / "out" / "made", components, dtype=torch.float32, metadata={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list((tmp_path / "out").iterdir()) == []
