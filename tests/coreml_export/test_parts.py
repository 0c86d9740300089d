import dataclasses
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import core
from core.coreml_folder import Layout
from core.errors import InvalidRequest
from core.models.fingerprint import Fingerprints
from core.models.load import load
from core.models.lora import AppliedLoras, Strength, bind, merge_into
from core.models.lora_file import read_lora
from core.sampling.text import TextEmbeddings
from core.sampling.towers import encode_tokens
from coreml_export.interpreter.psnr import psnr
from coreml_export.layouts.sharing import sharing_copy
from coreml_export.parts import PROMPT, part_names, parts_of
from tests.fixtures.loaded import loaded

STARTER = Path(core.__file__).parent / "starter" / "weights"

TEXT = "last_hidden_state"
XL_TEXT = "hidden_embeds"


@pytest.fixture(scope="module")
def components(request, tmp_path_factory):
    name = request.param
    folder = STARTER if name == "starter" else request.getfixturevalue(name)
    return loaded(folder, tmp_path_factory.mktemp("scratch"))


every_model = pytest.mark.parametrize(
    "components", ["tiny_model", "tiny_xl_model", "tiny_refiner", "starter"], indirect=True
)
every_layout = pytest.mark.parametrize("layout", list(Layout))


def make(components, **options):
    given = {"layout": Layout.ORIGINAL, "width": 64, "height": 128, "batch": 2} | options
    return {part.name: part for part in parts_of(components, **given)}


def outputs_of(compute, examples) -> tuple[torch.Tensor, ...]:
    outputs = compute(*examples)
    return outputs if isinstance(outputs, tuple) else (outputs,)


@every_model
@every_layout
@torch.no_grad()
def test_every_part_is_what_it_says_and_computes_what_the_model_does(components, layout):
    parts = make(components, layout=layout)
    assert tuple(parts) == part_names(components)
    for name, part in parts.items():
        examples = part.examples()
        assert [tuple(tensor.shape) for tensor in examples] == [one.shape for one in part.inputs]
        outputs = outputs_of(part.module, examples)
        assert [tuple(tensor.shape) for tensor in outputs] == [one.shape for one in part.outputs]
        for expected, output in zip(part.reference(*examples), outputs, strict=True):
            assert psnr(expected, output) > 90, name
        assert not part.module.training


@every_model
@every_layout
@torch.no_grad()
def test_a_trace_computes_the_same(components, layout):
    for part in make(components, layout=layout, batch=1).values():
        examples = part.examples()
        with warnings.catch_warnings():
            # Sizes become constants, as they should, and tracing is deprecated.
            warnings.simplefilter("ignore")
            trace = torch.jit.trace(part.module, examples, check_trace=False)
        before = outputs_of(part.module, examples)
        for expected, output in zip(before, outputs_of(trace, examples), strict=True):
            assert psnr(expected, output) > 110, part.name


@every_model
@torch.no_grad()
def test_texts_are_read_as_pictures_are_made_with_them(components):
    states = TextEmbeddings(components).of([PROMPT])
    parts = make(components, only=[n for n in part_names(components) if n.startswith("Text")])
    read = [part.module(*part.examples()) for part in parts.values()]
    assert psnr(states.text, torch.cat([one for one, _ in read], dim=-1)) > 90
    if states.pooled is not None:
        assert psnr(states.pooled, read[-1][1]) > 90
    names = {part.outputs[0].name for part in parts.values()}
    assert names == {XL_TEXT if components.identity.needs_size else TEXT}


@pytest.mark.parametrize("components", ["tiny_model"], indirect=True)
@torch.no_grad()
def test_a_text_encoder_that_masks_padding_masks_it(components):
    masked = dataclasses.replace(components, text_uses_mask=True)
    tower = masked.text_towers[0]
    row = list(tower.tokenizer(PROMPT, add_special_tokens=False).input_ids)
    expected, plain = (encode_tokens(tower, one, [row])[0] for one in (masked, components))
    part = make(masked, only=["TextEncoder"])["TextEncoder"]
    made = part.module(*part.examples())[0]
    assert psnr(expected, made) > 90
    assert psnr(plain, made) < 60


