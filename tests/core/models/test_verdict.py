"""What every kind of file is, told from real headers without weights."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from core.errors import ModelInvalid, ModelMissing, Unsupported
from core.models.recognise import FAMILY_TITLES, vae_family
from core.models.safetensors_header import TensorInfo
from core.models.verdict import Kind, judge
from tests.fixtures.layouts import layout, write_stripped, write_stripped_folder

FAMILIES = ("sd1", "sd2", "sdxl")


def tensors(names: Mapping[str, tuple[int, ...]]) -> dict[str, TensorInfo]:
    return {name: TensorInfo("F16", shape) for name, shape in names.items()}


@pytest.mark.parametrize(
    ("name", "count"), [("sd1-original", 1131), ("sd2-original", 1228), ("sdxl-original", 2515)]
)
def test_the_listings_have_as_many_tensors_as_the_published_files(name: str, count: int) -> None:
    # Of the 2.x file without the schedules' buffers, which later files leave out.
    assert len(layout(name)) == count


def test_what_cannot_be_looked_at_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="cannot be looked at"):
        judge(tmp_path / ("x" * 300))


@pytest.mark.parametrize("inpainting", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("form", ["folder", "file"])
def test_whole_models(tmp_path: Path, family: str, inpainting: bool, form: str) -> None:
    if form == "folder":
        path = write_stripped_folder(tmp_path / "model", family, inpainting=inpainting)
    else:
        name = f"{family}{'-inpainting' if inpainting else ''}-original"
        path = write_stripped(tmp_path / "model.safetensors", layout(name))
    verdict = judge(path)
    assert (verdict.kind, verdict.family, verdict.inpainting) == (Kind.MODEL, family, inpainting)
    assert verdict.title == f"{FAMILY_TITLES[family]}{' inpainting' if inpainting else ''} model"
    assert len(verdict.files) == (1 if form == "file" else 4 if family == "sdxl" else 3)
    assert sum(file.stat().st_blocks for file in verdict.files) * 512 < 2_000_000


@pytest.mark.parametrize("form", ["folder", "file"])
def test_sdxls_refiner(tmp_path: Path, form: str) -> None:
    if form == "folder":
        path = write_stripped_folder(tmp_path / "model", "sdxl-refiner")
    else:
        path = write_stripped(tmp_path / "model.safetensors", layout("sdxl-refiner-original"))
    verdict = judge(path)
    assert (verdict.kind, verdict.family) == (Kind.MODEL, "sdxl-refiner")
    assert verdict.title == "SDXL refiner model"
    assert len(verdict.files) == (1 if form == "file" else 3)


def test_the_number_format_is_that_of_most_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    vae = "first_stage_model."

    def names(dtype: str) -> dict[str, TensorInfo]:
        return {
            name: TensorInfo("F32" if name.startswith(vae) else dtype, info.shape)
            for name, info in layout("sd1-original").items()
        }

    for dtype, precision in (("F16", "fp16"), ("BF16", "bf16"), ("F32", "fp32")):
        assert judge(write_stripped(path, names(dtype))).precision == precision
    lora = {name: TensorInfo("BF16", shape) for name, shape in kohya(UNDERSCORED, 768).items()}
    assert judge(write_stripped(path, lora)).precision == "bf16"


@pytest.mark.parametrize("naming", ["", "-original"])
@pytest.mark.parametrize("family", FAMILIES)
def test_controlnets(tmp_path: Path, family: str, naming: str) -> None:
    path = tmp_path / "control.safetensors"
    verdict = judge(write_stripped(path, layout(f"{family}-controlnet{naming}")))
    assert (verdict.kind, verdict.family) == (Kind.CONTROLNET, family)


def test_a_controlnet_shared_with_its_model_is_no_model(tmp_path: Path) -> None:
    own = {
        f"control_model.{name}": info for name, info in layout("sd1-controlnet-original").items()
    }
    other = {name.replace("attn2.to_k", "attn3.to_k"): info for name, info in own.items()}
    path = tmp_path / "control_sd15_canny.safetensors"
    verdict = judge(write_stripped(path, layout("sd1-original") | own))
    assert (verdict.kind, verdict.title) == (Kind.CONTROLNET, "ControlNet for Stable Diffusion 1.x")
    # The family is that of its own tensors and not the model's.
    assert judge(write_stripped(path, layout("sd1-original") | other)).family == "custom"


def test_a_controlnet_in_its_folder(tmp_path: Path) -> None:
    write_stripped(tmp_path / "diffusion_pytorch_model.safetensors", layout("sd1-controlnet"))
    (tmp_path / "config.json").write_text('{"_class_name": "ControlNetModel"}')
    verdict = judge(tmp_path)
    assert (verdict.kind, verdict.family) == (Kind.CONTROLNET, "sd1")
    (tmp_path / "config.json").write_text('{"_class_name": "FluxTransformer2DModel"}')
    with pytest.raises(Unsupported, match="FluxTransformer2DModel"):
        judge(tmp_path)


def test_the_parts_of_split_weights_are_numbered(tmp_path: Path) -> None:
    stem, listing = "diffusion_pytorch_model", layout("sd1-vae")
    places = {}
    for number in (1, 2):
        names = sorted(listing)[number - 1 :: 2]
        part = tmp_path / f"{stem}-{number}.safetensors"
        write_stripped(part, {name: listing[name] for name in names})
        places |= dict.fromkeys(names, part.name)
    (tmp_path / f"{stem}.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (tmp_path / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    verdict = judge(tmp_path)
    assert {name: path.name for name, path in verdict.weights.items()} == {
        "vae": f"{stem}-1.safetensors",
        "vae.2": f"{stem}-2.safetensors",
    }
    assert verdict.files == tuple(verdict.weights.values())


@pytest.mark.parametrize("naming", ["diffusers", "original", "inside", "inside a vae"])
def test_a_vae(tmp_path: Path, naming: str) -> None:
    prefix = "first_stage_model."
    original = {
        name.removeprefix(prefix): info
        for name, info in layout("sd1-original").items()
        if name.startswith(prefix)
    }
    listing = {
        "diffusers": layout("sd1-vae"),
        "original": original,
        "inside a vae": {f"vae.{name}": info for name, info in original.items()},
        "inside": {prefix + name: info for name, info in original.items()},
    }[naming]
    verdict = judge(write_stripped(tmp_path / "vae.safetensors", listing))
    assert (verdict.kind, verdict.family) == (Kind.VAE, "sd1")
    assert judge(write_stripped(tmp_path / "sdxl_vae.safetensors", listing)).family == "sdxl"


def test_a_vaes_name_tells_its_family_or_nothing() -> None:
    for name, family in (
        ("sdxl_vae", "sdxl"),
        ("fixFP16ErrorsSDXLLowerMemoryUse_v10", "sdxl"),
        ("vae-ft-mse-840000-ema-pruned", "sd1"),
        ("vae-ft-ema-560000", "sd1"),
        ("kl-f8-anime2", "sd1"),
        ("SD1.5-vae", "sd1"),
        ("bright_v1.5", None),
        ("vae", None),
    ):
        assert vae_family(Path(f"{name}.safetensors")) == family, name


def test_a_vae_in_its_folder_goes_by_its_scale(tmp_path: Path) -> None:
    write_stripped(tmp_path / "diffusion_pytorch_model.safetensors", layout("sdxl-vae"))
    config = {"_class_name": "AutoencoderKL", "scaling_factor": 0.13025}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert judge(tmp_path).family == "sdxl"


def test_a_captioner_is_a_folder_of_blip(tmp_path: Path) -> None:
    names = tensors({"vision_model.post_layernorm.weight": (768,)})
    file = write_stripped(tmp_path / "model.safetensors", names)
    config = {"architectures": ["BlipForConditionalGeneration"], "model_type": "blip"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    verdict = judge(tmp_path)
    assert (verdict.kind, verdict.family, verdict.files) == (Kind.CAPTIONER, "blip", (file,))
    (tmp_path / "config.json").write_text('{"architectures": ["BlipForQuestionAnswering"]}')
    with pytest.raises(Unsupported, match="is a BlipForQuestionAnswering and no whole model"):
        judge(tmp_path)


ATTN2 = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
UNDERSCORED = "lora_unet_" + ATTN2.replace(".", "_")
SGM = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
TEXT = "text_model.encoder.layers.0.self_attn.q_proj"
B_LORA = "unet.up_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q"
CLIP = "text_model_encoder_layers_0_self_attn_q_proj"


def kohya(stem: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{stem}.lora_down.weight": (4, width), f"{stem}.lora_up.weight": (640, 4),
            f"{stem}.alpha": ()}  # fmt: skip


LORAS: list[tuple[str, str, dict[str, tuple[int, ...]]]] = [
    ("sd1", "LoRA", kohya(UNDERSCORED, 768)),
    ("sd2", "LoRA", kohya(UNDERSCORED, 1024)),
    ("sdxl", "LoRA", kohya(SGM, 2048)),
    ("sd1", "LoRA", kohya(f"lora_te_{CLIP}", 768)),
    ("sd2", "LoRA", kohya(f"lora_te_{CLIP}", 1024)),
    ("sdxl", "LoRA", kohya(f"lora_te1_{CLIP}", 768)),
    ("sdxl", "LoRA", kohya(f"lora_te2_{CLIP}", 1280)),
    ("sd1", "LoRA", {f"unet.{ATTN2}.lora_A.weight": (4, 768)}),
    ("sdxl", "LoRA", {f"unet.{ATTN2}.lora_A.weight": (4, 2048)}),
    ("sd1", "LoRA", {f"unet.{ATTN2}.lora.down.weight": (4, 768)}),
    ("sd1", "LoRA", {f"{ATTN2.replace('to_k', 'processor.to_k')}_lora.down.weight": (4, 768)}),
    ("sdxl", "LoRA", {f"text_encoder_2.{CLIP}.lora_linear_layer.down.weight": (4, 1280)}),
    ("sd1", "LoHa", {f"{UNDERSCORED}.hada_w1_a": (640, 4), f"{UNDERSCORED}.hada_w1_b": (4, 768)}),
    ("sdxl", "LoKr", {f"{SGM}.lokr_w1": (8, 16), f"{SGM}.lokr_w2": (80, 128)}),
    ("sd1", "LoKr", {f"{UNDERSCORED}.lokr_w1": (8, 8), f"{UNDERSCORED}.lokr_w2_a": (80, 4),
                     f"{UNDERSCORED}.lokr_w2_b": (4, 96)}),
    ("sd1", "DoRA", kohya(UNDERSCORED, 768) | {f"{UNDERSCORED}.dora_scale": (640, 1)}),
    ("sdxl", "LoRA", kohya(SGM, 2048) | {"bundle_emb.cat.clip_l": (2, 768)}),
    ("custom", "LoRA", kohya(UNDERSCORED, 16)),
    ("sd1", "LoRA", kohya(UNDERSCORED, 768) | kohya(f"lora_te1_{CLIP}", 768)),
    ("sd2", "LoRA", kohya(UNDERSCORED, 1024) | kohya(f"lora_te1_{CLIP}", 1024)),
    ("sd1", "LoRA", {f"base_model.model.{TEXT}.lora_A.weight": (4, 768)}),
    ("sdxl", "LoRA", {f"base_model.model.{TEXT}.lora_A.weight": (4, 1280)}),
    ("sd1", "LoRA", kohya(UNDERSCORED, 768) | {"bundle_emb.cat.clip_l_out": (2, 768)}),
    ("sdxl", "LoRA", kohya(B_LORA, 640)),
    ("sdxl", "LoRA", kohya("lora_unet_output_blocks_0_1_transformer_blocks_0_attn1_to_q", 640)),
    ("sdxl", "LoRA", kohya(UNDERSCORED.replace("blocks_0_attn2", "blocks_1_attn1"), 640)),
    ("sd1", "LoRA", kohya("unet.up_blocks.3.attentions.0.transformer_blocks.0.attn1.to_q", 320)),
]  # fmt: skip


@pytest.mark.parametrize(("family", "form", "names"), LORAS)
def test_loras(tmp_path: Path, family: str, form: str, names: dict[str, tuple[int, ...]]) -> None:
    verdict = judge(write_stripped(tmp_path / "a.safetensors", tensors(names)))
    assert (verdict.kind, verdict.family) == (Kind.LORA, family)
    assert verdict.title.startswith(f"{form} for ")


def test_a_lora_of_the_unets_self_attention_only_goes_by_what_its_maker_noted(
    tmp_path: Path,
) -> None:
    names = tensors(kohya(UNDERSCORED.replace("attn2", "attn1"), 640))
    for note, family in (("sd_v1", "sd1"), ("sd_v2", "sd2"), ("sdxl_base_v1-0", "sdxl")):
        path = write_stripped(tmp_path / "a.safetensors", names, {"ss_base_model_version": note})
        assert judge(path).family == family


def test_a_lora_that_makes_steps_few_says_so(tmp_path: Path) -> None:
    names = tensors(kohya(SGM, 2048))
    for name, kind in (
        ("lcm-lora-sdxl", "lcm"),
        ("sdxl_lightning_4step_lora", "lightning"),
        ("Hyper-SDXL-8steps-lora", "hyper"),
        ("TCD-SDXL-lora", "tcd"),
        ("hyperrealism", "none"),
    ):
        assert judge(write_stripped(tmp_path / f"{name}.safetensors", names)).distillation == kind


EMBEDDINGS: list[tuple[str, dict[str, tuple[int, ...]]]] = [
    ("sd1", {"emb_params": (4, 768)}),
    ("sd2", {"emb_params": (1, 1024)}),
    ("sd1", {"emp_params": (2, 768)}),
    ("sdxl", {"clip_l": (2, 768), "clip_g": (2, 1280)}),
    ("sd1", {"<cat-toy>": (768,)}),
    ("sd1", {"<cat-toy>": (3, 768)}),
    ("sd1", {"string_to_param.*": (2, 768)}),
    ("custom", {"emb_params": (1, 16)}),
    ("sd1", {"emp_params": (2, 768), "emp_params_out": (2, 768)}),
    ("sd1", {"my.word": (2, 768)}),
]


def test_what_is_called_vectors_and_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for dtype, shape, words in (
        ("I64", (2, 768), "is of type I64"),
        ("F16", (768, 2), r"sides swapped; save it as \[2, 768\]"),
        ("F16", (1280, 2), "sides swapped"),
    ):
        with pytest.raises(ModelInvalid, match=words):
            judge(write_stripped(path, {"emb_params": TensorInfo(dtype, shape)}))


@pytest.mark.parametrize(("family", "names"), EMBEDDINGS)
def test_embeddings(tmp_path: Path, family: str, names: dict[str, tuple[int, ...]]) -> None:
    verdict = judge(write_stripped(tmp_path / "a.safetensors", tensors(names)))
    assert (verdict.kind, verdict.family) == (Kind.EMBEDDING, family)


UPSCALERS = [
    "model.1.sub.0.RDB1.conv1.0.weight",
    "params_ema.body.0.rdb1.conv1.weight",
    "RRDB_trunk.0.RDB1.conv1.weight",
    "layers.0.residual_group.blocks.0.attn.relative_position_bias_table",
]


@pytest.mark.parametrize("name", UPSCALERS)
def test_upscalers(tmp_path: Path, name: str) -> None:
    verdict = judge(write_stripped(tmp_path / "4x.safetensors", tensors({name: (32, 64, 3, 3)})))
    assert (verdict.kind, verdict.family) == (Kind.UPSCALER, "custom")


BLOCK = "transformer_blocks.0.attn"

NAMED: list[tuple[str, dict[str, tuple[int, ...]]]] = [
    ("is a FLUX.1 model", {"double_blocks.0.img_attn.qkv.weight": (9216, 3072)}),
    ("is a FLUX.1 model", {"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": (9, 3)}),
    ("is a FLUX.1 LoRA", kohya("lora_unet_double_blocks_0_img_attn_proj", 3072)),
    ("is a FLUX.1 LoRA", {f"transformer.single_{BLOCK}.to_q.lora_A.weight": (4, 9)}),
    ("is a Stable Diffusion 3 model", {"joint_blocks.0.x_block.attn.qkv.weight": (9, 3)}),
    ("Stable Diffusion 3 LoRA", {f"transformer.{BLOCK}.to_q.lora_A.weight": (4, 9)}),
    ("is a FLUX.1 LoRA", {f"transformer.{BLOCK}.to_q.lora_A.weight": (4, 3072)}),
    ("Qwen-Image LoRA", {f"transformer.{BLOCK}.to_q.lora_A.weight": (4, 3072),
                         "transformer.transformer_blocks.3.img_mlp.net.2.lora_A.weight": (4, 9)}),
    ("Qwen-Image LoRA", kohya("lora_unet_transformer_blocks_0_attn_to_q", 3072)),
    ("Z-Image LoRA", {"diffusion_model.layers.0.attention.to_q.lora_A.weight": (4, 3840)}),
    ("Lumina LoRA", {"diffusion_model.layers.0.attention.qkv.lora_A.weight": (4, 2304)}),
    ("is a motion (AnimateDiff) LoRA", {
        "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0."
        "attention_blocks.0.processor.to_q_lora.down.weight": (4, 320)}),
    ("is a PixArt model", {"adaln_single.linear.weight": (9, 3), "y_embedder.y_embedding": (1, 9)}),
    ("is a Wan model", {"blocks.0.cross_attn.k.weight": (9, 9), "head.modulation": (1, 2, 9)}),
    ("is a Wan LoRA", {"diffusion_model.blocks.0.cross_attn.k.lora_A.weight": (4, 9)}),
    ("Stable Cascade", {"clip_txt_mapper.weight": (1536, 1280)}),
    ("HunyuanVideo", {"txt_in.individual_token_refiner.blocks.0.norm1.weight": (9,)}),
    ("a T2I-Adapter", {"adapter.body.0.resnets.0.block1.weight": (9, 9, 3, 3)}),
    ("an IP-Adapter", {"image_proj.proj.weight": (9, 9), "ip_adapter.1.to_k_ip.weight": (9, 9)}),
    ("a CLIP vision encoder", {"vision_model.encoder.layers.0.mlp.fc1.weight": (9, 9)}),
    ("a CLIP text encoder", {"text_model.encoder.layers.0.mlp.fc1.weight": (9, 9)}),
    ("a T5 text encoder", {"encoder.block.0.layer.0.SelfAttention.k.weight": (9, 9)}),
    ("AnimateDiff", {"down_blocks.0.motion_modules.0.temporal_transformer.norm.weight": (9,)}),
    ("16 latent channels", {"decoder.conv_in.weight": (512, 16, 3, 3),
                            "encoder.conv_in.weight": (128, 3, 3, 3)}),
    ("a VAE for video", {"decoder.conv_in.weight": (512, 16, 3, 3, 3)}),
    ("a UNet alone", {"down_blocks.0.resnets.0.conv1.weight": (9, 9, 3, 3),
                      "conv_in.weight": (9, 4, 3, 3)}),
    ("LLLite", {"lllite_unet_input_blocks_4.down.0.weight": (9, 9)}),
    ("ControlNet for FLUX.1", {"controlnet_blocks.0.weight": (9, 9),
                               "single_transformer_blocks.0.norm.weight": (9,)}),
    ("T5 text encoder", {"emb_params": (4, 4096)}),
    ("an OFT or BOFT adapter", kohya(UNDERSCORED, 768) | {f"{UNDERSCORED}.oft_blocks": (2, 4, 4)}),
    ("an (IA)3 adapter", {f"{UNDERSCORED}.weight": (640,), f"{UNDERSCORED}.on_input": ()}),
    ("a GLoRA adapter", {f"{UNDERSCORED}.{part}.weight": (4, 4) for part in ("a1", "a2", "b1")}),
    ("encoder's output alone (clip_l_out)", {"clip_l_out": (2, 768)}),
    ("2 words (cat, fox)", {"fox": (2, 768), "cat": (2, 768)}),
    ("2 words", {"string_to_param.a": (2, 768), "string_to_param.b": (2, 768)}),
    ("two text encoders alone (clip_g", {"clip_g": (2, 1280)}),
    ("two text encoders alone (emb_params", {"emb_params": (2, 1280)}),
    ("1 of its 4 tensors", kohya(UNDERSCORED, 768) | {"lora_unet_x.odd": (4, 4)}),
    ("T5", {"clip_l": (2, 768), "t5xxl": (2, 4096)}),
    ("another kind of model", {"base_model.model.layers.0.q_proj.lora_A.weight": (4, 9)}),
    ("'my.own.weight'", {"my.own.weight": (3, 3)}),
]  # fmt: skip


@pytest.mark.parametrize(("words", "names"), NAMED, ids=[words for words, _ in NAMED])
def test_what_is_not_supported_is_named(
    tmp_path: Path, words: str, names: dict[str, tuple[int, ...]]
) -> None:
    path = write_stripped(tmp_path / "a.safetensors", tensors(names))
    with pytest.raises(Unsupported) as caught:
        judge(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def changed(name: str, **tensor: tuple[int, ...]) -> dict[str, TensorInfo]:
    return layout(name) | tensors(tensor)


def test_relatives_of_stable_diffusion_are_named(tmp_path: Path) -> None:
    unet = "model.diffusion_model."
    conv_in = f"{unet}input_blocks.0.0.weight"
    for words, names in (
        ("InstructPix2Pix", changed("sd1-original", **{conv_in: (320, 8, 3, 3)})),
        ("depth model", changed("sd2-original", **{conv_in: (320, 5, 3, 3)})),
        ("Playground 2.5", changed("sdxl-original", edm_mean=(4,))),
        (
            "Stable Video",
            changed("sd2-original", **{f"{unet}input_blocks.1.1.time_stack.0.w": (9,)}),
        ),
    ):
        with pytest.raises(Unsupported, match=words):
            judge(write_stripped(tmp_path / "a.safetensors", names))


def test_a_whole_model_without_a_part(tmp_path: Path) -> None:
    for words, prefix in (
        ("VAE", "first_stage_model."),
        ("text encoder", "cond_stage_model."),
    ):
        names = {k: v for k, v in layout("sd1-original").items() if not k.startswith(prefix)}
        with pytest.raises(ModelInvalid, match=f"has no {words}; get the full file"):
            judge(write_stripped(tmp_path / "a.safetensors", names))


def test_a_lora_in_a_folder_as_peft_saves_it(tmp_path: Path) -> None:
    names = {f"base_model.model.{ATTN2}.lora_{side}.weight": (4, 768) for side in "AB"}
    file = write_stripped(tmp_path / "adapter_model.safetensors", tensors(names))
    (tmp_path / "adapter_config.json").write_text("{}")
    verdict = judge(tmp_path)
    assert (verdict.kind, verdict.family, verdict.files) == (Kind.LORA, "sd1", (file,))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="check its name"):
        judge(tmp_path / "nothing.safetensors")


MISLABELLED = [
    (b"GGUF\x03\x00\x00\x00", Unsupported, "GGUF"),
    (b"<!DOCTYPE html><html>", ModelInvalid, "a web page"),
    (b"version https://git-lfs.github.com/spec/v1\n", ModelInvalid, "Git LFS"),
    (b"\x89PNG\r\n\x1a\n", ModelInvalid, "a PNG picture"),
    (b"", ModelInvalid, "0 bytes"),
    (b"\x01nonsense that goes on", ModelInvalid, "is damaged"),
    (b"\xff" * 40, ModelInvalid, "is damaged"),
    (b'{"error":"Unauthorized","message":"You need to log in"}', ModelInvalid, "want of a login"),
    (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', ModelInvalid, "an XML text"),
    (b'{"_class_name": "UNet2DConditionModel"}', ModelInvalid, "a JSON text"),
    (b"RIFF\x10\0\0\0WEBPVP8L", ModelInvalid, r"rename it to a\.webp"),
    ((2).to_bytes(8, "little") + b"{}", ModelInvalid, "holds no tensors"),
]


@pytest.mark.parametrize(("content", "error", "words"), MISLABELLED)
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_what_only_calls_itself_a_model(
    tmp_path: Path, content: bytes, error: type[Exception], words: str, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(error, match=words) as caught:
        judge(path)
    assert str(path) in str(caught.value)


def test_texts_and_what_is_neither_file_nor_folder(tmp_path: Path) -> None:
    for name, words in (("notes.txt", "is a text"), ("model_index.json", "give the folder itself")):
        (tmp_path / name).write_text('{"a": 1}' if name.endswith("json") else "Some notes of mine.")
        with pytest.raises(ModelInvalid, match=words):
            judge(tmp_path / name)
    # A header of 123 bytes begins with a brace.
    named = {"<" + "x" * 53 + ">": TensorInfo("F16", (2, 768))}
    path = write_stripped(tmp_path / "brace.safetensors", named)
    assert path.read_bytes()[:1] == b"{"
    assert judge(path).kind is Kind.EMBEDDING
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo.safetensors")
        with pytest.raises(ModelInvalid, match="neither a file nor a folder"):
            judge(tmp_path / "fifo.safetensors")


def test_a_real_header_over_a_file_that_is_cut_short(tmp_path: Path) -> None:
    path = write_stripped(tmp_path / "a.safetensors", layout("sd1-original"))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)
    with pytest.raises(ModelInvalid, match="100 bytes are missing"):
        judge(path)
