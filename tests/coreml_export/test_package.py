import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from core.coreml_folder import PartName, Tensor
from coreml_export.events import Stage
from coreml_export.interpreter.program import Program
from coreml_export.interpreter.psnr import psnr
from coreml_export.package import Way, write
from coreml_export.parts import Part
from coreml_export.plan import PartPlan
from coreml_export.request import Compression
from tests.coreml_export.conftest import needs_coremltools

pytestmark = [needs_coremltools, pytest.mark.usefixtures("collected")]

SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "clip_sample": False,
}


class Net(nn.Module):
    """Takes what a UNet takes, and does a little of what one does."""

    def __init__(self):
        super().__init__()
        self.conv_in = nn.Conv2d(4, 32, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(32, 32, 3, padding=1) for _ in range(3))
        self.text = nn.Linear(16, 32)
        self.time = nn.Linear(32, 32)
        self.conv_out = nn.Conv2d(32, 4, 3, padding=1)
        self.register_buffer("frequencies", torch.exp(-torch.arange(16) * math.log(1e4) / 16))

    def forward(self, sample, timestep, text):
        angles = timestep[:, None] * self.frequencies
        told = self.time(torch.cat([angles.sin(), angles.cos()], dim=-1))
        told = told + self.text(text.squeeze(2).transpose(1, 2)).mean(dim=1)
        hidden = self.conv_in(sample) + told[:, :, None, None]
        for block in self.blocks:
            hidden = hidden + F.silu(block(hidden))
        return self.conv_out(hidden)


@pytest.fixture(scope="module")
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net().eval()


@pytest.fixture(scope="module")
def part(net):
    def of(height=8, width=8):
        numbers = torch.Generator().manual_seed(1)
        shapes = {
            "sample": (2, 4, height, width),
            "timestep": (2,),
            "encoder_hidden_states": (2, 16, 1, 77),
        }
        examples = (
            torch.randn(shapes["sample"], generator=numbers),
            torch.full((2,), 951.0),
            torch.randn(shapes["encoder_hidden_states"], generator=numbers),
        )
        return Part(
            name=PartName.UNET,
            module=net,
            inputs=tuple(
                Tensor(name, shape, "float32" if name == "timestep" else "float16")
                for name, shape in shapes.items()
            ),
            outputs=(Tensor("noise_pred", shapes["sample"], "float32"),),
            examples=lambda: examples,
            reference=lambda *inputs: (net(*inputs),),
        )

    return of


