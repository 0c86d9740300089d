"""Original names against diffusers' own rules, which read them."""

from __future__ import annotations

import json
from typing import Any

import diffusers
import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)

from core.errors import Unsupported
from core.models.original_names import UnetNames, text_name, vae_name
from core.models.single_file import CONFIGS

FAMILIES = ("sd1", "sd2", "sdxl", "sdxl-refiner")


def build(family: str, part: str) -> Any:
    """Build a family's module without weights."""
    cls = {"unet": diffusers.UNet2DConditionModel, "vae": diffusers.AutoencoderKL}[part]
    with torch.device("meta"):
        return cls.from_config(json.loads((CONFIGS / f"{family}.json").read_text())[part])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_unets_names_are_those_that_diffusers_reads(family: str) -> None:
    unet = build(family, "unet")
    names = UnetNames.of(unet.config)
    keys = {f"model.diffusion_model.{names.tensor(key)}": key for key in unet.state_dict()}
    converted = convert_ldm_unet_checkpoint(keys, dict(unet.config))
    assert converted == {key: key for key in unet.state_dict()}


@pytest.mark.parametrize(("family", "place"), [("sd1", 1), ("sdxl", 2)])
def test_what_doubles_the_size_comes_after_the_attention_if_there_is_any(
    family: str, place: int
) -> None:
    names = UnetNames.of(build(family, "unet").config)
    found = names.tensor("up_blocks.0.upsamplers.0.conv.weight")
    assert found == f"output_blocks.2.{place}.conv.weight"


def test_a_vaes_names_are_those_that_diffusers_reads() -> None:
    vae = build("sd1", "vae")
    state = vae.state_dict()
    original = {vae_name(key, levels=4): tensor for key, tensor in state.items()}
    converted = convert_ldm_vae_checkpoint(dict(original), dict(vae.config))
    assert converted.keys() == state.keys()
    for key, tensor in state.items():
        assert converted[key] is tensor, key


def test_levels_of_several_depths_have_no_original_names() -> None:
    config = dict(build("sd1", "unet").config)
    with pytest.raises(Unsupported, match=r"levels of this UNet have \[1, 2\] blocks"):
        UnetNames.of(config | {"layers_per_block": [1, 2]})


def test_a_module_of_another_kind_of_unet_has_no_original_name() -> None:
    with pytest.raises(Unsupported, match=r"no name for encoder_hid_proj of this UNet"):
        UnetNames(2, frozenset()).tensor("encoder_hid_proj.weight")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("encoder.layers.0.mlp.fc1", "text_model.encoder.layers.0.mlp.fc1"),
        ("text_model.encoder.layers.0.mlp.fc1", "text_model.encoder.layers.0.mlp.fc1"),
        ("text_projection.weight", "text_projection.weight"),
    ],
)
def test_the_outer_name_of_a_text_encoder(name: str, expected: str) -> None:
    assert text_name(name) == expected
