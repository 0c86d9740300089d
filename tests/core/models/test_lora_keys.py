"""The names of LoRA files against the modules of full-size models, built without weights."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
import transformers
from torch import nn

from core.models.lora_keys import Role, Targets, family_of, split_key
from core.models.original_names import UnetNames

SDXL = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
CONFIGS: dict[str, dict[str, Any]] = {"sd1": {"cross_attention_dim": 768}, "sdxl": SDXL}


@pytest.fixture(scope="module")
def unets() -> dict[str, nn.Module]:
    with torch.device("meta"):
        return {name: diffusers.UNet2DConditionModel(**c) for name, c in CONFIGS.items()}


@pytest.fixture(scope="module")
def text_encoder() -> nn.Module:
    numbers = {"bos_token_id": 0, "eos_token_id": 2, "vocab_size": 10}
    config = transformers.CLIPTextConfig(
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, **numbers
    )
    with torch.device("meta"):
        return transformers.CLIPTextModel(config)


def names(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_modules()]


def trained_by_kohya(unet: nn.Module) -> list[str]:
    """The UNet's modules that sd-scripts trains: all in its transformers."""
    return [
        name
        for name, module in unet.named_modules()
        if ".attentions." in name and isinstance(module, nn.Linear | nn.Conv2d)
    ]


def flat(name: str) -> str:
    return name.replace(".", "_")


def original_names(unet: Any) -> dict[str, str]:
    original = UnetNames.of(unet.config)
    return {name: found for name in names(unet) if (found := original.find(name))}


def test_the_modules_that_kohya_trains_are_all_found(
    unets: dict[str, nn.Module], text_encoder: nn.Module
) -> None:
    targets = Targets({"unet": names(unets["sd1"]), "text_encoder": names(text_encoder)})
    trained = trained_by_kohya(unets["sd1"])
    assert len(trained) == 192
    for name in trained:
        assert targets.find(f"lora_unet_{flat(name)}") == ("unet", name)
        assert targets.find(f"unet.{name}") == ("unet", name)
    linear = [n for n, module in text_encoder.named_modules() if isinstance(module, nn.Linear)]
    assert len(linear) == 72
    for name in linear:
        inner = name.removeprefix("text_model.")
        for prefix in ("lora_te_text_model_", "lora_te1_text_model_"):
            assert targets.find(prefix + flat(inner)) == ("text_encoder", name)
        assert targets.find(f"text_encoder.text_model.{inner}") == ("text_encoder", name)


def test_sdxl_is_found_under_both_namings(
    unets: dict[str, nn.Module], text_encoder: nn.Module
) -> None:
    unet = unets["sdxl"]
    targets = Targets(
        {
            "unet": names(unet),
            "text_encoder": names(text_encoder),
            "text_encoder_2": names(text_encoder),
        }
    )
    renamed = original_names(unet)
    trained = trained_by_kohya(unet)
    assert len(trained) == 722
    for name in trained:
        assert targets.find(f"lora_unet_{flat(renamed[name])}") == ("unet", name)
        assert targets.find(f"lora_unet_{flat(name)}") == ("unet", name)
    assert targets.find("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q") == (
        "unet",
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    )
    found = targets.find("lora_te2_text_model_encoder_layers_0_mlp_fc1")
    assert found is not None
    assert found[0] == "text_encoder_2"


def test_a_module_that_is_not_there_is_not_found(unets: dict[str, nn.Module]) -> None:
    targets = Targets({"unet": names(unets["sd1"])})
    assert targets.find("lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q") is None
    assert targets.find("lora_te_text_model_encoder_layers_0_mlp_fc1") is None
    assert targets.find("lora_unet_") is None


QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("lora_unet_x_to_q.lora_down.weight", ("lora_unet_x_to_q", Role.DOWN)),
        ("lora_unet_x_to_q.alpha", ("lora_unet_x_to_q", Role.ALPHA)),
        (f"unet.{QUERY}.to_q.lora_A.weight", (f"unet.{QUERY}.to_q", Role.DOWN)),
        (f"unet.{QUERY}.to_q.lora_B.default.weight", (f"unet.{QUERY}.to_q", Role.UP)),
        (f"unet.{QUERY}.to_q.lora.up.weight", (f"unet.{QUERY}.to_q", Role.UP)),
        (f"{QUERY}.processor.to_q_lora.down.weight", (f"{QUERY}.to_q", Role.DOWN)),
        (f"unet.{QUERY}.processor.to_out_lora.up.weight", (f"unet.{QUERY}.to_out", Role.UP)),
        ("text_encoder.a.q_proj.lora_linear_layer.up.weight", ("text_encoder.a.q_proj", Role.UP)),
        ("unet.a.lora_magnitude_vector", ("unet.a", Role.MAGNITUDE)),
        ("lora_unet_a.dora_scale", ("lora_unet_a", Role.DORA_SCALE)),
        ("lora_unet_a.lokr_w2_a", ("lora_unet_a", Role.LOKR_W2_A)),
        ("lora_unet_a.hada_t1", ("lora_unet_a", Role.HADA_T1)),
        ("lora_unet_a.w_norm", ("lora_unet_a", Role.DIFF)),
        ("lora_unet_a.oft_blocks", None),
        ("down_blocks.0.resnets.0.conv1.weight", None),
    ],
)
def test_forms_of_keys(key: str, expected: tuple[str, Role] | None) -> None:
    assert split_key(key) == expected


def test_what_a_file_looks_made_for() -> None:
    assert family_of(["lora_unet_a"], [768, 768]) == "Stable Diffusion 1.x"
    assert family_of(["lora_unet_a"], [1024]) == "Stable Diffusion 2.x"
    assert family_of(["lora_unet_a"], [2048]) == "SDXL"
    assert family_of(["lora_te2_text_model_a"], []) == "SDXL"
    assert family_of(["lora_unet_double_blocks_0_img_attn_proj"], []) == "FLUX.1"
    assert family_of(["transformer.single_transformer_blocks.0.attn.to_q"], []) == "FLUX.1"
    assert family_of(["lora_unet_a"], []) == ""
