import json

import diffusers
import pytest
import torch
from torch import nn

from core.coreml_folder import Layout
from coreml_export.interpreter.psnr import psnr
from coreml_export.layouts.denoiser import RESIDUAL, residual_shapes
from coreml_export.parts import part_names, parts_of
from tests.conftest import write_tiny_control, write_tiny_model
from tests.fixtures.loaded import loaded

CHANGES = {"plain": {}, "inpainting": {"in_channels": 9}, "lcm": {"time_cond_proj_dim": 12}}

every_layout = pytest.mark.parametrize("layout", list(Layout))


def model_with(folder, **changes):
    """A tiny model whose UNet has a configuration of its own."""
    write_tiny_model(folder, "epsilon")
    config = json.loads((folder / "unet" / "config.json").read_text()) | changes
    with torch.random.fork_rng():
        torch.manual_seed(4)
        diffusers.UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")
    return folder


@pytest.fixture(scope="module", params=["plain", "inpainting", "lcm", "sdxl"])
def controlled(request, tmp_path_factory):
    """A model and ControlNets for it."""
    folder = tmp_path_factory.mktemp("controlled")
    if request.param == "sdxl":
        model = request.getfixturevalue("tiny_xl_model")
    else:
        model = model_with(folder / "model", **CHANGES[request.param])
    # An inpainting UNet is led by a ControlNet of four channels.
    base = request.getfixturevalue("tiny_model") if request.param == "inpainting" else model
    net = diffusers.ControlNetModel.from_pretrained(write_tiny_control(folder / "net", base))
    return loaded(model, folder), {"edges": net.eval()}


def make(controlled, layout, **options):
    components, nets = controlled
    given = {"width": 64, "height": 128, "batch": 2, "control": True, "nets": nets} | options
    names = ["ControlledUnet", "controlnet/edges"] if given["control"] else ["Unet"]
    return list(parts_of(components, layout=layout, only=names, **given))


def told_by(part, examples) -> dict[str, torch.Tensor]:
    return dict(zip((one.name for one in part.inputs), examples, strict=True))


def diffusers_names(told) -> dict:
    """What diffusers' networks are told beside sample, timestep and text, by their own names."""
    size = {name: told[name] for name in ("time_ids", "text_embeds") if name in told}
    return {"added_cond_kwargs": size or None, "return_dict": False}


@every_layout
@torch.no_grad()
def test_a_unet_computes_what_diffusers_does(controlled, layout):
    for batch in (1, 2):
        (part,) = make(controlled, layout, control=False, batch=batch)
        examples = part.examples()
        told = told_by(part, examples)
        expected = controlled[0].unet(
            told["sample"],
            told["timestep"],
            told["encoder_hidden_states"][:, :, 0].transpose(1, 2),
            timestep_cond=told.get("timestep_cond"),
            **diffusers_names(told),
        )[0]
        assert psnr(expected, part.module(*examples)) > 90


@every_layout
@torch.no_grad()
def test_a_unet_is_led_by_what_its_control_net_gives(controlled, layout):
    (components, nets), (unet, net) = controlled, make(controlled, layout)
    told = told_by(net, net.examples())
    text = told["encoder_hidden_states"][:, :, 0].transpose(1, 2)
    down, middle = nets["edges"](
        told["sample"],
        told["timestep"],
        text,
        told["controlnet_cond"],
        **diffusers_names(told),
    )
    given = net.module(*net.examples())
    assert [one.name for one in net.outputs] == [f"{RESIDUAL}{i}" for i in range(len(given))]
    for expected, output in zip((*down, middle), given, strict=True):
        assert psnr(expected, output) > 90
    assert [one.shape for one in net.outputs] == [tuple(one.shape) for one in given]

    inputs = told_by(unet, unet.examples())
    added = {name: value for name, value in inputs.items() if name.startswith(RESIDUAL)}
    assert [tuple(one.shape) for one in added.values()] == [tuple(one.shape) for one in given]
    led = inputs | dict(zip(added, given, strict=True))
    expected = components.unet(
        inputs["sample"],
        inputs["timestep"],
        inputs["encoder_hidden_states"][:, :, 0].transpose(1, 2),
        timestep_cond=inputs.get("timestep_cond"),
        down_block_additional_residuals=tuple(down),
        mid_block_additional_residual=middle,
        **diffusers_names(inputs),
    )[0]
    assert psnr(expected, unet.module(*led.values())) > 90
    assert psnr(expected, unet.module(*unet.examples())) < 60


def test_a_controlled_unet_is_another_part(controlled):
    components, nets = controlled
    names = part_names(components, control=True, nets=nets)
    assert "ControlledUnet" in names
    assert "Unet" not in names
    assert "controlnet/edges" in names


@torch.no_grad()
def test_the_shapes_of_residuals_are_known_for_sides_that_do_not_halve():
    config = {"block_out_channels": (8, 16, 16), "layers_per_block": 2, "norm_num_groups": 4}
    kinds = ("CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D")
    net = diffusers.ControlNetModel(
        **config, down_block_types=kinds, cross_attention_dim=8, attention_head_dim=4
    ).eval()
    sample, text = torch.zeros(1, 4, 10, 7), torch.zeros(1, 3, 8)
    down, middle = net(sample, 1, text, torch.zeros(1, 3, 80, 56), return_dict=False)
    shapes = [tuple(one.shape) for one in (*down, middle)]
    assert residual_shapes(net, sample.shape) == shapes


def test_weights_are_not_held_twice(controlled):
    components, nets = controlled
    own: nn.Module
    for part, own in zip(
        make(controlled, Layout.SPLIT_EINSUM), (components.unet, nets["edges"]), strict=True
    ):
        places = {weights.untyped_storage().data_ptr() for weights in own.parameters()}
        assert all(w.untyped_storage().data_ptr() in places for w in part.module.parameters())
