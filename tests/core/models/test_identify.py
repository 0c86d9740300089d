"""What a model is, and one sentence for everything that can be wrong with its files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import CoreError, ModelInvalid, ModelMissing, UnsafeFile, Unsupported
from core.models.catalog import card, resolve
from core.models.fingerprint import Fingerprints
from core.models.identify import PredictionType, identify
from core.models.safetensors_header import TensorInfo, read_header
from core.request import PreviewDecoder, SchedulerName
from tests.fixtures.layouts import layout, write_stripped

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.mark.parametrize(
    ("listing", "words"),
    [
        ("sd1-vae", r"is no whole model \(VAE for Stable Diffusion 1.*\); give it with --vae"),
        ("sd1-controlnet", r"is no whole model \(ControlNet for Stable .*\); give it with --contr"),
        ("sd1-unet", "is a UNet alone"),
    ],
)
def test_what_is_given_for_a_model_and_is_none(tmp_path: Path, listing: str, words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        identify(write_stripped(tmp_path / "a.safetensors", layout(listing)))


def test_a_folder_that_is_no_whole_model(tmp_path: Path) -> None:
    names = {"emb_params": TensorInfo("F16", (2, 768))}
    write_stripped(tmp_path / "word/learned_embeds.safetensors", names)
    with pytest.raises(Unsupported, match=r"no whole model \(Embedding .*\); give it with --emb"):
        identify(tmp_path / "word")
    write_stripped(tmp_path / "vae/diffusion_pytorch_model.safetensors", layout("sd1-vae"))
    (tmp_path / "vae/config.json").write_text('{"_class_name": "AutoencoderKL"}')
    with pytest.raises(Unsupported, match=r"no whole model \(VAE.*\); give it with --vae"):
        identify(tmp_path / "vae")


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_sound_model(tiny_model: Path, tiny_v_model: Path) -> None:
    identity = identify(tiny_model)
    assert (identity.width, identity.height, identity.vae_scale) == (64, 64, 8)
    assert identity.prediction_type is PredictionType.EPSILON
    assert identify(tiny_v_model).prediction_type is PredictionType.V
    assert set(identity.parameters) == {"text_encoder", "unet", "vae"}


def test_the_heads_of_each_block_that_has_attention(
    copy: Path, tiny_model: Path, tiny_xl_model: Path
) -> None:
    assert identify(tiny_model).attention_heads == (2, 0)
    assert identify(tiny_xl_model).attention_heads == (0, 2)
    config = copy / "unet/config.json"
    edit(config, attention_head_dim=[2, 4])
    assert identify(copy).attention_heads == (2, 0)
    edit(config, attention_head_dim=[2, 4, 8])
    with pytest.raises(ModelInvalid, match="attention_head_dim"):
        identify(copy)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def evil(path: Path) -> None:
    path.unlink()
    path.with_suffix(".bin").write_bytes(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.")


def lie(path: Path) -> None:
    path.write_bytes((2**40).to_bytes(8, "little") + path.read_bytes()[8:])


def tiny_decoder(model: Path, **config: Any) -> None:
    (model / "taesd").mkdir()
    (model / "taesd/config.json").write_text(json.dumps(config))


DAMAGES: list[tuple[Callable[[Path], object], type[CoreError], str]] = [
    (lambda m: (m / "model_index.json").unlink(), ModelInvalid, "model_index.json is missing"),
    (lambda m: (m / "model_index.json").write_text("{"), ModelInvalid, "cannot be read"),
    (
        lambda m: edit(m / "model_index.json", _class_name="FluxPipeline"),
        Unsupported,
        r"is a FLUX.1 model \(FluxPipeline\)",
    ),
    (lambda m: edit(m / "model_index.json", unet=["my_code", "Net"]), UnsafeFile, "my_code"),
    (lambda m: edit(m / "model_index.json", vae=["diffusers", "VQModel"]), Unsupported, "VQModel"),
    (lambda m: edit(m / "unet/config.json", in_channels=9), ModelInvalid, "shape"),
    (lambda m: edit(m / "unet/config.json", in_channels=8), Unsupported, "takes 8 channels"),
    (lambda m: edit(m / "unet/config.json", cross_attention_dim=24), ModelInvalid, "one model"),
    (lambda m: edit(m / "unet/config.json", block_out_channels=[4, 4]), ModelInvalid, "shape"),
    (lambda m: edit(m / "vae/config.json", latent_channels=8), ModelInvalid, "shape"),
    (lambda m: edit(m / "unet/config.json", out_channels=8), Unsupported, "gives 8 channels"),
    (lambda m: edit(m / "unet/config.json", num_class_embeds=5), Unsupported, "more than a prompt"),
    (lambda m: edit(m / "unet/config.json", sample_size="big"), ModelInvalid, "'big' as sample"),
    (lambda m: edit(m / "unet/config.json", sample_size=[8, 8, 8]), ModelInvalid, "as sample"),
    (lambda m: edit(m / "unet/config.json", attention_head_dim="x"), ModelInvalid, "'x' as att"),
    (lambda m: edit(m / "vae/config.json", scaling_factor=None), ModelInvalid, "None as scaling"),
    (lambda m: edit(m / "vae/config.json", scaling_factor=0), ModelInvalid, "0 as scaling"),
    (lambda m: tiny_decoder(m, latent_channels=16), ModelInvalid, "16 latent channels"),
    (lambda m: tiny_decoder(m), ModelInvalid, "taesd has no diffusion_pytorch_model"),
    (
        lambda m: edit(m / "scheduler/scheduler_config.json", prediction_type="flow"),
        Unsupported,
        "flow",
    ),
    (lambda m: (m / UNET).unlink(), ModelInvalid, "has no diffusion_pytorch_model"),
    (lambda m: evil(m / UNET), UnsafeFile, "system, which no file of weights needs"),
    (lambda m: (m / UNET).write_bytes(b""), ModelInvalid, "damaged"),
    (lambda m: cut(m / UNET), ModelInvalid, "10 bytes are missing"),
    (lambda m: lie(m / UNET), ModelInvalid, "header that it announces"),
    (lambda m: shutil.rmtree(m / "tokenizer"), ModelInvalid, "vocab.json"),
]


@pytest.mark.parametrize("number", range(len(DAMAGES)))
def test_damage_is_named(copy: Path, number: int) -> None:
    damage, error, words = DAMAGES[number]
    damage(copy)
    with pytest.raises(error, match=words) as caught:
        identify(copy)
    assert str(copy) in str(caught.value)
    assert str(caught.value).endswith((".", "safetensors files."))


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0]},
        7,
    ],
)
def test_a_header_that_lies(tmp_path: Path, entry: Any) -> None:
    text = json.dumps({"weight": entry}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(ModelInvalid, match="damaged"):
        read_header(path)


def test_a_unet_may_leave_its_size_out(copy: Path) -> None:
    edit(copy / "unet/config.json", sample_size=None)
    assert (identify(copy).width, identify(copy).height) == (512, 512)
    edit(copy / "unet/config.json", sample_size=[8, 16])
    assert (identify(copy).width, identify(copy).height) == (128, 64)


def test_a_card(copy: Path) -> None:
    plain = card(str(copy))
    assert (plain.width, plain.steps, plain.scheduler) == (64, 25, SchedulerName.PNDM)
    assert PreviewDecoder.TINY not in plain.preview_decoders
    settings = {"title": "Tiny", "defaults": {"steps": 9, "scheduler": "ddim"}}
    (copy / "stepwise.json").write_text(json.dumps(settings))
    own = card(str(copy))
    assert (own.title, own.steps, own.scheduler) == ("Tiny", 9, SchedulerName.DDIM)
    (copy / "stepwise.json").write_text('{"defaults": {"steps": 0}}')
    with pytest.raises(ModelInvalid, match="steps"):
        card(str(copy))


def test_resolve(tiny_model: Path, tmp_path: Path) -> None:
    assert resolve(str(tiny_model)) == tiny_model.resolve()
    with pytest.raises(ModelMissing, match="starter"):
        resolve(str(tmp_path / "nothing"))
    (tmp_path / "one.safetensors").write_bytes(b"")
    assert resolve(str(tmp_path / "one.safetensors")) == (tmp_path / "one.safetensors").resolve()


def test_fingerprints_are_remembered(tmp_path: Path) -> None:
    weights, memory = tmp_path / "w", tmp_path / "hashes.json"
    weights.write_bytes(b"1")
    first = Fingerprints(memory).of_file(weights)
    values = json.loads(memory.read_text())
    memory.write_text(json.dumps(dict.fromkeys(values, "kept")))
    assert Fingerprints(memory).of_file(weights) == "kept"
    weights.write_bytes(b"22")
    assert Fingerprints(memory).of_file(weights) not in ("kept", first)
    memory.write_text("nonsense")
    assert len(Fingerprints(memory).of_file(weights)) == 64
