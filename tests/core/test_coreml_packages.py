"""Pictures through packages as they are exported, read back and interpreted."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from core.coreml_folder import MANIFEST, Manifest
from core.engine import TorchEngine
from core.events import ImageReady
from core.request import DeviceName

pytest.importorskip("coremltools", reason="there is none for this system")

from tests.fixtures.converted import decibels, export_starter, interpreted, picture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> TorchEngine:
    cache = tmp_path_factory.mktemp("cache")
    return TorchEngine(DeviceName.CPU, cache=cache, open_part=interpreted)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "starter"
    export_starter(folder)
    return folder


@pytest.fixture(scope="module")
def torchs(engine: TorchEngine) -> ImageReady:
    return picture(engine, "starter")


def test_a_picture_of_twenty_steps_is_that_of_torch(
    engine: TorchEngine, folder: Path, torchs: ImageReady
) -> None:
    assert decibels(picture(engine, folder), torchs) > 40


@pytest.mark.parametrize(
    ("compression", "least"), [("int8", 40), ("w8a8", 20), ("palette6", 27), ("palette4", 18)]
)
def test_packed_weights_change_it_as_little_as_the_readme_says(
    engine: TorchEngine,
    folder: Path,
    torchs: ImageReady,
    tmp_path: Path,
    compression: str,
    least: float,
) -> None:
    packed = shutil.copytree(folder, tmp_path / "packed")
    manifest = export_starter(packed, compression)
    ways = {part.name: part.compression for part in manifest.parts}
    assert ways == {
        "TextEncoder": "int8" if compression == "w8a8" else compression,
        "Unet": compression,
        "VAEDecoder": "none",
        "VAEEncoder": "none",
    }
    assert decibels(picture(engine, packed), torchs) > least


@pytest.mark.parametrize("parts", [("Unet",), ("TextEncoder", "VAEDecoder", "VAEEncoder")])
def test_so_it_is_where_torch_does_a_part_of_it(
    engine: TorchEngine, folder: Path, torchs: ImageReady, tmp_path: Path, parts: tuple[str, ...]
) -> None:
    mixed = shutil.copytree(folder, tmp_path / "mixed")
    manifest = Manifest.read(mixed)
    kept = tuple(part for part in manifest.parts if part.name in parts)
    for part in manifest.parts:
        if part not in kept:
            shutil.rmtree(mixed / f"{part.name}.mlpackage")
    (mixed / MANIFEST).write_text(dataclasses.replace(manifest, parts=kept).to_json())
    assert decibels(picture(engine, mixed), torchs) > 40
