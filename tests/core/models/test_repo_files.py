"""One copy of the weights and the configurations, of repositories as they really are."""

from __future__ import annotations

import json
from pathlib import Path, PurePath

import pytest

from core.errors import CoreError, DownloadFailed, UnsafeFile
from core.models.folder_files import VARIANTS, weight_files
from core.models.repo_files import MAIN_STEM, RepoFile, Variant, choose_files

PARTS = ("text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model")
SD15 = [
    ".gitattributes",
    "README.md",
    "model_index.json",
    "v1-5-pruned.ckpt",
    "v1-5-pruned.safetensors",
    "v1-5-pruned-emaonly.safetensors",
    "feature_extractor/preprocessor_config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.non_ema.bin",
    "vae_1_0/diffusion_pytorch_model.safetensors",
    *(
        f"{part}{variant}.{suffix}"
        for part in (*PARTS, "safety_checker/model")
        for variant in ("", ".fp16")
        for suffix in ("bin", "safetensors")
    ),
    *(f"{part.partition('/')[0]}/config.json" for part in (*PARTS, "safety_checker/model")),
]
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "requires_safety_checker": True,
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "image_encoder": [None, None],
    **{part.partition("/")[0]: ["diffusers", "Any"] for part in PARTS},
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
}


def chosen(names: list[str], *, index=None, variant: Variant = Variant.FP16) -> list[str]:
    files = [RepoFile(name=name, size=1) for name in names]
    return [file.name for file in choose_files("a/b", files, index, variant)]


@pytest.mark.parametrize(("variant", "infix"), [(Variant.FP16, ".fp16"), (Variant.FULL, "")])
def test_a_pipeline_is_taken_once(variant, infix):
    names = chosen(SD15, index=INDEX, variant=variant)
    weights = [name for name in names if name.endswith(".safetensors")]
    assert weights == [f"{part}{infix}.safetensors" for part in PARTS]
    assert sorted(set(names) - set(weights)) == [
        "feature_extractor/preprocessor_config.json",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "vae/config.json",
    ]
    assert names[-3:] == weights


def test_where_there_is_but_one_precision_it_is_taken():
    only_full = [name for name in SD15 if not name.endswith(".fp16.safetensors")]
    assert chosen(only_full, index=INDEX)[-3:] == [f"{part}.safetensors" for part in PARTS]
    one_half = [*only_full, "unet/diffusion_pytorch_model.fp16.safetensors"]
    assert chosen(one_half, index=INDEX)[-2] == "unet/diffusion_pytorch_model.fp16.safetensors"


def test_all_shards_of_one_precision_are_taken_with_their_index():
    stem = "unet/diffusion_pytorch_model"
    full = [f"{stem}-0000{i}-of-00002.safetensors" for i in (1, 2)]
    half = [f"{stem}.fp16-0000{i}-of-00002.safetensors" for i in (1, 2)]
    indices = [f"{stem}.safetensors.index.json", f"{stem}.safetensors.index.fp16.json"]
    names = ["unet/config.json", *full, *half, *indices]
    index = {"unet": ["diffusers", "UNet2DConditionModel"]}
    assert chosen(names, index=index) == ["unet/config.json", indices[1], *half]
    assert chosen(names, index=index, variant=Variant.FULL) == [
        "unet/config.json",
        indices[0],
        *full,
    ]


def test_a_part_by_itself():
    names = ["README.md", "config.json", "taesd_encoder.safetensors", "taesd_decoder.safetensors"]
    names += ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"]
    assert chosen(names) == ["config.json", "diffusion_pytorch_model.safetensors"]


def test_a_captioner_comes_with_its_words_and_without_its_other_forms():
    mine = ["config.json", "preprocessor_config.json", "tokenizer.json", "vocab.txt"]
    others = ["README.md", "pytorch_model.bin", "tf_model.h5"]
    assert chosen([*mine, *others, "model.safetensors"]) == [*mine, "model.safetensors"]


def test_a_single_weight_file_comes_without_lists_of_something_else():
    names = ["README.md", "notes.txt", "pytorch_lora_weights.safetensors", "pictures/1.png"]
    assert chosen(names) == ["pytorch_lora_weights.safetensors"]
    assert chosen(["style_v1.5.safetensors"]) == ["style_v1.5.safetensors"]


@pytest.mark.parametrize("variant", VARIANTS[1:])
@pytest.mark.parametrize("split", [False, True])
def test_what_is_chosen_is_what_is_read(tmp_path: Path, variant: str, split: bool):
    stem = "vae/diffusion_pytorch_model"
    names = ["vae/config.json", f"{stem}.{variant}.safetensors"]
    if split:
        names = ["vae/config.json", f"{stem}.safetensors.index.{variant}.json"]
        names += [f"{stem}.{variant}-0000{i}-of-00002.safetensors" for i in (1, 2)]
    taken = chosen(names, index=INDEX)
    assert sorted(taken) == sorted(names)
    for name in taken:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    if split:
        index = {"weight_map": {name: PurePath(name).name for name in names[2:]}}
        (tmp_path / names[1]).write_text(json.dumps(index))
    read = weight_files(tmp_path / "vae", MAIN_STEM)
    assert read == tuple(tmp_path / name for name in names if name.endswith(".safetensors"))


def test_a_tokenizer_without_a_configuration_is_taken():
    names = ["tokenizer/merges.txt", "tokenizer/vocab.json", f"{PARTS[1]}.safetensors"]
    assert chosen(names, index=INDEX) == names


def test_a_lora_of_peft_comes_with_its_configuration():
    names = ["README.md", "adapter_config.json", "adapter_model.bin", "adapter_model.safetensors"]
    assert chosen(names) == [names[1], names[3]]


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        (["config.json", "diffusion_pytorch_model.bin"], UnsafeFile, "only as diffusion_pyt"),
        (["model.ckpt"], UnsafeFile, "a pickle"),
        (["README.md"], DownloadFailed, "no safetensors"),
        (
            ["a.safetensors", "b.fp16.safetensors"],
            DownloadFailed,
            "several models .a, b.*a/b/a.saf",
        ),
        (["../../evil.safetensors", "/evil.safetensors"], DownloadFailed, "no safetensors"),
    ],
)
def test_what_cannot_be_taken_is_said(names: list[str], error: type[CoreError], words: str):
    with pytest.raises(error, match=words):
        chosen(names)
