import dataclasses
import hashlib
import importlib.util
import shutil
import sys
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from torch import nn

from core.compute_units import ComputeUnits
from core.coreai import open_part
from core.coreml_folder import MANIFEST, ExportFormat, Layout, Manifest, Tensor
from core.engine import TorchEngine
from core.errors import ExportFailed, Unsupported
from core.events import Event, ImageReady, Notice, PreviewSettings
from core.models.catalog import SHIPPED
from core.models.components import Components
from core.models.exported import Package
from core.models.identify import identify
from core.paths import Profile
from core.request import ControlUse, DeviceName, Precision, PreviewDecoder, TextToImage
from coreml_export.coreai import Converter, save, typed, write
from coreml_export.events import Needs, PartWritten, Stage
from coreml_export.export import export
from coreml_export.interpreter.psnr import psnr
from coreml_export.package import Way, Written
from coreml_export.parts import Part, part_names, parts_of
from coreml_export.plan import PartPlan
from coreml_export.request import Compression, ExportRequest
from tests.conftest import write_tiny_control
from tests.fixtures.exported import Stand, manifest_of, request_of
from tests.fixtures.loaded import loaded

HAS_COREAI = importlib.util.find_spec("coreai_torch") is not None
needs_coreai = pytest.mark.skipif(
    not HAS_COREAI, reason="needs coreai-torch: pip install -e '.[coreai]'"
)

slow = pytest.mark.slow


@dataclasses.dataclass
class Exact:
    """A model's parts in fp32 altogether, and the folder that they are written to."""

    stand: Stand
    parts: dict[str, Part]
    folder: Path


@pytest.fixture(scope="module")
def exact(request, tmp_path_factory) -> Exact:
    model = SHIPPED.get(request.param) or request.getfixturevalue(request.param)
    scratch = tmp_path_factory.mktemp("exact")
    side = identify(model).width
    stand = Stand(model, scratch, size=(side, side))
    parts = {name: exactly(part) for name, part in stand.parts.items()}
    folder = scratch / "model"
    folder.mkdir()
    for part in parts.values():
        written(part, folder)
    for file in (model / "tokenizer").glob("[vm]*"):
        shutil.copy(file, folder)
    manifest = manifest_of(
        stand, list(parts.values()), format=ExportFormat.COREAI, target="macOS27"
    )
    (folder / MANIFEST).write_text(manifest.to_json())
    return Exact(stand, parts, folder)


@pytest.fixture
def components(tiny_model, tmp_path) -> Components:
    return loaded(tiny_model, tmp_path)


def make(components, name, **options):
    given = {"layout": Layout.ORIGINAL, "width": 64, "height": 64, "batch": 2} | options
    return next(parts_of(components, only=[name], **given))


def exactly(part: Part) -> Part:
    """The same part in fp32 altogether."""
    inputs = tuple(dataclasses.replace(one, dtype="float32") for one in part.inputs)
    return dataclasses.replace(part, inputs=inputs, fp32=True)


def written(part: Part, folder: Path, **metadata: str) -> Path:
    converter = Converter()
    converter.add(part, part.examples())
    path = folder / f"{part.name}.aimodel"
    save(converter.convert(part), path, metadata)
    return path


def run(part: Part, path: Path, function: str = "") -> tuple[torch.Tensor, ...]:
    package = Package(part.name, path, None, part.inputs, part.outputs)
    values = typed(part, part.examples())
    told = {one.name: value.numpy() for one, value in zip(part.inputs, values, strict=True)}
    answers = open_part(package, ComputeUnits.CPU, function).predict(told)
    assert set(answers) == {one.name for one in part.outputs}
    return tuple(torch.from_numpy(answers[one.name]) for one in part.outputs)


every_model = pytest.mark.parametrize(
    "exact",
    [
        "tiny_model",
        pytest.param("tiny_xl_model", marks=slow),
        pytest.param("starter", marks=slow),
    ],
    indirect=True,
)


@needs_coreai
@every_model
@torch.no_grad()
def test_apples_runtime_computes_what_torch_does(exact):
    assert tuple(exact.parts) == part_names(exact.stand.components)
    for name, part in exact.parts.items():
        outputs = run(part, exact.folder / f"{name}.aimodel")
        for told, expected, output in zip(
            part.outputs, part.reference(*part.examples()), outputs, strict=True
        ):
            assert output.dtype == torch.float32
            assert output.shape == told.shape
            torch.testing.assert_close(output, expected, rtol=0, atol=1e-4)


