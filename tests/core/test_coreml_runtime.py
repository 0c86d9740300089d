"""What a Mac alone can show: torch's pictures by Core ML and Core AI; and what is true without."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from core.compute_units import ComputeUnits
from core.coreml import ABANDONED, FOLDER, KEPT, CoreML
from core.coreml_folder import ExportFormat
from core.engine import TorchEngine
from core.errors import PartNotLoaded
from core.models.exported import Package
from core.models.fingerprint import Fingerprints, combined_sha256
from core.models.load_exported import in_background
from core.request import DeviceName
from tests.fixtures.packages import write_compiled, write_package

needs_core_ml = pytest.mark.skipif(sys.platform != "darwin", reason="Core ML is on macOS alone")


@pytest.fixture
def package(tmp_path: Path) -> Package:
    path = tmp_path / "Unet.mlpackage"
    write_package(path, b"nothing that could be compiled")
    return Package("Unet", path, None, (), ())


def test_what_was_compiled_is_found_by_its_content(package: Package, tmp_path: Path) -> None:
    fingerprints = Fingerprints.kept_in(tmp_path)
    runtime = CoreML(tmp_path, fingerprints)
    files = {path.relative_to(package.path).as_posix(): path for path in package.files}
    place = tmp_path / FOLDER / f"{combined_sha256(files, fingerprints.of_file)}.mlmodelc"
    place.mkdir(parents=True)
    assert runtime.compiled(package) == place
    beside = tmp_path / "Unet.mlmodelc"
    assert runtime.compiled(Package("Unet", package.path, beside, (), ())) == beside


def test_a_part_that_cannot_be_compiled_says_so(package: Package, tmp_path: Path) -> None:
    runtime = CoreML(tmp_path, Fingerprints.kept_in(tmp_path))
    opening = in_background(
        lambda: runtime.open(package, ComputeUnits.CPU, ""), "Unet (cpu)", limit=600
    )
    with pytest.raises(PartNotLoaded):
        list(opening)
    assert not list((tmp_path / FOLDER).glob("[!p]*"))


def test_what_is_not_opened_for_long_goes_when_something_is_compiled(
    package: Package, tmp_path: Path
) -> None:
    runtime = CoreML(tmp_path, Fingerprints.kept_in(tmp_path))
    ages = {"forgotten": KEPT, "opened": KEPT / 2, "partial-left": ABANDONED, "partial-at-work": 60}
    for name, age in ages.items():
        place = tmp_path / FOLDER / f"{name}.mlmodelc"
        write_compiled(place, {}, {})
        os.utime(place, (0, time.time() - age - 60))
    (tmp_path / FOLDER / "note.txt").write_text("of no concern")
    with pytest.raises(PartNotLoaded):
        # There is nothing to compile in it, on a Mac neither.
        list(in_background(lambda: runtime.compiled(package), "Unet", limit=600))
    left = {path.stem for path in (tmp_path / FOLDER).iterdir()}
    assert left == {"opened", "partial-at-work", "note"}


def test_opening_is_noted(package: Package, tmp_path: Path) -> None:
    fingerprints = Fingerprints.kept_in(tmp_path)
    files = {path.relative_to(package.path).as_posix(): path for path in package.files}
    place = tmp_path / FOLDER / f"{combined_sha256(files, fingerprints.of_file)}.mlmodelc"
    place.mkdir(parents=True)
    os.utime(place, (0, 0))
    CoreML(tmp_path, fingerprints).compiled(package)
    assert place.stat().st_mtime > time.time() - 60


@pytest.fixture(scope="module", params=list(ExportFormat))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.fixtures.converted import export_starter

    if request.param is ExportFormat.COREAI:
        pytest.importorskip("coreai_torch", reason="Core AI's packages are not installed")
    folder = tmp_path_factory.mktemp("exported") / "starter"
    export_starter(folder, kind=request.param)
    return folder


@pytest.mark.coreml_runtime
@needs_core_ml
@pytest.mark.parametrize("units", ["auto", *ComputeUnits])
def test_a_mac_makes_the_picture_that_torch_makes(folder: Path, tmp_path: Path, units: str) -> None:
    from tests.fixtures.converted import decibels, picture

    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)
    assert decibels(picture(engine, folder, units), picture(engine, "starter")) > 40
