import pytest
import torch
from torch import nn

from core.coreml_folder import PartName, Tensor
from coreml_export.activations import quantize_activations, ranges_of
from coreml_export.convert import convert, quietly, trace
from coreml_export.interpreter.program import Program
from coreml_export.parts import Part
from tests.coreml_export.conftest import needs_coremltools

pytestmark = [needs_coremltools, pytest.mark.usefixtures("collected")]


class Two(nn.Module):
    """Two layers of one input, and one that is given neither as it was."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
        self.last = nn.Linear(8, 4, bias=False)

    def forward(self, sample):
        return self.last(torch.relu(self.left(sample)) + self.right(sample))


def held(values, largest):
    """Round as is written down: 255 even steps, as many on either side of zero."""
    step = largest / 127
    return (values / step).round().clamp(-128, 127) * step


@torch.no_grad()
def test_what_layers_are_given_is_rounded_by_the_largest_that_was_met(tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Two().eval()
        samples = [torch.randn(3, 8), 2 * torch.randn(3, 8)]
    part = Part(
        name=PartName.UNET,
        module=net,
        inputs=(Tensor("sample", (3, 8), "float32"),),
        outputs=(Tensor("noise_pred", (3, 4), "float32"),),
        examples=lambda: (samples[0],),
        reference=net,
    )
    model = convert(trace(part, (samples[0],)), part, target="macOS14", metadata={})
    plain, rounded = tmp_path / "plain.mlpackage", tmp_path / "rounded.mlpackage"
    with quietly():
        model.save(str(plain))
    ranges = ranges_of(plain, [{"sample": sample} for sample in samples])
    both = torch.cat(samples)
    assert ranges["sample"] == (float(both.min()), float(both.max()))
    with quietly():
        quantize_activations(model, ranges).save(str(rounded))
    program = Program.read(rounded)
    # The first two layers share theirs.
    assert program.op_types["quantize"] == 2
    between = torch.relu(net.left(both)) + net.right(both)
    largest, largest_between = both.abs().max(), between.abs().max()
    for sample in (samples[0], 3 * samples[1]):
        given = held(sample, largest)
        given = held(torch.relu(net.left(given)) + net.right(given), largest_between)
        found = program.run({"sample": sample})["noise_pred"]
        step = largest_between / 127
        # A number on the edge of two steps may go to either.
        assert (found - net.last(given)).abs().max() < 1.5 * step
        assert (found - net.last(given)).abs().mean() < 0.1 * step
