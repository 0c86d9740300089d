"""``models add`` over a set with one file of everything: what each is said to be, and why not.

The files are real headers over data that takes no room; their hashes are remembered beforehand, as
of files that were read once, so that nothing reads gigabytes of zeros.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core import cli
from core.models import catalog
from core.models.fingerprint import Fingerprints
from core.models.safetensors_header import TensorInfo
from core.paths import Profile
from tests.fixtures.adapters import FORMS, kohya, stripped
from tests.fixtures.layouts import layout, write_stripped, write_stripped_folder

Tensors = Mapping[str, TensorInfo]

BIG = 1 << 20
"""Bytes from which a file's hash is remembered beforehand."""

UNET = "model.diffusion_model."
VAE = "first_stage_model."


@dataclasses.dataclass(frozen=True)
class Case:
    """A file, and what is said of it: kind, family and title, or words of the refusal."""

    write: Callable[[Path], Path]
    kind: str = ""
    family: str = ""
    title: str = ""
    refused: tuple[str, ...] = ()


def file(tensors: Callable[[], Tensors], name: str = "a.safetensors", **notes: str) -> Any:
    return lambda folder: write_stripped(folder / name, tensors(), notes or None)


def model(listing: str, family: str, title: str, name: str = "a.safetensors", **notes: str) -> Case:
    return Case(file(lambda: layout(listing), name, **notes), "model", family, f"{title} model")


def of(**shapes: tuple[int, ...]) -> Tensors:
    return stripped({name.replace("__", "."): shape for name, shape in shapes.items()})


def part(listing: str, prefix: str, *, keep: bool = False) -> Tensors:
    found = {name: info for name, info in layout(listing).items() if name.startswith(prefix)}
    return found if keep else {name.removeprefix(prefix): info for name, info in found.items()}


def without(listing: str, *prefixes: str) -> Tensors:
    return {name: info for name, info in layout(listing).items() if not name.startswith(prefixes)}


def renamed(listing: str, old: str, new: str) -> Tensors:
    return {name.replace(old, new): info for name, info in layout(listing).items()}


def guided(listing: str) -> Tensors:
    """A latent consistency model's file of a script that leaves the guidance's name as it is."""
    return layout(listing) | of(**{f"{UNET}time_embedding.cond_proj.weight": (320, 256)})


def folder_of(family: str, **options: bool) -> Any:
    return lambda place: write_stripped_folder(place / "model", family, **options)


def folder_without(family: str, missing: str) -> Any:
    def write(place: Path) -> Path:
        folder = write_stripped_folder(place / "model", family)
        shutil.rmtree(folder / missing)
        return folder

    return write


def component(listing: str, **config: object) -> Any:
    def write(place: Path) -> Path:
        path = place / "part/diffusion_pytorch_model.safetensors"
        write_stripped(path, layout(listing))
        (path.parent / "config.json").write_text(json.dumps(config))
        return path.parent

    return write


def adapter_folder(name: str, tensors: Callable[[], Tensors]) -> Any:
    return lambda place: write_stripped(place / "adapter" / name, tensors()).parent


def raw(content: bytes, name: str = "a.safetensors") -> Any:
    def write(place: Path) -> Path:
        (place / name).write_bytes(content)
        return place / name

    return write


def pickled(content: Callable[[], Any], name: str, *, zipped: bool = True) -> Any:
    def write(place: Path) -> Path:
        import torch

        torch.save(content(), place / name, _use_new_zipfile_serialization=zipped)
        return place / name

    return write


def web_ui_embedding() -> dict[str, Any]:
    import torch

    return {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": torch.zeros(2, 768)},
        "name": "cat",
        "step": 500,
        "sd_checkpoint": None,
        "sd_checkpoint_name": None,
    }


def card(place: Path) -> Path:
    values = {"string_to_param": {"*": {"TORCHTENSOR": [[0.0] * 768] * 2}}}
    info = PngInfo()
    info.add_text("sd-ti-embedding", base64.b64encode(json.dumps(values).encode()).decode())
    Image.new("RGB", (8, 8)).save(place / "cat.png", pnginfo=info)
    return place / "cat.png"


