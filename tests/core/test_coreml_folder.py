from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.coreml_folder import MANIFEST, ExportFormat, Layout, Manifest, PartRecord, Tensor
from core.errors import ModelInvalid

RECORD = PartRecord(
    name="Unet",
    inputs=(Tensor("sample", (2, 4, 64, 64), "float16"), Tensor("timestep", (2,), "float32")),
    outputs=(Tensor("noise_pred", (2, 4, 64, 64), "float32"),),
    bytes=1_720_000_000,
    inputs_sha256="ab" * 32,
    compression="none",
    psnr={"fp32": 72.5},
    seconds=61.5,
)
MADE = Manifest(
    format=ExportFormat.COREML,
    layout=Layout.SPLIT_EINSUM,
    family="sd1",
    source="my-model",
    source_sha256="cd" * 32,
    licence="creativeml-openrail-m",
    sizes=((512, 512), (512, 768)),
    batch=2,
    target="macOS15",
    compression="none",
    loras=(("style.safetensors", 0.8),),
    words=("<cat>",),
    vae="",
    control=False,
    versions={"coremltools": "9.0"},
    model={"configs": {"unet": {"in_channels": 4}}},
    parts=(RECORD,),
    request={"model": "my-model", "sizes": [[512, 512]], "check": False},
)


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path):
    (tmp_path / MANIFEST).write_text(MADE.to_json())
    assert Manifest.read(tmp_path) == MADE


def test_one_that_does_not_tell_what_was_asked_for_is_read(tmp_path: Path):
    values = json.loads(MADE.to_json())
    del values["request"]
    (tmp_path / MANIFEST).write_text(json.dumps(values))
    assert Manifest.read(tmp_path).request == {}


def test_a_folder_without_one(tmp_path: Path):
    with pytest.raises(ModelInvalid, match="is missing"):
        Manifest.read(tmp_path)


def changed(**values: Any) -> str:
    return json.dumps(json.loads(MADE.to_json()) | values)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        changed(format="onnx"),
        changed(sizes=[[512]]),
        changed(parts=[{"name": "Unet"}]),
        changed(surplus=1),
    ],
)
def test_one_that_makes_no_sense_is_refused(tmp_path: Path, text: str):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ModelInvalid, match="export again"):
        Manifest.read(tmp_path)


def test_one_of_another_version_is_refused(tmp_path: Path):
    (tmp_path / MANIFEST).write_text(changed(version=2))
    with pytest.raises(ModelInvalid, match="another version"):
        Manifest.read(tmp_path)


def test_the_fields_of_a_manifest_are_plain_json():
    assert json.loads(MADE.to_json())["parts"][0]["inputs"][0]["shape"] == [2, 4, 64, 64]
