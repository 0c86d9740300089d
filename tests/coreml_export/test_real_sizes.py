"""The UNets of Stable Diffusion 1.5 and SDXL as they are published, with random weights."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from coreml_export.interpreter.program import Program
from coreml_export.plan import PartPlan, disk_needed, memory_needed
from coreml_export.request import Compression
from tests.coreml_export.conftest import needs_coremltools

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * 3600), needs_coremltools]


@dataclass(frozen=True)
class Size:
    """A model of published size.

    Attributes:
        family: Its name among the published configurations.
        parameters: Of the UNet.
        side: Of the pictures, in pixels: SDXL's are small, the graph has the same operations.
        others: What the UNet takes beside latents, time and text, with the shapes.
        width: Of the text states.
    """

    family: str
    parameters: int
    side: int
    width: int
    others: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def part(self) -> PartPlan:
        return PartPlan("Unet", "unet", self.parameters, Compression(), ())

    @property
    def disk(self) -> int:
        """Bytes that the model in fp16, with the rest of it, and its export take."""
        return self.parameters * 3 + disk_needed([self.part])


SIZES = (
    Size("sd1", 859_520_964, side=512, width=768),
    Size(
        "sdxl",
        2_567_463_684,
        side=256,
        width=2048,
        others=(("time_ids", (2, 6)), ("text_embeds", (2, 1280))),
    ),
)


@pytest.fixture(params=SIZES, ids=lambda size: size.family)
def size(request, tmp_path):
    """A size that there is room for."""
    wanted = request.param
    if (free := psutil.virtual_memory().available) < memory_needed([wanted.part]):
        pytest.skip(f"takes {memory_needed([wanted.part]):.1e} bytes of memory, {free:.1e} free")
    if (free := shutil.disk_usage(tmp_path).free) < wanted.disk:
        pytest.skip(f"takes {wanted.disk:.1e} bytes on the disk, {free:.1e} are free")
    return wanted


@pytest.fixture
def model(size, tmp_path):
    """A model of that size, which goes when the test ends: it is gigabytes."""
    write = (
        "import sys, torch; from pathlib import Path; from tests.benchmarks.load import write_model"
        "; write_model(Path(sys.argv[1]), sys.argv[2], torch.float16)"
    )
    folder = tmp_path / "model"
    # In a process of its own, for the weights to have left the memory when the export begins.
    subprocess.run([sys.executable, "-c", write, folder, size.family], check=True)
    yield folder
    shutil.rmtree(tmp_path)


def export(*words):
    """Export in a process of its own; give its events and its peak of memory in bytes."""
    command = [sys.executable, "-m", "coreml_export", *map(str, words), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        events = [json.loads(line) for line in process.stdout]
        # Of the process and of those that it waited for, whichever was the largest.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return events, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_the_unet_is_converted_within_the_memory_that_was_said(size, model, tmp_path, capsys):
    out = tmp_path / "out"
    side = ["--width", size.side, "--height", size.side]
    began = time.monotonic()
    events, peak = export("--model", model, "--out", out, "--parts", "Unet", "--no-check", *side)
    seconds = time.monotonic() - began
    needs = next(event for event in events if event["event"] == "needs")
    made = next(event for event in events if event["event"] == "part")
    with capsys.disabled():
        sys.stdout.write(
            f"\n{size.family}: {seconds:.0f} s, peak {peak / 1e9:.2f} GB, "
            f"{peak / (4 * size.parameters):.2f} of the weights in fp32 "
            f"(said {needs['memory'] / 1e9:.2f} GB), package {made['bytes'] / 1e9:.3f} GB\n"
        )
    assert peak <= needs["memory"] == memory_needed([size.part])
    # Half precision, and the graph.
    assert 2 * size.parameters < made["bytes"] < 2.01 * size.parameters
    latents = (2, 4, size.side // 8, size.side // 8)
    there = Program.read(Path(made["path"]))
    assert {one.name: one.shape for one in there.inputs} == {
        "sample": latents,
        "timestep": (2,),
        "encoder_hidden_states": (2, size.width, 1, 77),
        **dict(size.others),
    }
    assert {one.name: one.shape for one in there.outputs} == {"noise_pred": latents}
