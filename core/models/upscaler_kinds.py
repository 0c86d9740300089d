"""What a network that enlarges pictures is, told before its weights are read. Imports no torch.

ESRGAN (Wang et al. 2018, arXiv:1809.00219) and its many successors. Each is told by tensors that
only it has, under the names of its own reference code; spandrel, which runs them, judges by the
same (https://github.com/chaiNNer-org/spandrel).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from core.errors import Unsupported
from core.models.safetensors_header import TensorInfo

WRAPPERS = ("params_ema.", "params-ema.", "params.", "model_state_dict.", "module.", "netG.")
"""What training code puts before all names."""

_NETWORKS = {
    "MM-RealSR": ("de_net.conv_first.0.weight",),
    "ESRGAN": (
        "model.1.sub.0.RDB1.conv1.0.weight",
        "model.1.sub.0.RDB1.conv1x1.weight",
        "RRDB_trunk.0.RDB1.conv1.weight",
    ),
    "Real-ESRGAN": ("body.0.rdb1.conv1.weight",),
    "Swin2SR": ("layers.0.residual_group.blocks.0.attn.logit_scale",),
    "HAT": ("layers.0.residual_group.blocks.0.conv_block.cab.0.weight",),
    "SwinIR": ("layers.0.residual_group.blocks.0.attn.relative_position_bias_table",),
    "RGT": ("layers.0.blocks.0.attn.attns.0.rpe_biases", "layers.0.blocks.0.gamma"),
    "DAT": ("layers.0.blocks.0.attn.attns.0.pos.pos_proj.weight",),
    "GRL": (
        "layers.0.blocks.0.attn.window_attn.attn_transform.logit_scale",
        "model.layers.0.blocks.0.attn.window_attn.attn_transform.logit_scale",
    ),
    "OmniSR": ("residual_layer.0.residual_layer.0.layer.0.fn.0.weight",),
    "SPAN": ("block_1.c1_r.sk.weight",),
    "PLKSR": ("feats.1.lk.conv.weight", "feats.1.lk.convs.0.weight", "feats.1.lk.mn_conv.weight"),
    "Real-CUGAN": ("unet1.conv1.conv.0.weight",),
    "ATD": ("layers.0.residual_group.td",),
    "DRCT": ("layers.0.swin1.attn.relative_position_bias_table",),
    "SAFMN": ("feats.0.safm.mfr.0.weight",),
    "CRAFT": ("layers.0.residual_group.hf_blocks.0.attn.temperature",),
    "MoSR": ("gblocks.1.norm.weight",),
    "MoESR": ("in_to_dim.weight",),
    "DITN": ("UFONE.0.ITLs.0.attn.temperature",),
    "RCAN": ("body.0.body.0.body.3.conv_du.0.weight",),
    "AuraSR": ("mid_block2.block1.proj.weights",),
    "SeemoRe": ("body.0.local_block.norm_1.weight",),
    "SwiftSRGAN": ("initial.cnn.depthwise.weight",),
    "DCTLSA": ("B1.body.0.transformer_body.0.blocks.0.attn.qkv.weight",),
    "FDAT": ("groups.0.blocks.0.inter.cg.1.weight",),
}
"""Networks that enlarge; the first one that fits, as some names of Swin2SR and HAT are SwinIR's."""

_COMPACT = {"body.0.weight", "body.0.bias", "body.1.weight", "body.2.weight"}
"""Real-ESRGAN's compact network: a plain row of convolutions with learned slopes between."""

_RESTORERS = {
    "GFPGAN, which restores faces": ("stylegan_decoder.style_mlp.1.weight",),
    "CodeFormer, which restores faces": ("ft_layers.0.self_attn.in_proj_weight",),
    "SCUNet, which takes noise away": ("m_head.0.weight",),
    "NAFNet, which takes blur and noise away": ("middle_blks.0.sca.1.weight",),
    "FBCNN, which takes JPEG's traces away": ("qf_pred.0.res.0.weight",),
    "DRUNet, which takes noise away": ("m_down1.0.res.0.weight",),
    "Uformer, which takes blur and noise away": ("encoderlayer_0.blocks.0.norm1.weight",),
    "KBNet, which takes noise away": ("encoders.0.0.attgamma",),
    "FFTformer, which takes blur away": ("encoder_level1.0.ffn.fft",),
    "LaMa, which fills holes": (
        "model.model.1.bn_l.running_mean",
        "generator.model.1.bn_l.running_mean",
    ),
}
"""Networks of the same people that make no picture larger."""


def name_of_upscaler(path: Path, tensors: Mapping[str, TensorInfo]) -> str | None:
    """Name the kind of network that enlarges, such as ``"ESRGAN upscaler (4x)"``, or give None.

    Raises:
        Unsupported: If it is a relative of them that makes no picture larger.
    """
    plain = {_unwrapped(name): tensor for name, tensor in tensors.items()}
    for what, marks in _RESTORERS.items():
        if plain.keys() & set(marks):
            raise not_larger(path, what)
    name = next((name for name, marks in _NETWORKS.items() if plain.keys() & set(marks)), None)
    if name is None and plain.keys() >= _COMPACT:
        name = "Real-ESRGAN compact"
    if name is None:
        return None
    factor = _factor(name, plain)
    if factor == 1:
        raise not_larger(path, f"a network of the kind {name} that keeps the size (1x)")
    return f"{name} upscaler" + (f" ({factor}x)" if factor else "")


def not_larger(path: Path, what: str) -> Unsupported:
    """Say in one sentence that a network is no upscaler."""
    return Unsupported(f"{path} is {what}; this version takes networks that make pictures larger.")


def _unwrapped(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _factor(name: str, tensors: Mapping[str, TensorInfo]) -> int | None:
    """Tell how many times larger a network makes a side, where its header says it."""
    if name == "ESRGAN" and "model.0.weight" in tensors:
        # Behind the trunk each doubling takes three places, then two convolutions follow.
        doublings = (_last_place("model", tensors) - 4) // 3
        return int(2**doublings * _seen(tensors["model.0.weight"]))
    if name == "Real-ESRGAN" and {"conv_first.weight", "conv_up2.weight"} <= tensors.keys():
        return int(4 * _seen(tensors["conv_first.weight"]))
    if name == "Real-ESRGAN compact":
        # The last convolution gives every pixel's three colours.
        return math.isqrt(tensors[f"body.{_last_place('body', tensors)}.weight"].shape[0] // 3)
    return None


def _last_place(row: str, tensors: Mapping[str, TensorInfo]) -> int:
    """Give the number of the last layer in a row of layers."""
    parts = [name.split(".") for name in tensors]
    return max(
        int(part[1])
        for part in parts
        if len(part) == 3 and part[0] == row and part[1].isdecimal() and part[2] == "weight"
    )


def _seen(first: TensorInfo) -> float:
    """Give the share of a side that the first layer sees, the rest of its pixels in channels."""
    channels = first.shape[1] if len(first.shape) == 4 else 0
    return {12: 1 / 2, 48: 1 / 4}.get(channels, 1)