def picture(place: Path) -> Path:
    Image.new("RGB", (8, 8)).save(place / "cat.png")
    return place / "cat.png"


class Runs:
    """A pickle of this runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def cut(listing: str) -> Any:
    def write(place: Path) -> Path:
        path = write_stripped(place / "a.safetensors", layout(listing))
        os.truncate(path, path.stat().st_size - 4096)
        return path

    return write


SD1, SD2, XL = "Stable Diffusion 1.x", "Stable Diffusion 2.x", "SDXL"

MODELS = {
    "sd1.5": model("sd1-original", "sd1", SD1),
    "sd1.5 folder": Case(folder_of("sd1"), "model", "sd1", f"{SD1} model"),
    "sd1.5 inpainting": model("sd1-inpainting-original", "sd1", f"{SD1} inpainting"),
    "sd1.5 inpainting folder": Case(
        folder_of("sd1", inpainting=True), "model", "sd1", f"{SD1} inpainting model"
    ),
    "sd2.1 v": model("sd2-original", "sd2", SD2, "v2-1_768-ema-pruned.safetensors"),
    "sd2.1 epsilon": model("sd2-original", "sd2", SD2, "v2-1_512-ema-pruned.safetensors"),
    "sd2 inpainting": model(
        "sd2-inpainting-original", "sd2", f"{SD2} inpainting", "512-inpainting-ema.safetensors"
    ),
    "sd-turbo": Case(
        file(
            lambda: renamed("sd2-original", "cond_stage_model.", "conditioner.embedders.0."),
            "sd_turbo.safetensors",
        ),
        "model",
        "sd2",
        f"{SD2} Turbo model",
    ),
    "sdxl": model("sdxl-original", "sdxl", XL),
    "sdxl folder": Case(folder_of("sdxl"), "model", "sdxl", "SDXL model"),
    "sdxl inpainting": model("sdxl-inpainting-original", "sdxl", f"{XL} inpainting"),
    "sdxl lightning": model(
        "sdxl-original", "sdxl", f"{XL} Lightning", "sdxl_lightning_4step.safetensors"
    ),
    "sdxl turbo": model("sdxl-original", "sdxl", f"{XL} Turbo", "sd_xl_turbo_1.0.safetensors"),
    "sdxl refiner": model("sdxl-refiner-original", "sdxl-refiner", f"{XL} refiner"),
    "sdxl refiner folder": Case(
        folder_of("sdxl-refiner"), "model", "sdxl-refiner", f"{XL} refiner model"
    ),
    "ssd-1b": model("ssd-1b-original", "sdxl", f"{XL} SSD-1B"),
    "vega": model("vega-original", "sdxl", f"{XL} Segmind Vega"),
    "lcm": model("sd1-lcm-original", "sd1", f"{SD1} LCM"),
    "lcm, half renamed": Case(
        file(lambda: guided("sd1-original")), "model", "sd1", f"{SD1} LCM model"
    ),
    "lcm ssd-1b": Case(
        file(lambda: guided("ssd-1b-original")), "model", "sdxl", f"{XL} SSD-1B LCM model"
    ),
}  # fmt: skip

PARTS = {
    "controlnet sd1.5": Case(
        file(lambda: layout("sd1-controlnet")), "controlnet", "sd1", f"ControlNet for {SD1}"
    ),
    "controlnet sd1.5 original": Case(
        file(lambda: layout("sd1-controlnet-original")),
        "controlnet", "sd1", f"ControlNet for {SD1}",
    ),
    "controlnet sdxl": Case(
        file(lambda: layout("sdxl-controlnet")), "controlnet", "sdxl", f"ControlNet for {XL}"
    ),
    "controlnet sdxl original": Case(
        file(lambda: layout("sdxl-controlnet-original")),
        "controlnet", "sdxl", f"ControlNet for {XL}",
    ),
    "controlnet folder": Case(
        component("sd1-controlnet", _class_name="ControlNetModel"),
        "controlnet", "sd1", f"ControlNet for {SD1}",
    ),
    "vae": Case(
        file(lambda: layout("sd1-vae")), "vae", "sd1", f"VAE for {SD1}, as nothing says otherwise"
    ),
    "vae original": Case(
        file(lambda: part("sd1-original", VAE), "vae-ft-mse.safetensors"),
        "vae", "sd1", f"VAE for {SD1}, as its name says",
    ),
    "vae inside": Case(
        file(lambda: part("sdxl-original", VAE, keep=True), "sdxl_vae.safetensors"),
        "vae", "sdxl", "VAE for SDXL, as its name says",
    ),
    "vae folder": Case(
        component("sdxl-vae", _class_name="AutoencoderKL", scaling_factor=0.13025),
        "vae", "sdxl", "VAE for SDXL",
    ),
    "esrgan": Case(
        file(lambda: of(model__1__sub__0__RDB1__conv1__0__weight=(32, 64, 3, 3))),
        "upscaler", "custom", "ESRGAN upscaler",
    ),
    "real-esrgan": Case(
        file(lambda: of(params_ema__body__0__rdb1__conv1__weight=(32, 64, 3, 3))),
        "upscaler", "custom", "Real-ESRGAN upscaler",
    ),
    "real-esrgan pickle": Case(
        pickled(lambda: {"params": small("body.0.rdb1.conv1.weight", (2, 2, 3, 3))}, "4x.pth"),
        "upscaler", "custom", "Real-ESRGAN upscaler",
    ),
}  # fmt: skip


def small(name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    import torch

    return {name: torch.zeros(shape)}


_FORM_TITLES = {"loha": "LoHa", "lokr": "LoKr", "dora": "DoRA"}


def lora(form: str, family: str) -> Case:
    title = f"{_FORM_TITLES.get(form, 'LoRA')} for {SD1 if family == 'sd1' else XL}"
    return Case(file(lambda: stripped(FORMS[form](family))), "lora", family, title)


LORAS = {f"{form} {family}": lora(form, family) for form in FORMS for family in ("sd1", "sdxl")} | {
    "lora folder": Case(
        adapter_folder(
            "pytorch_lora_weights.safetensors", lambda: stripped(FORMS["peft"]("sd1"))
        ),
        "lora", "sd1", f"LoRA for {SD1}",
    ),
    "lcm lora": Case(
        file(lambda: stripped(kohya("sd1")), "lcm-lora-sdv1-5.safetensors"),
        "lora", "sd1", f"LoRA for {SD1}, LCM by its name",
    ),
}  # fmt: skip


def embedding(family: str, **shapes: tuple[int, ...]) -> Case:
    title = {"sd1": SD1, "sd2": SD2, "sdxl": XL}[family]
    return Case(file(lambda: of(**shapes)), "embedding", family, f"Embedding for {title}")


EMBEDDINGS = {
    "kohya": embedding("sd1", emb_params=(4, 768)),
    "kohya sd2": embedding("sd2", emb_params=(4, 1024)),
    "kohya sdxl": embedding("sdxl", clip_l=(2, 768), clip_g=(2, 1280)),
    "one-trainer": embedding("sd1", emp_params=(2, 768)),
    "one-trainer sdxl": embedding("sdxl", clip_g=(2, 1280), clip_l=(2, 768)),
    "diffusers": embedding("sd1", **{"<cat-toy>": (768,)}),
    "diffusers, many rows": embedding("sd1", **{"<cat-toy>": (3, 768)}),
    "diffusers folder": Case(
        adapter_folder("learned_embeds.safetensors", lambda: of(**{"<cat-toy>": (1, 768)})),
        "embedding", "sd1", f"Embedding for {SD1}",
    ),
    "diffusers pickle": Case(
        pickled(lambda: small("<cat-toy>", (768,)), "learned_embeds.bin"),
        "embedding", "sd1", f"Embedding for {SD1}",
    ),
    "web ui": Case(
        pickled(web_ui_embedding, "cat.pt"), "embedding", "sd1", f"Embedding for {SD1}"
    ),
    "web ui, a picture": Case(card, "embedding", "sd1", f"Embedding for {SD1}"),
    "web ui, old pickle": Case(
        pickled(web_ui_embedding, "cat.pt", zipped=False),
        "embedding", "sd1", f"Embedding for {SD1}",
    ),
}  # fmt: skip


def refused(tensors: Callable[[], Tensors], *words: str) -> Case:
    return Case(file(tensors), refused=words)


FOREIGN = {
    "one-trainer output": refused(
        lambda: of(emp_params_out=(2, 768)), "text encoder's output alone (emp_params_out)"
    ),
    "flux model": refused(
        lambda: of(**{f"{UNET}double_blocks.0.img_attn.qkv.weight": (9216, 3072)}),
        "is a FLUX.1 model", "no use",
    ),
    "flux lora": refused(
        lambda: of(
            lora_unet_double_blocks_0_img_attn_proj__lora_down__weight=(4, 3072),
            lora_unet_double_blocks_0_img_attn_proj__lora_up__weight=(3072, 4),
        ),
        "is a FLUX.1 LoRA", "1.x, 2.x and XL",
    ),
    "flux lora of diffusers": refused(
        lambda: of(
            transformer__single_transformer_blocks__0__attn__to_q__lora_A__weight=(4, 3072)
        ),
        "is a FLUX.1 LoRA",
    ),
    "sd3 model": refused(
        lambda: of(**{f"{UNET}joint_blocks.0.x_block.attn.qkv.weight": (4608, 1536)}),
        "is a Stable Diffusion 3 model",
    ),
    "flux vae": refused(
        lambda: of(
            decoder__conv_in__weight=(512, 16, 3, 3), encoder__conv_in__weight=(128, 3, 3, 3)
        ),
        "16 latent channels",
    ),
    "t5 embedding": refused(lambda: of(emb_params=(4, 4096)), "T5 text encoder"),
    "wan lora": refused(
        lambda: of(diffusion_model__blocks__0__cross_attn__k__lora_A__weight=(4, 1536)),
        "is a Wan LoRA",
    ),
    "language model lora": refused(
        lambda: of(base_model__model__layers__0__q_proj__lora_A__weight=(4, 4096)),
        "LoRA of another kind of model",
    ),
    "playground": refused(lambda: layout("sdxl-original") | of(edm_mean=(4,)), "Playground 2.5"),
    "instruct pix2pix": refused(
        lambda: layout("sd1-original") | of(**{f"{UNET}input_blocks.0.0.weight": (320, 8, 3, 3)}),
        "InstructPix2Pix",
    ),
    "unet alone": refused(lambda: layout("sd1-unet"), "a UNet alone", "text encoder and VAE"),
    "text encoder alone": refused(lambda: layout("sd1-text_encoder"), "a CLIP text encoder"),
    "unknown": refused(lambda: of(my__own__weight=(3, 3)), "'my.own.weight'"),
    "flux folder": Case(
        component("sd1-vae", _class_name="FluxTransformer2DModel"),
        refused=("FluxTransformer2DModel", "model_index.json"),
    ),
    "gguf": Case(raw(b"GGUF\x03\0\0\0", "a.gguf"), refused=("a GGUF file", "safetensors")),
}  # fmt: skip

LYING = len(b'{"a":{}}').to_bytes(8, "little")

DAMAGED = {
    "truncated": Case(cut("sd1-original"), refused=("cut short", "4096 bytes are missing")),
    "0 bytes": Case(raw(b""), refused=("0 bytes", "again")),
    "0 bytes, a pickle": Case(raw(b"", "a.ckpt"), refused=("0 bytes", "again")),
    "header too long": Case(
        raw((1 << 40).to_bytes(8, "little") + b"{}"), refused=("header that it announces", "again")
    ),
    "header that is no JSON": Case(
        raw(LYING + b"{nonsens"), refused=("its header is not JSON", "again")
    ),
    "shapes that lie": Case(
        raw(
            (66).to_bytes(8, "little")
            + b'{"a":{"dtype":"F32","shape":[1000,1000],"data_offsets":[0,4]}}    '
            + bytes(4)
        ),
        refused=("the shape of a does not fit its bytes", "again"),
    ),
    "web page": Case(raw(b"<!DOCTYPE html><html>Sign in"), refused=("a web page", "again")),
    "git lfs": Case(raw(b"version https://git-lfs.github.com/spec/v1\n"), refused=("Git LFS",)),
    "picture": Case(raw(b"\x89PNG\r\n\x1a\n"), refused=("a PNG picture",)),
    "picture without an embedding": Case(picture, refused=("carries no embedding",)),
    "malicious pickle": Case(
        pickled(lambda: {"weight": Runs()}, "a.ckpt"),
        refused=("system", "nothing of it was run", "safetensors"),
    ),
    "malicious old pickle": Case(
        pickled(lambda: {"weight": Runs()}, "a.pt", zipped=False),
        refused=("system", "nothing of it was run", "safetensors"),
    ),
    "cut pickle": Case(raw(b"PK\x03\x04nothing", "a.ckpt"), refused=("is damaged", "again")),
    "no tensors": Case(raw((2).to_bytes(8, "little") + b"{}"), refused=("holds no tensors",)),
    "no vae": refused(lambda: without("sd1-original", VAE), "has no VAE", "the full file"),
    "no text encoder": refused(
        lambda: without("sd1-original", "cond_stage_model."), "has no text encoder"
    ),
    "folder without vae": Case(folder_without("sd1", "vae"), refused=("vae",)),
    "folder without tokenizer": Case(
        folder_without("sdxl", "tokenizer_2"), refused=("tokenizer_2",)
    ),
    "empty folder": Case(
        lambda place: (place / "model").mkdir() or place / "model", refused=("model_index.json",)
    ),
}  # fmt: skip

GOOD = {**MODELS, **PARTS} | {f"lora: {k}": v for k, v in LORAS.items()} | {
    f"embedding: {k}": v for k, v in EMBEDDINGS.items()
}  # fmt: skip
BAD = FOREIGN | DAMAGED


@pytest.fixture
def add(tmp_path, capsys, monkeypatch):
    """Write a file and carry out ``models add`` on it; gives its path, status, stdout, stderr."""
    monkeypatch.setattr(catalog, "_shelf", None)
    monkeypatch.chdir(tmp_path)
    profile = tmp_path / "profile"

    def run(case: Case) -> tuple[Path, int, str, str]:
        path = case.write(tmp_path)
        memory = Fingerprints.kept_in(Profile(profile).cache)
        for weights in [path] if path.is_file() else path.rglob("*.safetensors"):
            if weights.stat().st_size > BIG:
                memory.remember(weights, hashlib.sha256(str(weights).encode()).hexdigest())
        status = cli.main(["models", "add", str(path), "--json", "--profile", str(profile)])
        return (path, status, *capsys.readouterr())

    return run


@pytest.mark.parametrize("case", GOOD.values(), ids=GOOD.keys())
def test_what_is_good_for_something_is_taken_for_what_it_is(add, case):
    path, status, out, err = add(case)
    assert (status, err) == (0, "")
    added = json.loads(out.splitlines()[-1])
    assert (added["event"], added["outcome"]) == ("added", "new")
    assert (added["kind"], added["family"], added["title"]) == (case.kind, case.family, case.title)
    assert Path(added["path"]).is_relative_to(path)


@pytest.mark.parametrize(("name", "predicted"), [("v", "v_prediction"), ("epsilon", "epsilon")])
def test_what_a_model_predicts_is_shown(add, capsys, tmp_path, name, predicted):
    _, _, out, _ = add(MODELS[f"sd2.1 {name}"])
    added = json.loads(out.splitlines()[-1])
    words = ["models", "show", added["name"], "--json", "--profile", str(tmp_path / "profile")]
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out)["prediction_type"] == predicted


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_what_is_not_is_refused_in_one_sentence(add, case, tmp_path):
    path, status, out, err = add(case)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "Traceback" not in err
    assert "bug" not in err
    for words in case.refused:
        assert words in err
    assert str(path) in err
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "profile/library.json").exists()