@pytest.fixture
def written(part, tmp_path):
    def make(compression="none", *, sizes=((64, 64),), target="macOS14", chunk=False):
        packed = Compression.parse(compression)
        stages = [Stage.LOAD, Stage.TRACE, Stage.CONVERT, Stage.CHECK]
        if compression != "none":
            stages.append(Stage.COMPRESS)
        if compression.startswith(("mixed", "w8a8")):
            stages.append(Stage.MEASURE)
        way = Way(
            plan=PartPlan(
                name=PartName.UNET,
                component="unet",
                parameters=40_000,
                compression=packed,
                stages=tuple(stages),
            ),
            sizes=sizes,
            target=target,
            metadata={"author": "us", "license": "mit", "mine": "yes"},
            chunk=chunk,
            check=True,
            scheduler_config=SCHEDULE,
            release=lambda: None,
        )
        parts = (part(height // 8, width // 8) for width, height in sizes)
        steps = write(parts, tmp_path, way)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                return done.value

    return make


def run(path, part, function=None):
    names = [one.name for one in part.inputs]
    inputs = dict(zip(names, part.examples(), strict=True))
    return Program.read(path, function).run(inputs)["noise_pred"]


def bits_of(path):
    """Count the bits a weight of those that are worth packing."""
    large = [one for one in Program.read(path).constants() if math.prod(one.shape) >= 2048]
    return 8 * sum(one.stored_bytes for one in large) / sum(math.prod(one.shape) for one in large)


@pytest.mark.parametrize(
    ("compression", "bits", "least"),
    [
        ("none", 16, 70),
        ("int8", 8.2, 35),
        pytest.param("palette6", 6.3, 25, marks=pytest.mark.slow),
        ("palette4", 4.2, 15),
    ],
)
def test_packed_weights_take_fewer_bits_and_mean_about_the_same(
    written, part, compression, bits, least
):
    (made,) = written(compression)
    assert bits_of(made.path) == pytest.approx(bits, rel=0.05)
    figures = made.comparison.psnr
    assert figures["fp32"] > least
    assert ("unpacked" in figures) == (compression != "none")
    reference = part().reference(*part().examples())[0].detach()
    assert psnr(reference, run(made.path, part())) == pytest.approx(figures["fp32"], abs=0.1)
    metadata = Program.read(made.path).metadata
    assert metadata["mine"] == "yes"


def test_mixed_bits_keep_to_the_size_that_was_asked_for(written):
    (made,) = written("mixed:5")
    assert 4.1 < bits_of(made.path) < 5.2
    assert {one.operation for one in Program.read(made.path).constants()} > {"const"}


def test_mixed_bits_reach_the_closeness_that_was_asked_for(written):
    (made,) = written("mixed:35db")
    assert 34 < made.comparison.psnr["unpacked"] < 45


def test_layers_are_given_eight_bits(written):
    (made,) = written("w8a8")
    assert bits_of(made.path) == pytest.approx(8.2, rel=0.05)
    program = Program.read(made.path)
    # conv_in, three blocks and conv_out; text and time.
    assert (program.op_types["conv"], program.op_types["linear"]) == (5, 2)
    assert program.op_types["quantize"] == program.op_types["dequantize"] == 7
    assert 25 < made.comparison.psnr["unpacked"] < 60


def test_sizes_are_functions_of_one_package_that_share_their_weights(written, part):
    (made,) = written(sizes=((64, 64), (64, 128)), target="macOS15")
    wide, tall = part(), part(height=16)
    assert torch.equal(run(made.path, wide), run(made.path, wide, "size_64x64"))
    for one, name in ((wide, "size_64x64"), (tall, "size_64x128")):
        reference = one.reference(*one.examples())[0].detach()
        assert psnr(reference, run(made.path, one, name)) > 70
    weights = next(made.path.rglob("weight.bin")).stat().st_size
    count = sum(weight.numel() for weight in part().module.parameters())
    assert weights < 1.3 * 2 * count
    metadata = Program.read(made.path).metadata
    assert metadata["mine"] == "yes"


def test_halves_run_one_after_the_other_as_the_whole_does(written, part):
    first, second = written(chunk=True)
    assert (first.name, second.name) == ("UnetChunk1", "UnetChunk2")
    whole = part()
    inputs = dict(zip([one.name for one in whole.inputs], whole.examples(), strict=True))
    between = inputs | Program.read(first.path).run(inputs)
    wanted = {one.name for one in second.inputs}
    assert wanted <= between.keys()
    found = Program.read(second.path).run({name: between[name] for name in wanted})
    reference = whole.reference(*whole.examples())[0].detach()
    assert psnr(reference, found["noise_pred"]) > 70
    assert {one.name for one in second.outputs} == {"noise_pred"}
    assert Program.read(second.path).metadata["mine"] == "yes"
    sizes = [sum(f.stat().st_size for f in one.path.rglob("*.bin")) for one in (first, second)]
    assert 0.2 < sizes[0] / sum(sizes) < 0.8


def test_timestep_keeps_its_digits(written, part):
    (made,) = written()
    reference = part().reference(*part().examples())[0].detach()
    assert psnr(reference, run(made.path, part())) > 70


def test_variance_of_the_vae_does_not_overflow_in_half_precision(written, part, tmp_path, net):
    from coreml_export.convert import convert, trace
    from coreml_export.interpreter.program import Arithmetic

    class Norm(nn.Module):
        def forward(self, z):
            return F.group_norm(z * 1000, 2)

    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    decoder = replace(
        part(),
        name=PartName.VAE_DECODER,
        module=Norm(),
        inputs=(Tensor("z", (1, 4, 8, 8), "float16"),),
        outputs=(Tensor("image", (1, 4, 8, 8), "float32"),),
    )
    model = convert(trace(decoder, (z,)), decoder, target="macOS13", metadata={})
    model.save(str(tmp_path / "norm.mlpackage"))
    program = Program.read(tmp_path / "norm.mlpackage")
    found = program.run({"z": z}, arithmetic=Arithmetic.FP16)["image"]
    assert psnr(F.group_norm(z * 1000, 2), found) > 50