def picture(request: TextToImage, cache: Path) -> tuple[ImageReady, list[Event]]:
    engine = TorchEngine(DeviceName.CPU, cache=cache)
    preview = PreviewSettings(decoder=PreviewDecoder.OFF)
    events = list(engine.generate(request, preview=preview))
    return next(event for event in events if isinstance(event, ImageReady)), events


@needs_coreai
@every_model
def test_a_whole_picture_is_that_of_torch(exact, tmp_path):
    side, steps = exact.stand.size[0], 20 if exact.stand.model == SHIPPED["starter"] else 4
    made, events = picture(request_of(exact.folder, side, steps=steps), tmp_path)
    torchs, _ = picture(
        request_of(exact.stand.model, side, steps=steps, precision=Precision.FP32), tmp_path
    )
    assert made.model_sha256 != torchs.model_sha256
    assert not [event for event in events if isinstance(event, Notice)]
    # Rounded to bytes, they differ by one where they differ at all.
    difference = np.abs(made.pixels.astype(int) - torchs.pixels.astype(int))
    assert difference.max() <= 1
    assert difference.mean() < 0.01


@needs_coreai
@slow
@pytest.mark.parametrize("whole", [False, True], ids=["torch's UNet", "its own UNet"])
def test_a_picture_follows_a_control_net_as_torchs_does(tiny_model, start_picture, tmp_path, whole):
    net = write_tiny_control(tmp_path / "net", tiny_model)
    lines = {"Lines": diffusers.ControlNetModel.from_pretrained(net).eval()}
    names = ["controlnet/Lines", *(["ControlledUnet"] if whole else [])]
    stand = Stand(tiny_model, tmp_path, size=(64, 64), control=True, nets=lines, only=names)
    folder = tmp_path / "model"
    (folder / "controlnet").mkdir(parents=True)
    parts = [exactly(part) for part in stand.parts.values()]
    for part in parts:
        written(part, folder)
    manifest = manifest_of(stand, parts, format=ExportFormat.COREAI, target="macOS27")
    (folder / MANIFEST).write_text(manifest.to_json())

    def made(model, path):
        controls = (ControlUse(path=str(path), image=str(start_picture), weight=3.0),)
        options = {"steps": 4, "precision": Precision.FP32, "controls": controls}
        return picture(request_of(model, 64, **options), tmp_path)[0]

    led = made(folder, "lines") if whole else made(tiny_model, folder / "controlnet/Lines.aimodel")
    torchs = made(tiny_model, net)
    assert led.request.controls[0].sha256 != torchs.request.controls[0].sha256
    assert np.abs(led.pixels.astype(int) - torchs.pixels.astype(int)).max() <= 1


@pytest.mark.skipif(sys.platform == "win32", reason="Core AI is not looked for on Windows")
def test_torch_takes_over_where_the_runtime_is_missing(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "coreai.runtime", None)
    stand = Stand(tiny_model, tmp_path, size=(64, 64))
    folder = tmp_path / "model"
    for name in stand.parts:
        package = folder / f"{name}.aimodel"
        package.mkdir(parents=True)
        # Whole as far as can be told without the runtime that would read it.
        (package / "main.mlirb").write_bytes(b"?")
        (package / "main.hash").write_bytes(hashlib.sha256(b"?").digest())
    manifest = manifest_of(stand, list(stand.parts.values()), format=ExportFormat.COREAI)
    (folder / MANIFEST).write_text(manifest.to_json())
    made, events = picture(request_of(folder, 64, steps=2), tmp_path)
    assert made.request.model == str(tiny_model)
    (notice,) = (event.message for event in events if isinstance(event, Notice))
    assert notice.startswith("Running a Core AI model needs Apple's coreai-core")
    assert "pip install 'stepwise-diffusion[coreai]'" in notice


@needs_coreai
@pytest.mark.parametrize(
    "name",
    ["TextEncoder", pytest.param("Unet", marks=slow), pytest.param("VAEDecoder", marks=slow)],
)
@torch.no_grad()
def test_half_precision_keeps_what_it_would_round(components, name, tmp_path):
    part = make(components, name)
    assert not part.fp32
    outputs = run(part, written(part, tmp_path))
    for expected, output in zip(part.reference(*part.examples()), outputs, strict=True):
        assert output.dtype == torch.float32
        assert psnr(expected, output) > 60


def written_by_exports(components, name, folder, sizes=((64, 64),)) -> Written:
    """Write a part as an export does."""
    stages = (Stage.LOAD, Stage.TRACE, Stage.CONVERT, Stage.CHECK)
    plan = PartPlan(name=name, component="", parameters=0, compression=Compression(), stages=stages)
    way = Way(
        plan=plan,
        sizes=sizes,
        target="macOS27",
        metadata={"com.example.made-by": "a test"},
        chunk=False,
        check=True,
        scheduler_config={},
        release=lambda: None,
    )
    parts = (make(components, name, width=width, height=height) for width, height in sizes)
    work = write(parts, folder, way)
    try:
        while True:
            next(work)
    except StopIteration as done:
        (made,) = done.value
    return made