@pytest.mark.parametrize("components", ["tiny_model", "tiny_xl_model"], indirect=True)
def test_only_some_are_made(components):
    assert list(make(components, only=["Unet", "VAEDecoder"])) == ["Unet", "VAEDecoder"]
    with pytest.raises(InvalidRequest, match="Unets, which this model does not have"):
        make(components, only=["Unets"])


@pytest.mark.parametrize("components", ["tiny_xl_model"], indirect=True)
def test_what_needs_fp32_says_so(components):
    parts = make(components)
    assert [name for name, part in parts.items() if part.fp32] == ["VAEDecoder", "VAEEncoder"]
    assert parts["VAEDecoder"].inputs[0].dtype == "float32"
    sound = sharing_copy(components.vae)
    sound.register_to_config(force_upcast=False)
    parts = make(dataclasses.replace(components, vae=sound), only=["VAEDecoder", "VAEEncoder"])
    assert not any(part.fp32 for part in parts.values())


BLOCK = "down_blocks.0.attentions.0"


@torch.no_grad()
@every_layout
def test_merged_loras_are_in_the_parts(layout, tiny_model, tmp_path):
    components = loaded(tiny_model, tmp_path)
    modules = {"unet": components.unet, "text_encoder": components.text_encoder}
    changes = {
        f"lora_unet_{BLOCK}.transformer_blocks.0.attn1.to_q": (8, 8),
        f"lora_unet_{BLOCK}.transformer_blocks.0.ff.net.0.proj": (64, 8),
        f"lora_unet_{BLOCK}.proj_in": (8, 8, 1, 1),
        "lora_te_text_model.encoder.layers.0.self_attn.q_proj": (16, 16),
    }
    tensors = {}
    for name, (out, width, *kernel) in changes.items():
        stem = name.replace(".", "_")
        tensors[f"{stem}.lora_up.weight"] = torch.randn(out, 2, *kernel)
        tensors[f"{stem}.lora_down.weight"] = torch.randn(2, width, *kernel)
    save_file(tensors, tmp_path / "lora.safetensors")
    strengths = [Strength(bind(read_lora(tmp_path / "lora.safetensors"), modules), 0.7, 0.5)]
    names = ["TextEncoder", "Unet"]
    plain = make(components, layout=layout, only=names)
    examples = {name: part.examples() for name, part in plain.items()}
    unchanged = {name: part.reference(*examples[name])[0] for name, part in plain.items()}

    applied = AppliedLoras(modules)
    applied.set(strengths)
    expected = {name: part.reference(*examples[name])[0] for name, part in plain.items()}
    with pytest.raises(AssertionError, match="not merged"):
        make(components, layout=layout, only=["Unet"])

    applied.set([])
    merge_into(modules, strengths)
    for name, part in make(components, layout=layout, only=names).items():
        output = outputs_of(part.module, examples[name])[0]
        assert psnr(expected[name], output) > 90
        assert psnr(unchanged[name], output) < 60


@pytest.mark.parametrize("components", ["tiny_xl_model"], indirect=True)
@torch.no_grad()
def test_a_model_may_keep_only_the_part_at_work_in_memory(components, tmp_path):
    sparing = load(
        components.identity,
        device=components.device,
        dtype=components.dtype,
        fingerprints=Fingerprints(tmp_path / "fingerprints.json"),
        one_at_a_time=True,
    )
    parts = make(components, layout=Layout.SPLIT_EINSUM)
    options = {"layout": Layout.SPLIT_EINSUM, "width": 64, "height": 128, "batch": 2}
    for part in parts_of(sparing, **options):
        examples = part.examples()
        expected = outputs_of(parts[part.name].module, examples)
        for reads in (part.reference, part.module):
            for one, other in zip(expected, outputs_of(reads, examples), strict=True):
                assert psnr(one, other) > 90, part.name
