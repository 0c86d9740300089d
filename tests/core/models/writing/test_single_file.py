"""A model written as one file, through our loader and diffusers'."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from core.errors import Unsupported
from core.models.catalog import SHIPPED, STARTER
from core.models.clip_tokenizer.bundled import bundled_tokenizer
from core.models.components import Components
from core.models.families import Family, PredictionType
from core.models.identify import identify
from core.models.load_single_file import PAD_TOKENS
from core.models.residence import Residence
from core.models.writing.folder import write_folder
from core.models.writing.single_file import check_single_file, write_single_file
from tests.fixtures.layouts import layout as listing
from tests.fixtures.layouts import write_stripped
from tests.fixtures.make_layouts import build
from tests.fixtures.small import Small

LAYOUTS = ("sd1", "sd2", "sdxl")


@pytest.fixture(params=LAYOUTS)
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Small:
    return Small(request.param, tmp_path)


def written(
    path: Path, components: Components, configs: Path, dtype: torch.dtype = torch.float32
) -> Path:
    notes = {"modelspec.title": "Made", "modelspec.prediction_type": "wrong", "note": "ü"}
    write_single_file(path, components, dtype=dtype, metadata=notes, configs=configs)
    return path


def test_our_loader_and_diffusers_read_it_back(
    small: Small, trained: Any, opened: Any, states: Any, latents_of: Any, pipeline_of: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    components = trained(small.path, small.configs)
    path = written(tmp_path / "made.safetensors", components, small.configs)
    again = opened(path, small.configs)
    torch.testing.assert_close(states(again), states(components), rtol=0, atol=0)
    assert again.identity.family is components.identity.family
    expected = latents_of(pipeline_of(components))
    assert torch.equal(latents_of(pipeline_of(again)), expected)
    write_folder(tmp_path / "config", components, dtype=torch.float32, metadata={})
    cls = type(pipeline_of(components))
    pipe = cls.from_single_file(
        str(path), config=str(tmp_path / "config"), local_files_only=True, safety_checker=None
    )
    assert (latents_of(pipe) - expected).abs().max() <= 1e-4


def test_the_names_are_those_of_the_published_files(
    small: Small, opened: Any, tmp_path: Path
) -> None:
    """Those of a full-size model, as far as the small one goes."""
    components = opened(small.path, small.configs)
    path = written(tmp_path / "made.safetensors", components, small.configs)
    family = components.identity.family.value
    published = set(listing(f"{family}-original"))
    names = set(load_file(path))
    text = [name for name in names if name.startswith(("cond_stage_model.", "conditioner."))]
    assert text
    # The small UNets have transformers where the full-size ones have none.
    assert set(text) <= published
    assert {name for name in names if name.startswith("first_stage_model.")} <= published


def test_what_the_file_says_of_itself(small: Small, opened: Any, tmp_path: Path) -> None:
    components = opened(small.path, small.configs)
    path = written(tmp_path / "made.safetensors", components, small.configs)
    with safe_open(path, framework="pt") as file:
        notes = file.metadata()
    data = path.read_bytes()
    body = data[8 + int.from_bytes(data[:8], "little") :]
    assert notes == {
        "modelspec.title": "Made",
        "note": "ü",
        "modelspec.prediction_type": "epsilon",
        "modelspec.resolution": "64x64",
        "modelspec.hash_sha256": "0x" + hashlib.sha256(body).hexdigest(),
    }


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_number_format_is_that_asked_for(
    dtype: torch.dtype, small: Small, trained: Any, tmp_path: Path
) -> None:
    components = trained(small.path, small.configs)
    whole = load_file(written(tmp_path / "a.safetensors", components, small.configs))
    made = load_file(written(tmp_path / "b.safetensors", components, small.configs, dtype))
    assert made.keys() == whole.keys()
    for name, tensor in made.items():
        kept = torch.int64 if name.endswith("position_ids") else dtype
        assert tensor.dtype is kept
        assert torch.equal(tensor, whole[name].to(kept))


def test_velocity_and_a_schedule_that_ends_in_noise_are_told(
    small: Small, opened: Any, tmp_path: Path
) -> None:
    components = opened(small.path, small.configs)
    schedule = {**components.scheduler_config, "prediction_type": "v_prediction"}
    changed = dataclasses.replace(components, scheduler_config=schedule)
    found = identify(written(tmp_path / "a.safetensors", changed, small.configs), small.configs)
    assert found.prediction_type is PredictionType.V
    assert not found.zero_terminal_snr
    schedule["rescale_betas_zero_snr"] = True
    changed = dataclasses.replace(components, scheduler_config=schedule)
    path = written(tmp_path / "b.safetensors", changed, small.configs)
    found = identify(path, small.configs)
    assert (found.prediction_type, found.zero_terminal_snr) == (PredictionType.V, True)
    assert ("v_pred" in load_file(path)) == (found.family is Family.SDXL)


def test_an_inpainting_and_a_consistency_model(opened: Any, states: Any, tmp_path: Path) -> None:
    small = Small("sd1", tmp_path, time_cond_proj_dim=12, in_channels=9)
    components = opened(small.path, small.configs)
    path = written(tmp_path / "made.safetensors", components, small.configs)
    again = opened(path, small.configs)
    assert again.identity.inpainting
    assert again.identity.guidance_embedding
    torch.testing.assert_close(states(again), states(components), rtol=0, atol=0)


def unet_with(**changes: Any) -> Callable[[Components], Components]:
    def change(components: Components) -> Components:
        unet: Any = components.unet
        config = {k: v for k, v in unet.config.items() if not k.startswith("_")} | changes
        return dataclasses.replace(
            components, unet=diffusers.UNet2DConditionModel.from_config(config)
        )

    return change


def schedule_with(**changes: Any) -> Callable[[Components], Components]:
    def change(components: Components) -> Components:
        return dataclasses.replace(
            components, scheduler_config={**components.scheduler_config, **changes}
        )

    return change


def with_pad_token(components: Components) -> Components:
    tokenizer: Any = components.tokenizer
    tokenizer.pad_token = "!"
    return components


def with_mask(components: Components) -> Components:
    return dataclasses.replace(components, text_uses_mask=True)


def with_text_activation(components: Components) -> Components:
    encoder: Any = components.text_encoder
    encoder.config.hidden_act = "relu"
    return components


def with_vae_scale(components: Components) -> Components:
    vae: Any = components.vae
    vae.register_to_config(scaling_factor=0.5)
    return components


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (unet_with(act_fn="gelu"), "the act_fn of its unet"),
        (unet_with(block_out_channels=(16, 32)), "its size"),
        (unet_with(layers_per_block=2), "the layers_per_block of its unet"),
        (schedule_with(prediction_type="sample"), "what it predicts"),
        (schedule_with(beta_end=0.5), "its noise schedule"),
        (with_vae_scale, "the scaling_factor of its vae"),
        (with_text_activation, "its text_encoder"),
        (with_pad_token, "its words"),
        (with_mask, "how it reads prompts"),
    ],
)
def test_what_a_file_cannot_tell_is_refused_before_a_byte_is_written(
    change: Callable[[Components], Components], what: str, opened: Any, tmp_path: Path
) -> None:
    small = Small("sd1", tmp_path)
    components = opened(small.path, small.configs)
    check_single_file(components, small.configs)
    changed = change(components)
    with pytest.raises(Unsupported, match=f"models in {what}, .* keep the model as a folder"):
        check_single_file(changed, small.configs)
    with pytest.raises(Unsupported, match=what):
        written(tmp_path / "made.safetensors", changed, small.configs)
    assert not (tmp_path / "made.safetensors").exists()


def test_heads_are_compared(opened: Any, tmp_path: Path, tiny_model: Path) -> None:
    small = Small("sd1", tmp_path)
    components = opened(small.path, small.configs)
    identity = dataclasses.replace(components.identity, attention_heads=(4, 0))
    with pytest.raises(Unsupported, match="its attention heads"):
        check_single_file(dataclasses.replace(components, identity=identity), small.configs)


def test_the_starter_model_stays_a_folder(opened: Any, tmp_path: Path) -> None:
    components = opened(SHIPPED[STARTER])
    with pytest.raises(Unsupported, match=r"weights differs .* in its size, .* as a folder\.$"):
        written(tmp_path / "made.safetensors", components, tmp_path)


def test_a_folder_becomes_a_file(opened: Any, states: Any, tmp_path: Path) -> None:
    small = Small("sd1", tmp_path)
    first = opened(small.path, small.configs)
    write_folder(tmp_path / "folder", first, dtype=torch.float32, metadata={})
    second = opened(tmp_path / "folder")
    # By its text a small model is of no known family.
    identity = dataclasses.replace(second.identity, family=first.identity.family)
    second = dataclasses.replace(second, identity=identity)
    path = written(tmp_path / "made.safetensors", second, small.configs)
    torch.testing.assert_close(states(opened(path, small.configs)), states(first), rtol=0, atol=0)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_full_size_model_is_not_refused(family: str, tmp_path: Path) -> None:
    """Of the configurations that the published folders have; no weights."""
    path = write_stripped(tmp_path / "model.safetensors", listing(f"{family}-original"))
    identity = identify(path)
    modules = build(family)
    tokenizers = [bundled_tokenizer(token) for token in PAD_TOKENS[identity.family]]
    device = torch.device("meta")
    components = Components(
        identity=identity,
        sha256="",
        vae_sha256="",
        tokenizer=tokenizers[0],
        text_encoder=modules["text_encoder"],
        text_uses_mask=False,
        unet=modules["unet"],
        vae=modules["vae"],
        scaling_factor=1.0,
        tiny_vae=None,
        tiny_scaling_factor=1.0,
        scheduler_config=identity.configs["scheduler"],
        device=device,
        dtype=torch.float32,
        residence=Residence(device),
        tokenizer_2=tokenizers[-1],
        text_encoder_2=modules.get("text_encoder_2"),
    )
    check_single_file(components)
    smaller = build(family, layers_per_block=1)["unet"]
    with pytest.raises(Unsupported, match="layers_per_block"):
        check_single_file(dataclasses.replace(components, unet=smaller))