@needs_coreai
def test_what_an_export_writes_is_read_back_and_measured(components, tmp_path):
    made = written_by_exports(components, "TextEncoder", tmp_path)
    assert made.path == tmp_path / "TextEncoder.aimodel"
    assert [one.name for one in made.inputs] == ["input_ids"]
    assert made.comparison.psnr["fp16"] > 60
    assert not made.comparison.doubts


@needs_coreai
@slow
@torch.no_grad()
def test_functions_of_several_sizes_share_their_weights(components, tmp_path):
    alone, both = tmp_path / "alone", tmp_path / "both"
    made = written_by_exports(components, "VAEEncoder", alone)
    made_both = written_by_exports(components, "VAEEncoder", both, ((64, 64), (128, 64)))
    wide = make(components, "VAEEncoder", width=128)
    (expected,) = wide.reference(*wide.examples())
    assert psnr(expected, run(wide, made_both.path, "size_128x64")[0]) > 50
    assert made_both.comparison.psnr["fp16"] > 50
    assert bytes_of(made_both.path) < 2 * bytes_of(made.path)


def bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@needs_coreai
@pytest.mark.parametrize("parts", [("TextEncoder",), pytest.param((), marks=slow)])
def test_an_exported_folder_makes_pictures(tiny_model, tmp_path, parts, export_here):
    folder, profile = tmp_path / "model", Profile(tmp_path / "profile")
    request = ExportRequest(
        model=str(tiny_model), out=str(folder), format=ExportFormat.COREAI, parts=parts
    )
    events = list(export(request, profile))
    needs = next(event for event in events if isinstance(event, Needs))
    assert needs.target == "macOS27"
    names = parts or ("Unet", "TextEncoder", "VAEDecoder", "VAEEncoder")
    assert set(needs.parts) == set(names)
    packages = {f"{name}.aimodel" for name in names}
    assert {path.name for path in folder.iterdir()} == packages | {
        "manifest.json",
        "stepwise.json",
        "preview.json",
        "vocab.json",
        "merges.txt",
    }
    assert {"coreai-core", "coreai-torch"} <= set(Manifest.read(folder).versions)
    again = export_here(request, profile)
    assert all(event.kept for event in again if isinstance(event, PartWritten))
    made, _ = picture(request_of(folder, 64, steps=4), tmp_path)
    torchs, _ = picture(request_of(tiny_model, 64, steps=4, precision=Precision.FP32), tmp_path)
    difference = torch.from_numpy(made.pixels.astype(float) - torchs.pixels.astype(float))
    assert difference.square().mean().sqrt() < 255 / 10 ** (40 / 20)  # 40 dB


def part_of(module: nn.Module) -> Part:
    """A part that takes one number."""
    return Part(
        name="Unet",
        module=module,
        inputs=(Tensor("sample", (1,), "float32"),),
        outputs=(Tensor("noise_pred", (1,), "float32"),),
        examples=lambda: (torch.ones(1),),
        reference=lambda sample: (module(sample),),
        fp32=True,
    )


class Branching(nn.Module):
    def forward(self, sample):
        return sample if sample.sum() > 0 else -sample


class Spectrum(nn.Module):
    def forward(self, sample):
        return torch.fft.fft(sample).real


@needs_coreai
@pytest.mark.parametrize("module", [Branching(), Spectrum()], ids=["torch", "converter"])
def test_a_part_that_cannot_be_converted_is_named(module, tmp_path):
    with pytest.raises(ExportFailed, match=r"cannot convert Unet \(.+\); export the others with"):
        written(part_of(module), tmp_path)


@needs_coreai
def test_a_model_says_what_it_is_and_nothing_of_this_machine(tmp_path, capfd):
    path = written(part_of(nn.Linear(1, 1)), tmp_path, author="A", license="B", recipe="C")
    told = (path / "metadata.json").read_text()
    assert all(f'"{word}"' in told for word in ("A", "B", "recipe", "C"))
    for file in filter(Path.is_file, path.rglob("*")):
        assert str(Path.cwd()).encode() not in file.read_bytes()
    assert capfd.readouterr().out == ""


def test_a_missing_converter_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    request = ExportRequest(out=str(tmp_path / "out"), format=ExportFormat.COREAI)
    with pytest.raises(Unsupported, match="pip install 'stepwise-diffusion\\[coreai\\]'"):
        next(export(request, Profile(tmp_path / "profile")))
