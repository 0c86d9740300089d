from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.coreml_folder import Tensor
from core.errors import ModelInvalid
from core.models.exported_spec import describe, has_einsum
from tests.fixtures.packages import (
    NOISE,
    UNET_INPUTS,
    write_compiled,
    write_package,
    written_spec,
)

INPUTS = tuple(Tensor(name, shape, dtype) for name, (shape, dtype) in UNET_INPUTS.items())
OUTPUTS = (Tensor("noise_pred", (2, 4, 64, 64), "float32"),)


def test_a_package_tells_what_coremltools_wrote(tmp_path: Path):
    pytest.importorskip("coremltools")
    package = tmp_path / "Unet.mlpackage"
    ids = {"ids": ((1, 77), "int32")}
    write_package(package, written_spec(UNET_INPUTS | ids, NOISE))
    assert describe(package) == ((*INPUTS, Tensor("ids", (1, 77), "int32")), OUTPUTS)


def test_a_compiled_model_tells_it_in_its_metadata(tmp_path: Path):
    write_compiled(tmp_path / "Unet.mlmodelc", UNET_INPUTS, NOISE)
    assert describe(tmp_path / "Unet.mlmodelc") == (INPUTS, OUTPUTS)


@pytest.mark.parametrize("einsum", [False, True])
def test_the_layout_is_told_by_the_operations(tmp_path: Path, einsum: bool):
    write_compiled(tmp_path / "Unet.mlmodelc", UNET_INPUTS, NOISE, einsum=einsum)
    assert has_einsum(tmp_path / "Unet.mlmodelc") is einsum
    write_package(tmp_path / "Unet.mlpackage", b"..einsum.." if einsum else b"..matmul..")
    assert has_einsum(tmp_path / "Unet.mlpackage") is einsum


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 40,
        b"\x12\x7f\x0a",  # A description that is longer than the file.
        b"\x08\x07",  # A version and nothing else.
        b"\x12\x06\x0a\x04\x0a\x02hi\x52\x06\x0a\x04\x0a\x02ho",  # No tensors.
    ],
)
def test_a_damaged_package_is_refused(tmp_path: Path, content: bytes):
    write_package(tmp_path / "Unet.mlpackage", content)
    with pytest.raises(ModelInvalid, match="does not tell what it takes"):
        describe(tmp_path / "Unet.mlpackage")


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", json.dumps([{"inputSchema": [{"name": "x", "shape": "[", "dataType": "a"}]}])],
)
def test_damaged_metadata_is_refused(tmp_path: Path, text: str):
    write_compiled(tmp_path / "Unet.mlmodelc", UNET_INPUTS, NOISE)
    (tmp_path / "Unet.mlmodelc" / "metadata.json").write_text(text)
    with pytest.raises(ModelInvalid, match="does not tell what it takes"):
        describe(tmp_path / "Unet.mlmodelc")
    assert not has_einsum(tmp_path / "Unet.mlmodelc")


def test_a_part_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(ModelInvalid, match="does not tell what it takes"):
        describe(tmp_path / "Unet.mlpackage")
