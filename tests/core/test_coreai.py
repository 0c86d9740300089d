"""What is looked at before a model is given to Core AI's runtime."""

import hashlib
from pathlib import Path

import pytest

from core.compute_units import ComputeUnits
from core.coreai import open_part
from core.errors import ModelInvalid
from core.models.exported import Package


def write_model(folder: Path, program: bytes, written: bytes) -> Package:
    """Write a model whose program is another one than was written."""
    folder.mkdir()
    (folder / "main.mlirb").write_bytes(program)
    (folder / "main.hash").write_bytes(hashlib.sha256(written).digest())
    return Package("Unet", folder, None, (), ())


def test_a_damaged_program_is_told_and_not_run(tmp_path):
    package = write_model(tmp_path / "Unet.aimodel", b"progr", written=b"program")
    with pytest.raises(ModelInvalid, match=r"Unet\.aimodel is damaged"):
        open_part(package, ComputeUnits.CPU, "")


@pytest.mark.parametrize("name", ["main.mlirb", "main.hash"])
def test_a_model_with_a_file_missing_is_told(tmp_path, name):
    package = write_model(tmp_path / "Unet.aimodel", b"program", written=b"program")
    (package.path / name).unlink()
    with pytest.raises(ModelInvalid, match=rf"No such file or directory: .*{name}"):
        open_part(package, ComputeUnits.CPU, "")
