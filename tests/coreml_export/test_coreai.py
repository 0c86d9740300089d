import dataclasses
import importlib.util
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import core
from core.coreai import CoreAIModel
from core.coreml_folder import Layout, Tensor
from core.errors import ExportFailed, Unsupported
from coreml_export.coreai import Converter, save, typed
from coreml_export.interpreter.psnr import psnr
from coreml_export.parts import Part, part_names, parts_of
from tests.fixtures.loaded import loaded

STARTER = Path(core.__file__).parent / "starter" / "weights"

HAS_COREAI = importlib.util.find_spec("coreai_torch") is not None
needs_coreai = pytest.mark.skipif(
    not HAS_COREAI, reason="needs coreai-torch: pip install -e '.[coreai]'"
)


@pytest.fixture(scope="module")
def components(request, tmp_path_factory):
    name = request.param
    folder = STARTER if name == "starter" else request.getfixturevalue(name)
    return loaded(folder, tmp_path_factory.mktemp("scratch"))


def make(components, name, **options):
    size = {"width": components.identity.width, "height": components.identity.height}
    given = {"layout": Layout.ORIGINAL, "batch": 2} | size | options
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


def run(part: Part, model: CoreAIModel) -> tuple[torch.Tensor, ...]:
    values = typed(part, part.examples())
    told = {one.name: value.numpy() for one, value in zip(part.inputs, values, strict=True)}
    answers = model.predict(told)
    assert set(answers) == {one.name for one in part.outputs}
    return tuple(torch.from_numpy(answers[one.name]) for one in part.outputs)


@needs_coreai
@pytest.mark.parametrize(
    "components",
    [
        "tiny_model",
        pytest.param("tiny_xl_model", marks=pytest.mark.slow),
        pytest.param("starter", marks=pytest.mark.slow),
    ],
    indirect=True,
)
@torch.no_grad()
def test_apples_runtime_computes_what_torch_does(components, tmp_path, record_property):
    for name in part_names(components):
        part = exactly(make(components, name))
        began = time.process_time()
        path = written(part, tmp_path)
        record_property(f"{name}: seconds of the processor", time.process_time() - began)
        outputs = run(part, CoreAIModel(path))
        for told, expected, output in zip(
            part.outputs, part.reference(*part.examples()), outputs, strict=True
        ):
            assert output.dtype == torch.float32
            assert output.shape == told.shape
            torch.testing.assert_close(output, expected, rtol=0, atol=1e-4)


@needs_coreai
@pytest.mark.parametrize(
    ("components", "name"),
    [
        ("tiny_model", "TextEncoder"),
        pytest.param("tiny_model", "Unet", marks=pytest.mark.slow),
        pytest.param("tiny_xl_model", "Unet", marks=pytest.mark.slow),
        pytest.param("tiny_model", "VAEDecoder", marks=pytest.mark.slow),
    ],
    indirect=["components"],
)
@torch.no_grad()
def test_half_precision_keeps_what_it_would_round(components, name, tmp_path):
    part = make(components, name)
    assert not part.fp32
    outputs = run(part, CoreAIModel(written(part, tmp_path)))
    for expected, output in zip(part.reference(*part.examples()), outputs, strict=True):
        assert output.dtype == torch.float32
        assert psnr(expected, output) > 60


@needs_coreai
@pytest.mark.slow
@pytest.mark.parametrize("components", ["tiny_model"], indirect=True)
@torch.no_grad()
def test_functions_of_several_sizes_share_their_weights(components, tmp_path):
    wide, tall = (
        make(components, "VAEEncoder", width=width, height=192 - width) for width in (64, 128)
    )
    alone = written(wide, tmp_path)
    converter = Converter()
    converter.add(wide, wide.examples())
    converter.add(tall, tall.examples(), "tall")
    both = tmp_path / "Both.aimodel"
    save(converter.convert(wide), both, {})
    for part, model in ((wide, CoreAIModel(both)), (tall, CoreAIModel(both, "tall"))):
        (expected,) = part.reference(*part.examples())
        assert psnr(expected, run(part, model)[0]) > 50
    assert bytes_of(both) < 2 * bytes_of(alone)


def bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


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


def test_missing_packages_are_named(tmp_path, monkeypatch):
    for module in ("coreai_torch", "coreai.runtime"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(Unsupported, match="pip install 'stepwise-diffusion\\[coreai\\]'"):
        Converter()
    with pytest.raises(Unsupported, match="pip install 'stepwise-diffusion\\[coreai\\]'"):
        CoreAIModel(tmp_path / "Unet.aimodel")
