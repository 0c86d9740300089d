"""Upscalers told by their tensors' names, without the library that runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import Unsupported
from core.models.safetensors_header import TensorInfo
from core.models.upscaler_kinds import name_of_upscaler

HERE = Path("4x.pth")
WIDE = (64, 64, 3, 3)


def tensors(*names: str, **shapes: tuple[int, ...]) -> dict[str, TensorInfo]:
    named = dict.fromkeys(names, WIDE) | {
        name.replace("__", "."): shape for name, shape in shapes.items()
    }
    return {name: TensorInfo("F32", shape) for name, shape in named.items()}


def old_esrgan(last: int) -> dict[str, TensorInfo]:
    return tensors("model.1.sub.0.RDB1.conv1.0.weight", "model.0.weight", f"model.{last}.weight")


def real_esrgan(channels: int) -> dict[str, TensorInfo]:
    rest = tensors("body.0.rdb1.conv1.weight", "conv_up1.weight", "conv_up2.weight")
    return rest | tensors(conv_first__weight=(64, channels, 3, 3))


def compact(channels: int) -> dict[str, TensorInfo]:
    row = ("body.0.weight", "body.0.bias", "body.1.weight", "body.2.weight")
    return tensors(*row) | tensors(body__34__weight=(channels, 64, 3, 3))


@pytest.mark.parametrize(
    ("held", "name"),
    [
        (old_esrgan(10), "ESRGAN upscaler (4x)"),
        (old_esrgan(7), "ESRGAN upscaler (2x)"),
        (old_esrgan(13), "ESRGAN upscaler (8x)"),
        (real_esrgan(3), "Real-ESRGAN upscaler (4x)"),
        (real_esrgan(12), "Real-ESRGAN upscaler (2x)"),
        (compact(48), "Real-ESRGAN compact upscaler (4x)"),
        (tensors("params_ema.body.0.rdb1.conv1.weight"), "Real-ESRGAN upscaler"),
        (tensors("module.RRDB_trunk.0.RDB1.conv1.weight"), "ESRGAN upscaler"),
        (
            tensors(
                "layers.0.residual_group.blocks.0.attn.relative_position_bias_table",
                "layers.0.residual_group.blocks.0.conv_block.cab.0.weight",
            ),
            "HAT upscaler",
        ),
        (
            tensors("layers.0.residual_group.blocks.0.attn.relative_position_bias_table"),
            "SwinIR upscaler",
        ),
        (tensors("layers.0.blocks.0.attn.attns.0.pos.pos_proj.weight"), "DAT upscaler"),
        (tensors("residual_layer.0.residual_layer.0.layer.0.fn.0.weight"), "OmniSR upscaler"),
        (tensors("conv_first.weight"), None),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_a_network_is_named_with_its_factor_where_the_header_tells(held, name):
    assert name_of_upscaler(HERE, held) == name


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (old_esrgan(4), "4x.pth is a network of the kind ESRGAN that keeps the size"),
        (real_esrgan(48), "the kind Real-ESRGAN that keeps the size"),
        (compact(3), "the kind Real-ESRGAN compact that keeps the size"),
        (tensors("params_ema.stylegan_decoder.style_mlp.1.weight"), "is GFPGAN, which restores"),
        (tensors("middle_blks.0.sca.1.weight"), "is NAFNet, which takes blur"),
        (tensors("generator.model.1.bn_l.running_mean"), "is LaMa, which fills holes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_makes_no_picture_larger_is_refused_by_name(held, said):
    with pytest.raises(Unsupported, match="takes networks that make pictures larger") as caught:
        name_of_upscaler(HERE, held)
    assert said in str(caught.value)
