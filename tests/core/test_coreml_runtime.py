"""What a Mac alone can show: the same pictures by Core ML itself; and what is true without it."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from core.compute_units import ComputeUnits
from core.coreml import FOLDER, CoreML
from core.engine import TorchEngine
from core.errors import PartNotLoaded
from core.events import ImageReady, Loading, PreviewSettings
from core.models.catalog import SHIPPED
from core.models.exported import Package
from core.models.fingerprint import Fingerprints, combined_sha256
from core.models.load_exported import in_background
from core.request import DeviceName, PreviewDecoder, TextToImage
from tests.fixtures.exported import Stand
from tests.fixtures.packages import write_package

OFF = PreviewSettings(decoder=PreviewDecoder.OFF)
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.fixtures.converted import write_converted

    scratch = tmp_path_factory.mktemp("converted")
    stand = Stand(SHIPPED["starter"], scratch, size=(128, 128))
    return write_converted(stand, scratch / "starter-coreml")


@pytest.mark.coreml_runtime
@needs_core_ml
@pytest.mark.parametrize("units", ["auto", *ComputeUnits])
def test_core_ml_makes_the_picture_that_torch_makes(
    folder: Path, tmp_path: Path, units: str
) -> None:
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path)

    def made(model: str, compute_units: str) -> ImageReady:
        request = TextToImage(
            model=model,
            prompts=("a red circle on a blue square",),
            width=128,
            height=128,
            guidance_scale=3.0,
            seed=3,
            compute_units=compute_units,
        )
        events = list(engine.generate(request, preview=OFF))
        assert any(isinstance(event, Loading) for event in events)
        image = next(event for event in events if isinstance(event, ImageReady))
        # Torch stands in for what does not start.
        assert image.request.model == model
        return image

    one, other = made(str(folder), units), made("starter", "auto")
    error = np.square(one.pixels.astype(float) - other.pixels.astype(float)).mean()
    assert 20 * math.log10(255 / math.sqrt(error)) > 40
