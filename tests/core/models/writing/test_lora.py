"""LoRA files as they are written: what is in them, and what other programs make of them."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor, nn

from core.errors import ExportFailed
from core.models.components import Components
from core.models.families import Family
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.load import load
from core.models.lora import AppliedLoras, Strength, bind
from core.models.lora_file import read_lora
from core.models.single_file import CONFIGS
from core.models.verdict import judge
from core.models.writing.lora import LoraPair, LoraWeights, write_kohya, write_peft
from tests.fixtures import adapters

BLOCK = "down_blocks.{}.attentions.0"
# Transformers takes every tensor whose name holds the adapter's for one of the adapter's.
ADAPTER = "under_test"
FAMILIES = (Family.SD1, Family.SD2, Family.SDXL)
LAYOUTS = ("kohya", "peft")

Modules = dict[str, nn.Module]


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture
def folder(family: Family, tiny_model: Path, tiny_v_model: Path, tiny_xl_model: Path) -> Path:
    return dict(zip(FAMILIES, (tiny_model, tiny_v_model, tiny_xl_model), strict=True))[family]


@pytest.fixture
def components(folder: Path, tmp_path: Path) -> Components:
    return load(
        identify(folder),
        device=torch.device("cpu"),
        dtype=torch.float32,
        fingerprints=Fingerprints.kept_in(tmp_path / "cache"),
    )


@pytest.fixture
def modules(components: Components) -> Modules:
    towers = {tower.name: tower.encoder for tower in components.text_towers}
    return {"unet": components.unet, **towers}


def names_of(unet: nn.Module) -> list[str]:
    """Some modules of each kind: attention, 1x1 and 3x3 convolutions, and those that resize."""
    level = 0 if hasattr(unet.down_blocks[0], "attentions") else 1
    up = next(i for i, block in enumerate(unet.up_blocks) if hasattr(block, "attentions"))
    attention = BLOCK.format(level)
    return [
        f"{attention}.transformer_blocks.0.attn1.to_q",
        f"{attention}.transformer_blocks.0.attn2.to_k",
        f"{attention}.transformer_blocks.0.attn2.to_out.0",
        f"{attention}.transformer_blocks.0.ff.net.0.proj",
        f"{attention}.proj_in",
        "down_blocks.0.resnets.0.conv1",
        "down_blocks.0.resnets.0.time_emb_proj",
        "down_blocks.1.resnets.0.conv_shortcut",
        "down_blocks.0.downsamplers.0.conv",
        "mid_block.attentions.0.transformer_blocks.0.attn2.to_v",
        "mid_block.resnets.1.conv2",
        f"up_blocks.{up}.attentions.1.proj_out",
        "up_blocks.0.upsamplers.0.conv",
    ]


TEXT_ENDS = ("layers.0.self_attn.q_proj", "layers.1.self_attn.out_proj", "layers.0.mlp.fc1")


def weights_for(modules: Modules, *, dora: bool = False) -> dict[str, dict[str, LoraPair]]:
    """Random pairs; convolutions of 3x3 have a rank and an alpha of their own."""
    numbers = torch.Generator().manual_seed(4)
    made: dict[str, dict[str, LoraPair]] = {}
    for part, module in modules.items():
        named = dict(module.named_modules())
        names = names_of(module) if part == "unet" else [
            name for name in named if name.endswith(TEXT_ENDS)
        ]  # fmt: skip
        assert part == "unet" or len(names) == len(TEXT_ENDS)
        made[part] = {}
        for name in names:
            weight = named[name].get_parameter("weight").detach()
            kernel = tuple(weight.shape[2:])
            rank, alpha = (2, 1.0) if kernel == (3, 3) else (3, 1.5)
            down = 0.3 * torch.randn(rank, *weight.shape[1:], generator=numbers)
            up = 0.3 * torch.randn(weight.shape[0], rank, *(1 for _ in kernel), generator=numbers)
            length = 0.5 + torch.rand(weight.shape[0], generator=numbers) if dora else None
            made[part][name] = LoraPair(down, up, alpha, length)
    return made


def changed(weight: Tensor, pair: LoraPair) -> Tensor:
    """The definition: W + (alpha / r) B A, and DoRA's lengths over each output's weights."""
    delta = torch.einsum("or,ri->oi", pair.up.flatten(1), pair.down.flatten(1))
    whole = weight + pair.alpha / pair.rank * delta.reshape(weight.shape)
    if pair.magnitude is None:
        return whole
    length = torch.stack([row.norm() for row in whole])
    return whole * (pair.magnitude / length).reshape(-1, *(1 for _ in weight.shape[1:]))


@torch.no_grad()
def merged(modules: Modules, weights: LoraWeights) -> Modules:
    made = copy.deepcopy(modules)
    for part, pairs in weights.items():
        for name, pair in pairs.items():
            weight = made[part].get_submodule(name).get_parameter("weight")
            weight.copy_(changed(weight, pair))
    return made


def write(
    layout: str, path: Path, weights: LoraWeights, family: Family, unet: Any, **options: Any
) -> Path:
    notes = {"ss_steps": "7", **options.pop("metadata", {})}
    if layout == "peft":
        write_peft(path, weights, metadata=notes, **options)
    else:
        write_kohya(
            path, weights, family=family, unet_config=unet.config, metadata=notes, **options
        )
    return path


def latents_of(pipe: Any) -> Tensor:
    pipe.set_progress_bar_config(disable=True)
    with torch.no_grad():
        return pipe(
            "a red circle on the moon",
            num_inference_steps=2,
            guidance_scale=2.0,
            generator=torch.Generator().manual_seed(1),
            height=64,
            width=64,
            output_type="latent",
        ).images


def pipeline(folder: Path, **parts: nn.Module) -> Any:
    cls = (
        diffusers.StableDiffusionXLPipeline
        if (folder / "text_encoder_2").is_dir()
        else diffusers.StableDiffusionPipeline
    )
    extra = {} if (folder / "text_encoder_2").is_dir() else {"safety_checker": None}
    return cls.from_pretrained(folder, local_files_only=True, **extra, **parts)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_our_own_reader_binds_every_tensor_and_each_module_does_what_is_defined(
    layout: str, dora: bool, modules: Modules, family: Family, tmp_path: Path
) -> None:
    weights = weights_for(modules, dora=dora)
    path = write(layout, tmp_path / "a.safetensors", weights, family, modules["unet"])
    bound = bind(read_lora(path), modules)
    modules_changed = sum(map(len, weights.values()))
    assert len(bound.changes) == modules_changed
    assert bound.tensors == modules_changed * (2 + dora + (layout == "kohya"))
    expected = merged(modules, weights)
    AppliedLoras(modules).set([Strength(bound, 1.0, 1.0)])
    numbers = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for part, pairs in weights.items():
            for name in pairs:
                module, other = (m[part].get_submodule(name) for m in (modules, expected))
                width = module.get_parameter("weight").shape[1]
                sides = (2, width, 6, 6) if isinstance(module, nn.Conv2d) else (2, 5, width)
                values = torch.randn(sides, generator=numbers)
                plain = type(module).forward(module, values)
                assert not torch.allclose(module(values), plain, atol=1e-2)
                torch.testing.assert_close(module(values), other(values), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("layout", "dora"), [("kohya", False), ("peft", False), ("peft", True)],
    ids=["kohya", "peft", "peft-dora"],
)  # fmt: skip
def test_diffusers_makes_the_same_latents_of_the_file(
    layout: str,
    dora: bool,
    modules: Modules,
    folder: Path,
    family: Family,
    tmp_path: Path,
) -> None:
    weights = weights_for(modules, dora=dora)
    path = write(layout, tmp_path / "a.safetensors", weights, family, modules["unet"])
    expected = latents_of(pipeline(folder, **merged(modules, weights)))
    theirs = pipeline(folder)
    plain = latents_of(theirs)
    theirs.load_lora_weights(tmp_path, weight_name=path.name, adapter_name=ADAPTER)
    found = latents_of(theirs)
    assert (found - expected).abs().max() <= 1e-4
    assert (found - plain).abs().max() > 1e-2
    AppliedLoras(modules).set([Strength(bind(read_lora(path), modules), 1.0, 1.0)])
    ours = latents_of(pipeline(folder, **modules))
    assert (ours - expected).abs().max() <= 1e-4


def test_kohyas_names(family: Family, modules: Modules, tmp_path: Path) -> None:
    weights = weights_for(modules)
    path = write("kohya", tmp_path / "a.safetensors", weights, family, modules["unet"])
    stems = {key.partition(".")[0] for key in tensors_of(path)}
    text = "text_model_encoder_layers_0_self_attn_q_proj"
    if family is Family.SDXL:
        assert {f"lora_te1_{text}", f"lora_te2_{text}"} <= stems
        assert "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q" in stems
        assert {"lora_unet_input_blocks_1_0_in_layers_2", "lora_unet_input_blocks_2_0_op",
                "lora_unet_middle_block_2_out_layers_3", "lora_unet_output_blocks_1_2_conv",
                "lora_unet_input_blocks_3_0_skip_connection"} <= stems  # fmt: skip
        assert not any("down_blocks" in stem or "lora_te_" in stem for stem in stems)
    else:
        assert f"lora_te_{text}" in stems
        assert "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q" in stems
        assert {"lora_unet_down_blocks_0_resnets_0_conv1", "lora_unet_mid_block_resnets_1_conv2",
                "lora_unet_up_blocks_0_upsamplers_0_conv"} <= stems  # fmt: skip
    ends = {key.partition(".")[2] for key in tensors_of(path)}
    assert ends == {"lora_down.weight", "lora_up.weight", "alpha"}


@pytest.mark.parametrize(("full_size", "count"), [("sd1", 192 + 72), ("sdxl", 722 + 72 + 192)])
def test_a_full_size_model_has_all_of_kohyas_names(
    full_size: str, count: int, tmp_path: Path
) -> None:
    """Every module that sd-scripts train, by the names that the other listing of them has."""
    parts = ["unet", "text_encoder", *(["text_encoder_2"] if full_size == "sdxl" else [])]
    pair = LoraPair(torch.zeros(1, 1), torch.zeros(1, 1), 1.0)
    weights = {part: dict.fromkeys(adapters.modules(f"{full_size}-{part}"), pair) for part in parts}
    assert sum(map(len, weights.values())) == count
    config = json.loads((CONFIGS / f"{full_size}.json").read_text())["unet"]
    path = tmp_path / "a.safetensors"
    write_kohya(path, weights, family=Family(full_size), unet_config=config, metadata={})
    assert tensors_of(path).keys() == adapters.kohya(full_size).keys()


def test_alphas_are_the_true_ones(modules: Modules, family: Family, tmp_path: Path) -> None:
    weights = weights_for(modules)
    path = write(
        "kohya", tmp_path / "a.safetensors", weights, family, modules["unet"], dtype=torch.float16
    )
    tensors = tensors_of(path)
    alphas = {key: tensor for key, tensor in tensors.items() if key.endswith(".alpha")}
    assert {(tuple(alpha.shape), alpha.item()) for alpha in alphas.values()} == {
        ((), 1.5), ((), 1.0)
    }  # fmt: skip
    assert {tensor.dtype for key, tensor in tensors.items() if key not in alphas} == {torch.float16}
    path = write("peft", tmp_path / "b.safetensors", weights, family, modules["unet"])
    told = json.loads(notes_of(path)["lora_adapter_metadata"])
    assert (told["unet.r"], told["unet.lora_alpha"]) == (3, 1.5)
    assert set(told["unet.rank_pattern"].values()) == {2}
    assert set(told["unet.alpha_pattern"].values()) == {1}
    assert told["text_encoder.alpha_pattern"] == {}
    assert notes_of(path)["format"] == "pt"


def test_the_lengths_of_dora_have_the_shapes_that_each_layout_has(
    modules: Modules, family: Family, tmp_path: Path
) -> None:
    name = "down_blocks.0.resnets.0.conv1"
    linear = names_of(modules["unet"])[0]
    pairs = weights_for(modules, dora=True)["unet"]
    weights = {"unet": {name: pairs[name], linear: pairs[linear]}}
    for layout, end, flat, kernel in (
        ("kohya", ".dora_scale", (8, 1), (8, 1, 1, 1)),
        ("peft", ".lora_magnitude_vector.weight", (8,), (1, 8, 1, 1)),
    ):
        path = write(layout, tmp_path / "a.safetensors", weights, family, modules["unet"])
        shapes = {tuple(t.shape) for key, t in tensors_of(path).items() if key.endswith(end)}
        width = len(pairs[linear].up)
        assert shapes == {tuple(width if side == 8 else side for side in flat), kernel}


def test_what_diffusers_cannot_say_is_refused(modules: Modules, tmp_path: Path) -> None:
    weights = weights_for(modules, dora=True)
    name = min(weights["unet"])
    weights["unet"][name] = dataclasses.replace(weights["unet"][name], magnitude=None)
    with pytest.raises(ExportFailed, match=r"is weight-decomposed .* save the LoRA in kohya's"):
        write_peft(tmp_path / "a.safetensors", weights, metadata={})
    assert list(tmp_path.glob("*.safetensors")) == []


def test_the_hashes_are_those_of_kohya(modules: Modules, family: Family, tmp_path: Path) -> None:
    weights = weights_for(modules)
    # Above one MiB, where the old hash looks.
    numbers = torch.Generator().manual_seed(0)
    name = min(weights["unet"])
    pair = weights["unet"][name]
    large = torch.randn(90_000, pair.down.shape[1], generator=numbers)
    weights["unet"][name] = dataclasses.replace(pair, down=large)
    metadata = {"ss_steps": "12", "modelspec.title": "not of the hash", "ss_note": "Größe 🌙"}
    path = write(
        "kohya", tmp_path / "a.safetensors", weights, family, modules["unet"], metadata=metadata
    )
    notes = notes_of(path)
    data = path.read_bytes()
    body = data[8 + int.from_bytes(data[:8], "little") :]
    assert notes["sshs_model_hash"] == hashlib.sha256(body).hexdigest()
    assert notes["modelspec.hash_sha256"] == "0x" + notes["sshs_model_hash"]
    told = {key: value for key, value in metadata.items() if key.startswith("ss_")}
    bare = safetensors.torch.save(tensors_of(path), told)
    expected = hashlib.sha256(bare[1 << 20 :][: 1 << 16]).hexdigest()[:8]
    assert notes["sshs_legacy_hash"] == expected
    assert bare.endswith(body)
    assert {key: notes[key] for key in metadata} == metadata
    assert Fingerprints.kept_in(tmp_path / "cache").of_tensors(path) == notes["sshs_model_hash"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_library_knows_what_it_is(
    layout: str, modules: Modules, family: Family, tmp_path: Path
) -> None:
    path = write(layout, tmp_path / "a.safetensors", weights_for(modules), family, modules["unet"])
    verdict = judge(path)
    assert verdict.kind == "lora"
    assert verdict.family == ("sdxl" if family is Family.SDXL else "custom")


def tensors_of(path: Path) -> dict[str, Tensor]:
    return safetensors.torch.load_file(path)


def notes_of(path: Path) -> Mapping[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()
