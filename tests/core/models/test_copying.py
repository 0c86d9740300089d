"""A copy of a model is whole, whatever links its folder is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ModelInvalid
from core.models.copying import copying, files_of_model
from core.models.safetensors_header import TensorInfo
from tests.fixtures.layouts import write_stripped


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder of which one part lies elsewhere, and which leads back to itself."""
    folder = tmp_path / "model"
    (folder / "vae").mkdir(parents=True)
    (folder / "vae/w.safetensors").write_bytes(b"vae")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/w.safetensors").write_bytes(b"unet")
    (folder / "unet").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/again").symlink_to(folder)
    (folder / "vae/self").symlink_to(folder / "vae")
    return folder


def test_linked_folders_are_copied_and_circles_end(model, tmp_path):
    files = files_of_model(model)
    assert files == (model / "unet/w.safetensors", model / "vae/w.safetensors")
    list(copying(model, tmp_path / "copy", {}))
    assert (tmp_path / "copy/unet/w.safetensors").read_bytes() == b"unet"
    assert not any(path.is_symlink() for path in (tmp_path / "copy").rglob("*"))


def test_a_model_of_which_a_part_is_hidden_is_not_copied(model, tmp_path):
    hidden = (model / "vae/w.safetensors").rename(model / "vae/.w.safetensors")
    with pytest.raises(ModelInvalid, match=r"\.w\.safetensors is a part"):
        list(copying(model, tmp_path / "copy", {hidden: "ab" * 32}))
    assert not (tmp_path / "copy").exists()


TO_K = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight"


@pytest.mark.parametrize(
    ("prefix", "goes_along"), [("base_model.model.", True), ("unet.", False)], ids=str
)
def test_a_lora_of_peft_takes_its_scale_along(
    tmp_path: Path, prefix: str, goes_along: bool
) -> None:
    tensors = {prefix + TO_K: TensorInfo("F16", (4, 768))}
    file = write_stripped(tmp_path / "from/fox.safetensors", tensors)
    assert files_of_model(file) == (file,)
    beside = file.with_name("adapter_config.json")
    beside.write_text('{"lora_alpha": 6}')
    assert files_of_model(file) == ((file, beside) if goes_along else (file,))
    list(copying(file, tmp_path / "to", {}))
    copied = tmp_path / "to/adapter_config.json"
    assert copied.is_file() is goes_along
    assert (tmp_path / "to/fox.safetensors").read_bytes() == file.read_bytes()


def test_what_is_no_file_of_tensors_goes_alone(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "a.safetensors").write_bytes(b"nonsense")
    assert files_of_model(tmp_path / "a.safetensors") == (tmp_path / "a.safetensors",)


def test_pickles_are_copied_where_they_are_all_the_weights(model, tmp_path):
    (model / "vae/w.bin").write_bytes(b"a pickle beside")
    (model / "text").mkdir()
    (model / "text/pytorch_model.bin").write_bytes(b"a pickle")
    names = [path.relative_to(model).as_posix() for path in files_of_model(model)]
    assert names == ["text/pytorch_model.bin", "unet/w.safetensors", "vae/w.safetensors"]
