"""Another program's models, LoRAs and embeddings, found among the user's own."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from core.images.foreign import UsedEmbedding, UsedLora
from core.models.fingerprint import Fingerprints
from core.models.library import Library
from core.models.library_file import Entry, LibraryFile, WeightFile
from core.models.library_names import plain_name
from core.models.matching import Matching, hash_digits
from core.models.verdict import Kind
from core.paths import Profile

STEM = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


def write_lora(path: Path, value: float = 1.0, **notes: str) -> Path:
    tensors = {
        f"{STEM}.lora_down.weight": torch.full((2, 768), value),
        f"{STEM}.lora_up.weight": torch.zeros(320, 2),
    }
    save_file(tensors, path, notes or None)
    return path


def tensors_hash(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()


def add(shelf: Library, path: Path) -> Path:
    list(shelf.add(path))
    return path


def test_a_lora_is_found_by_its_file_by_its_tensors_and_by_its_name(shelf, tmp_path):
    fur = add(shelf, write_lora(tmp_path / "Fur_v2.safetensors", 1.0))
    add(shelf, write_lora(tmp_path / "other.safetensors", 2.0))
    whole = hashlib.sha256(fur.read_bytes()).hexdigest()
    find = Matching(shelf).lora
    for digits in (whole[:10], whole.upper(), tensors_hash(fur)[:12]):
        match = find(UsedLora(name="called otherwise", hash=digits))
        assert match is not None
        assert (match.path, match.family, match.is_sure) == (str(fur), "sd1", True)
    for name in ("fur_v2", "sub\\Fur_v2.safetensors"):
        match = find(UsedLora(name=name))
        assert match is not None
        assert (match.path, match.is_sure) == (str(fur), True)
    match = find(UsedLora(name="fur_v2", hash="0" * 12))
    assert match is not None
    assert (match.path, match.is_sure) == (str(fur), False)
    assert find(UsedLora(name="nothing", hash="0" * 12)) is None
    assert find(UsedLora(name="")) is None
    fur.unlink()
    assert find(UsedLora(name="fur_v2")) is None


@pytest.mark.parametrize("ending", ["_lora_f16", "_f16", "_lora_q8p", "_q6p_q8p"])
def test_a_file_is_found_by_its_name_in_draw_things(shelf, tmp_path, ending):
    fur = add(shelf, write_lora(tmp_path / "fur_v2.safetensors"))
    match = Matching(shelf).lora(UsedLora(name=f"fur_v2{ending}.ckpt"))
    assert match is not None
    assert match.path == str(fur)
    own = add(shelf, write_lora(tmp_path / f"fur_v2{ending}.safetensors", 2.0))
    match = Matching(shelf).lora(UsedLora(name=f"fur_v2{ending}.ckpt"))
    assert match is not None
    assert match.path == str(own)


def test_a_hash_goes_before_a_name(shelf, tmp_path):
    add(shelf, write_lora(tmp_path / "fur.safetensors", 1.0))
    other = add(shelf, write_lora(tmp_path / "other.safetensors", 2.0))
    match = Matching(shelf).lora(UsedLora(name="fur", hash=tensors_hash(other)[:12]))
    assert match is not None
    assert (match.path, match.is_sure) == (str(other), True)


def test_the_hash_that_a_trainer_noted_is_taken(tmp_path):
    memory = Fingerprints.kept_in(tmp_path / "cache")
    plain = write_lora(tmp_path / "a.safetensors")
    assert memory.of_tensors(plain) == tensors_hash(plain)
    assert memory.of_tensors(plain) == tensors_hash(plain)
    noted = write_lora(tmp_path / "b.safetensors", sshs_model_hash="ab" * 32)
    assert memory.of_tensors(noted) == "ab" * 32
    wrong = write_lora(tmp_path / "c.safetensors", sshs_model_hash="no hash")
    assert memory.of_tensors(wrong) == tensors_hash(wrong)
    torch.save({"a": torch.zeros(2)}, tmp_path / "d.pt")
    whole = hashlib.sha256((tmp_path / "d.pt").read_bytes()).hexdigest()
    assert memory.of_tensors(tmp_path / "d.pt") == whole


def test_a_model_is_called_by_its_name(shelf, tiny_model, tmp_path):
    mine = Path(shutil.copytree(tiny_model, tmp_path / "mine"))
    add(shelf, mine)
    (entry,) = shelf.entries()
    match = Matching(shelf).model("whatever", entry.sha256[:10])
    assert match is not None
    assert (match.path, match.is_sure) == ("mine", True)
    assert Matching(shelf).model("mine.safetensors", "") == match
    assert Matching(shelf).model("whatever", "0123456789") is None


def test_a_model_is_found_by_its_first_hash(shelf, tmp_path):
    """That of the web UI in 2022, which wrote no name beside it."""
    path = tmp_path / "old.safetensors"
    path.write_bytes(random.Random(0).randbytes(0x110000 + 99))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    file = WeightFile(name="", size=path.stat().st_size, sha256=sha256)
    entry = Entry(
        name="old",
        title="SD 1.x model",
        kind=Kind.MODEL,
        family="sd1",
        path=path,
        owned=False,
        files=(file,),
        sha256=sha256,
        source="",
        added="2026-01-01",
    )
    with LibraryFile(
        Profile(tmp_path / "profile").library_file, shelf.folder
    ).changing() as library:
        library["old"] = entry
    digits = hashlib.sha256(path.read_bytes()[0x100000:0x110000]).hexdigest()[:8]
    match = Matching(shelf).model("", digits)
    assert match is not None
    assert (match.path, match.is_sure) == ("old", True)
    assert Matching(shelf).model("", sha256[:8]) is None


def test_an_embedding_is_found(shelf, tmp_path):
    save_file({"emb_params": torch.zeros(2, 768)}, tmp_path / "easyneg.safetensors")
    add(shelf, tmp_path / "easyneg.safetensors")
    match = Matching(shelf).embedding(UsedEmbedding(name="EasyNeg"))
    assert match is not None
    assert (match.path, match.family) == (str(tmp_path / "easyneg.safetensors"), "sd1")


def test_an_upscaler_is_found_by_its_files_name_and_by_the_web_uis(shelf, tmp_path):
    path = tmp_path / "RealESRGAN_x4plus.safetensors"
    save_file({"body.0.rdb1.conv1.weight": torch.zeros(2, 2, 3, 3)}, path)
    add(shelf, path)
    find = Matching(shelf).upscaler
    whole = hashlib.sha256(path.read_bytes()).hexdigest()
    for name, digits in (("R-ESRGAN 4x+", ""), ("realesrgan_x4plus", ""), ("x", whole[:10])):
        match = find(name, digits)
        assert match is not None
        assert (match.path, match.is_sure) == (str(path), True)
    assert find("R-ESRGAN 2x+", "") is None
    assert Matching(shelf).vae("RealESRGAN_x4plus", "") is None


def test_a_damaged_list_finds_nothing(shelf, tmp_path):
    (tmp_path / "profile").mkdir(exist_ok=True)
    (tmp_path / "profile/library.json").write_text("{")
    assert Matching(shelf).lora(UsedLora(name="fur")) is None


@pytest.mark.parametrize(
    ("written", "digits"),
    [
        ("0123456789", "0123456789"),
        ("0x" + "AB" * 6, "ab" * 6),
        ("sha256:" + "ab" * 32, "ab" * 32),
        ("blake3:" + "ab" * 32, ""),
        ("7460a6fa", "7460a6fa"),
        ("7460a6fa7", ""),
        ("unknown", ""),
        ("", ""),
    ],
)
def test_hashes_as_programs_write_them(written, digits):
    assert hash_digits(written) == digits


def test_names_as_programs_write_them():
    assert plain_name("SD1.5\\my model.v2.safetensors") == "my-model.v2"
    assert plain_name("a/b.ckpt") == "b"
    assert json.dumps(plain_name("")) == '""'
