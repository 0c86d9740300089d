"""One model in all its forms: the same weights from a folder, a split one, and one file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import ModelInvalid, ModelMissing, UnsafeFile, Unsupported
from core.models.components import Components
from core.models.families import Family
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.load import load
from core.models.writing.original_layout import in_original_layout
from tests.fixtures.small import Small

LAYOUTS = ("sd1", "sd2", "sdxl", "sdxl-refiner")
UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"


def opened(path: Path, configs: Path | None = None, **options: Any) -> Components:
    identity = identify(path) if configs is None else identify(path, configs)
    return load(
        identity,
        device=torch.device("cpu"),
        dtype=options.pop("dtype", torch.float32),
        fingerprints=Fingerprints.kept_in(path.parent / "cache"),
        **options,
    )


def same(one: Any, other: Mapping[str, torch.Tensor]) -> None:
    torch.testing.assert_close(dict(one.state_dict()), dict(other), rtol=0, atol=0)


@pytest.fixture(params=LAYOUTS)
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Small:
    return Small(request.param, tmp_path)


def test_one_file_gives_the_modules_it_was_written_from(small: Small) -> None:
    found = opened(small.path, small.configs)
    for name, module in small.modules.items():
        same(getattr(found, name), module.state_dict())
        assert not getattr(found, name).training
    assert found.scaling_factor == 0.2
    assert len(found.sha256) == 64
    assert found.sha256 == found.vae_sha256 == Fingerprints(small.path).of_file(small.path)
    for name in ("text_encoder", "text_encoder_2"):
        assert (getattr(found, name) is None) == (name not in small.modules)


def test_the_bundled_tokenizer_is_clips(tmp_path: Path) -> None:
    tokenizer: Any = opened(*_pair(Small("sdxl", tmp_path))).tokenizer
    # The numbers are those of CLIP's own tokenizer for this text.
    expected = [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("a photo of a cat").input_ids == expected
    padded = tokenizer("a photo of a cat", padding="max_length", max_length=9).input_ids
    assert padded[-2:] == [49407, 49407]


def test_the_second_text_encoder_is_padded_with_zeros(tmp_path: Path) -> None:
    tokenizer: Any = opened(*_pair(Small("sdxl", tmp_path))).tokenizer_2
    assert tokenizer("cat", padding="max_length", max_length=5).input_ids == [
        49406, 2368, 49407, 0, 0,
    ]  # fmt: skip


def _pair(small: Small) -> tuple[Path, Path]:
    return small.path, small.configs


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_is_a_pickle(small: Small, zipped: bool) -> None:
    path = small.path.with_suffix(".ckpt")
    content = {"state_dict": small.tensors, "global_step": 470000, "epoch": 3}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    found = opened(path, small.configs)
    for name, module in small.modules.items():
        same(getattr(found, name), module.state_dict())


def test_half_precision_becomes_what_is_asked_for(tmp_path: Path) -> None:
    small = Small("sd1", tmp_path, torch.float16)
    found = opened(small.path, small.configs)
    assert {p.dtype for p in found.unet.parameters()} == {torch.float32}
    assert {p.dtype for p in opened(*_pair(small), dtype=torch.float16).unet.parameters()} == {
        torch.float16
    }


def test_old_names_of_the_first_text_encoder(tmp_path: Path) -> None:
    small = Small("sd1", tmp_path)
    small.save({k.replace(".text_model.", "."): v for k, v in small.tensors.items()})
    same(opened(*_pair(small)).text_encoder, small.modules["text_encoder"].state_dict())


def test_the_names_of_turbos_files(tmp_path: Path) -> None:
    small = Small("sd2", tmp_path)
    prefix = "conditioner.embedders.0.model."
    small.save({k.replace("cond_stage_model.model.", prefix): v for k, v in small.tensors.items()})
    found = opened(*_pair(small))
    assert found.identity.family is Family.SD2
    same(found.text_encoder, small.modules["text_encoder"].state_dict())


def test_what_does_not_belong_or_is_missing_is_named(tmp_path: Path) -> None:
    small = Small("sd1", tmp_path)
    unet = "model.diffusion_model."
    for tensors, words in (
        ({k: v for k, v in small.tensors.items() if "middle_block.1.norm" not in k}, "lacks mid_"),
        (small.tensors | {f"{unet}fuser.weight": torch.ones(2)}, r"has model\.diff.*fuser"),
        (small.tensors | {f"{unet}out.0.weight": torch.ones(3)}, "another shape conv_norm_out"),
    ):
        small.save(tensors)
        with pytest.raises(ModelInvalid, match=words) as caught:
            opened(*_pair(small))
        assert str(small.path) in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    small = Small("sd1", tmp_path, dtype)
    name = "model.diffusion_model.middle_block.1.proj_in.weight"
    small.tensors[name].view(-1)[5] = value
    small.save(small.tensors)
    with pytest.raises(ModelInvalid, match="not finite, in mid_block"):
        opened(*_pair(small), dtype=dtype)


def test_weights_in_a_folder_that_are_no_numbers(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    tensors = load_file(model / VAE)
    tensors["decoder.conv_in.bias"][0] = float("nan")
    save_file(tensors, model / VAE, {"format": "pt"})
    with pytest.raises(ModelInvalid, match=r"not finite, in decoder\.conv_in\.bias"):
        opened(model)


def test_sdxl_in_a_folder(tiny_xl_model: Path) -> None:
    found = opened(tiny_xl_model)
    assert found.identity.family is Family.SDXL
    assert found.identity.needs_size
    pipeline = diffusers.StableDiffusionXLPipeline.from_pretrained(tiny_xl_model)
    for name in ("text_encoder", "text_encoder_2", "unet", "vae"):
        same(getattr(found, name), getattr(pipeline, name).state_dict())
    second: Any = found.tokenizer_2
    assert second("red moon").input_ids == pipeline.tokenizer_2("red moon").input_ids


@pytest.mark.parametrize("form", ["file", "folder"])
def test_a_refiner_has_one_text_encoder_and_is_told_a_score(
    form: str, tmp_path: Path, tiny_refiner: Path
) -> None:
    small = Small("sdxl-refiner", tmp_path)
    found = opened(*_pair(small)) if form == "file" else opened(tiny_refiner)
    identity = found.identity
    assert identity.family is Family.SDXL_REFINER
    assert (identity.needs_size, identity.is_scored) == (True, True)
    (tower,) = found.text_towers
    assert tower.name == "text_encoder_2"
    assert tower.tokenizer is found.tokenizer_2
    assert found.tokenizer is None


def test_a_unet_that_is_told_other_numbers_than_it_reads(
    tmp_path: Path, tiny_refiner: Path
) -> None:
    model = Path(shutil.copytree(tiny_refiner, tmp_path / "model"))
    index = json.loads((model / "model_index.json").read_text())
    del index["requires_aesthetics_score"]
    (model / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelInvalid, match="64 numbers of pooled text, size and score"):
        identify(model)


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_a_folder_whose_weights_are_split(
    tiny_xl_model: Path, tmp_path: Path, variant: str | None
) -> None:
    model = Path(shutil.copytree(tiny_xl_model, tmp_path / "model"))
    whole = opened(model)
    for name in ("unet", "text_encoder_2"):
        for file in (model / name).glob("*.safetensors"):
            file.unlink()
        getattr(whole, name).save_pretrained(model / name, max_shard_size="20KB", variant=variant)
        assert len(list((model / name).glob("*.safetensors"))) > 1
    found = opened(model)
    for name in ("unet", "text_encoder_2"):
        same(getattr(found, name), getattr(whole, name).state_dict())
    shard = min((model / "unet").glob("*.safetensors"))
    assert shard in found.identity.weights.values()
    assert found.identity.parameters == whole.identity.parameters
    shard.unlink()
    with pytest.raises(ModelInvalid, match=f"{shard.name} is missing"):
        identify(model)


def test_an_index_that_points_elsewhere(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    index = {"metadata": {}, "weight_map": {"a": "../vae/diffusion_pytorch_model.safetensors"}}
    (model / UNET).unlink()
    (model / f"{UNET}.index.json").write_text(json.dumps(index))
    with pytest.raises(UnsafeFile, match="outside of its folder"):
        identify(model)


@pytest.mark.parametrize("part", ["text_encoder_2", "tokenizer_2", "vae", "scheduler"])
def test_a_folder_without_a_part(tiny_xl_model: Path, tmp_path: Path, part: str) -> None:
    model = Path(shutil.copytree(tiny_xl_model, tmp_path / "model"))
    shutil.rmtree(model / part)
    with pytest.raises(ModelInvalid, match=part):
        identify(model)


def test_another_vae(tiny_model: Path, tmp_path: Path) -> None:
    torch.manual_seed(9)
    own = json.loads((tiny_model / "vae/config.json").read_text())
    other = diffusers.AutoencoderKL.from_config(own)
    other.save_pretrained(tmp_path / "vae")
    modules = {"unet": opened(tiny_model).unet, "vae": other}
    prefix = "first_stage_model."
    original = {
        name.removeprefix(prefix): tensor.detach().contiguous()
        for name, tensor in in_original_layout(modules, "sd1").items()
        if name.startswith(prefix)
    }
    save_file({k: v.clone() for k, v in original.items()}, tmp_path / "a.safetensors")
    save_file({prefix + k: v.clone() for k, v in original.items()}, tmp_path / "b.safetensors")
    torch.save({"state_dict": original}, tmp_path / "c.pt")
    plain = opened(tiny_model)
    for place in ("vae", "a.safetensors", "b.safetensors", "c.pt"):
        found = opened(tiny_model, vae=tmp_path / place)
        same(found.vae, other.state_dict())
        assert found.vae_sha256 != plain.vae_sha256
        assert found.sha256 == plain.sha256


def test_a_vae_of_other_latents(tiny_model: Path, tmp_path: Path) -> None:
    vae = Path(shutil.copytree(tiny_model / "vae", tmp_path / "vae"))
    config = json.loads((vae / "config.json").read_text())
    (vae / "config.json").write_text(json.dumps(config | {"scaling_factor": 0.13025}))
    with pytest.raises(ModelInvalid, match=r"scaling factor 0\.13025"):
        opened(tiny_model, vae=vae)
    with pytest.raises(ModelMissing, match="no VAE at"):
        opened(tiny_model, vae=tmp_path / "nothing")
    save_file({"decoder.conv_in.weight": torch.ones(4, 16, 3, 3)}, tmp_path / "v.safetensors")
    with pytest.raises(Unsupported, match="decoder of a VAE alone"):
        opened(tiny_model, vae=tmp_path / "v.safetensors")


def test_an_inpainting_model_loads_with_its_nine_channels(tmp_path: Path) -> None:
    small = Small("sd1", tmp_path)
    name = "model.diffusion_model.input_blocks.0.0.weight"
    small.save(small.tensors | {name: torch.ones(8, 9, 3, 3)})
    found = opened(*_pair(small))
    assert found.identity.inpainting
    assert found.unet.conv_in.in_channels == 9


RELATIVES: dict[str, tuple[str, dict[str, Any]]] = {
    "lcm": ("sd1", {"time_cond_proj_dim": 12}),
    "fewer layers": (
        "sdxl",
        {
            "transformer_layers_per_block": [1, [1]],
            "reverse_transformer_layers_per_block": [[3, 1], 1],
            "mid_block_type": "UNetMidBlock2D",
        },
    ),
    "fewer layers, lcm": (
        "sdxl",
        {
            "transformer_layers_per_block": [1, [3]],
            "reverse_transformer_layers_per_block": [[2, 1], 1],
            "time_cond_proj_dim": 8,
        },
    ),
}


@pytest.mark.parametrize(("layout", "own"), RELATIVES.values(), ids=RELATIVES.keys())
def test_a_relatives_unet_is_built_as_its_file_tells(
    tmp_path: Path, layout: str, own: dict[str, Any]
) -> None:
    small = Small(layout, tmp_path, **own)
    found = opened(*_pair(small))
    same(found.unet, small.modules["unet"].state_dict())
    assert found.identity.guidance_embedding == ("time_cond_proj_dim" in own)
    assert found.identity.distillation.value == ("lcm" if "time_cond_proj_dim" in own else "none")


def test_a_guidance_input_under_diffusers_name(tmp_path: Path) -> None:
    small = Small("sd1", tmp_path, time_cond_proj_dim=12)
    small.save({k.replace("time_embed.cond", "time_embedding.cond"): v
                for k, v in small.tensors.items()})  # fmt: skip
    same(opened(*_pair(small)).unet, small.modules["unet"].state_dict())
