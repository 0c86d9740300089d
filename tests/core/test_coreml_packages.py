"""Pictures through packages as coremltools saves them, read back and interpreted."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from core.engine import TorchEngine
from core.events import ImageReady, PreviewSettings
from core.models.catalog import SHIPPED
from core.request import DeviceName, PreviewDecoder, TextToImage
from tests.fixtures.exported import Stand

pytest.importorskip("coremltools", reason="there is none for this system")

from tests.fixtures.converted import interpreted, write_converted

OFF = PreviewSettings(decoder=PreviewDecoder.OFF)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> TorchEngine:
    cache = tmp_path_factory.mktemp("cache")
    return TorchEngine(DeviceName.CPU, cache=cache, open_part=interpreted)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Stand:
    return Stand(SHIPPED["starter"], tmp_path_factory.mktemp("starter"), size=(128, 128))


@pytest.fixture(scope="module")
def folder(stand: Stand, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_converted(stand, tmp_path_factory.mktemp("converted"))


@pytest.fixture(scope="module")
def torchs(engine: TorchEngine) -> ImageReady:
    return made(engine, "starter")


def made(engine: TorchEngine, model: object) -> ImageReady:
    request = TextToImage(
        model=str(model),
        prompts=("a red circle on a blue square",),
        width=128,
        height=128,
        guidance_scale=3.0,
        seed=3,
    )
    events = engine.generate(request, preview=OFF)
    return next(event for event in events if isinstance(event, ImageReady))


def decibels(one: ImageReady, other: ImageReady) -> float:
    error = np.square(one.pixels.astype(float) - other.pixels.astype(float)).mean()
    return 20 * math.log10(255 / math.sqrt(error))


@pytest.mark.slow
def test_a_picture_of_twenty_steps_is_that_of_torch(
    engine: TorchEngine, folder: Path, torchs: ImageReady
) -> None:
    assert decibels(made(engine, folder), torchs) > 40


@pytest.mark.slow
@pytest.mark.parametrize("parts", [("Unet",), ("TextEncoder", "VAEDecoder", "VAEEncoder")])
def test_so_it_is_where_torch_does_a_part_of_it(
    engine: TorchEngine,
    stand: Stand,
    folder: Path,
    torchs: ImageReady,
    tmp_path: Path,
    parts: tuple[str, ...],
) -> None:
    mixed = stand.write(tmp_path / "mixed", parts=parts)
    for name in parts:
        shutil.rmtree(mixed / f"{name}.mlpackage")
        shutil.copytree(folder / f"{name}.mlpackage", mixed / f"{name}.mlpackage")
    assert decibels(made(engine, mixed), torchs) > 40
