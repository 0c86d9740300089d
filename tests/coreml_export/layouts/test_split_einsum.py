import json

import diffusers
import pytest
import torch
from torch import nn

from core.models.single_file import CONFIGS
from coreml_export.interpreter.psnr import psnr
from coreml_export.layouts.split_einsum import Attention, ChannelNorm, in_split_einsum
from tests.conftest import TINY_XL_UNET

SD1 = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 16,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}

UNETS = {
    "sd1": SD1,
    "sd2": SD1
    | {
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": (2, 4),
        "use_linear_projection": True,
        "upcast_attention": True,
    },
    "sdxl": TINY_XL_UNET,
    "inpainting": SD1 | {"in_channels": 9},
    "lcm": SD1 | {"time_cond_proj_dim": 12},
    "text-only-attention": SD1 | {"only_cross_attention": (True, False)},
    "no-middle-attention": SD1 | {"mid_block_type": "UNetMidBlock2D"},
}


def unet_of(kind: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return diffusers.UNet2DConditionModel(**UNETS[kind]).eval()


def inputs_of(unet, batch: int, height: int, width: int) -> tuple[tuple, dict]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        sample = torch.randn(batch, unet.config.in_channels, height, width)
        text = torch.randn(batch, 7, unet.config.cross_attention_dim)
        told = {}
        if unet.config.addition_embed_type:
            told["added_cond_kwargs"] = {
                "time_ids": torch.tensor([[64, 96, 0, 8, 64, 96]] * batch).float(),
                "text_embeds": torch.randn(batch, 24),
            }
        if unet.config.time_cond_proj_dim:
            told["timestep_cond"] = torch.randn(batch, unet.config.time_cond_proj_dim)
    return (sample, torch.full((batch,), 951.0), text), told | {"return_dict": False}


@pytest.mark.parametrize(
    ("kind", "batch", "height", "width"),
    [(kind, 2, 8, 12) for kind in UNETS] + [("sd1", 1, 8, 8), ("sd2", 1, 16, 8), ("sdxl", 1, 8, 8)],
)
@torch.no_grad()
def test_it_computes_what_diffusers_does(kind, batch, height, width):
    unet = unet_of(kind)
    (sample, timestep, text), told = inputs_of(unet, batch, height, width)
    expected = unet(sample, timestep, text, **told)[0]
    states = text.transpose(1, 2).unsqueeze(2)
    made = in_split_einsum(unet)(sample, timestep, states, **told)[0]
    assert psnr(expected, made) > 90


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
@torch.no_grad()
def test_the_published_architectures_fit(family):
    """Without weights, so that only shapes are computed."""
    config = json.loads((CONFIGS / f"{family}.json").read_text())["unet"]
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel.from_config(config).eval()
        made = in_split_einsum(unet)
        told = {}
        if "addition_time_embed_dim" in config:
            told["time_ids"] = torch.zeros(2, 6)
            told["text_embeds"] = torch.zeros(2, 1280)
        text = torch.zeros(2, config["cross_attention_dim"], 1, 77)
        sample = torch.zeros(2, 4, 64, 96)
        prediction = made(sample, torch.zeros(2), text, added_cond_kwargs=told)[0]
    assert prediction.shape == sample.shape
    kinds = [type(module).__name__ for module in made.modules()]
    before = [type(module).__name__ for module in unet.modules()]
    assert kinds.count("Block") == before.count("BasicTransformerBlock") > 0
    assert "BasicTransformerBlock" not in kinds


def test_every_weight_is_the_original_s_own():
    unet = unet_of("sd2")
    places = {weights.untyped_storage().data_ptr() for weights in unet.parameters()}
    made = in_split_einsum(unet)
    assert {weights.untyped_storage().data_ptr() for weights in made.parameters()} == places
    kinds = {type(module).__name__ for module in made.modules()}
    assert not kinds & {"Transformer2DModel", "BasicTransformerBlock"}


@torch.no_grad()
def test_the_original_stays_as_it_is():
    unet = unet_of("sd1")
    inputs, told = inputs_of(unet, 1, 8, 8)
    before, structure = unet(*inputs, **told)[0], repr(unet)
    in_split_einsum(unet)
    assert repr(unet) == structure
    assert torch.equal(unet(*inputs, **told)[0], before)


@torch.no_grad()
def test_a_norm_may_have_weights_of_zero():
    norm = nn.LayerNorm(6)
    nn.init.zeros_(norm.weight[:3])
    nn.init.normal_(norm.bias)
    states = torch.randn(2, 5, 6)
    made = ChannelNorm(norm)(states.transpose(1, 2).unsqueeze(2))
    assert torch.allclose(made.squeeze(2).transpose(1, 2), norm(states), atol=1e-6)


@torch.no_grad()
def test_large_queries_and_keys_stay_within_half_precision():
    """SD 2.1's products overflow unless they are scaled before."""
    attention = diffusers.models.attention_processor.Attention(query_dim=64, heads=1, dim_head=64)
    for layer in (attention.to_q, attention.to_k):
        nn.init.constant_(layer.weight, 0.5)
    made = Attention(attention).half()
    states = torch.ones(1, 64, 1, 3).half()
    products = (made.to_q(states).float() * made.to_k(states).float()).sum(dim=1)
    assert products.min() > torch.finfo(torch.float16).max
    assert made(states, states).isfinite().all()
