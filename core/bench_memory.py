"""How much memory a picture takes in each mode: peaks of fresh processes.

Imports no torch by itself. A process's peak is that of its resident memory, the weights that are
mapped from their files included; on CUDA it is that of the device's allocator.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.bench import PROMPT
from core.errors import CoreError, OutOfMemory, Unsupported
from core.events import Finished, PreviewSettings
from core.models.catalog import card, resolve
from core.models.identify import identify
from core.paths import Profile
from core.request import DeviceName, MemoryMode, PreviewDecoder, TextToImage
from core.request_json import from_json, to_json
from core.sampling.served import check_served

MODES = (MemoryMode.FULL, MemoryMode.LOW)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryReport:
    """What one picture took.

    Attributes:
        model: Its name.
        device: What computed it.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        steps: Of the picture.
        before: Bytes that the process held before it loaded the model, the libraries' own.
        peaks: Bytes that it held at most beyond those, by mode.
        shares: The same as shares of the full mode's.
        seconds: From loading to the end, by mode.
    """

    model: str
    device: str
    width: int
    height: int
    steps: int
    before: int
    peaks: dict[MemoryMode, int]
    shares: dict[MemoryMode, float]
    seconds: dict[MemoryMode, float]


def run(
    model: str, device: DeviceName, *, steps: int = 2, cache: Path | None = None
) -> MemoryReport:
    """Measure one guided picture of a model at its native size in every mode.

    Args:
        model: A name or the path of a folder or file.
        device: Where to compute.
        steps: Of the picture; the peak does not depend on their number.
        cache: Folder of what can be computed again; None for the user's own.

    Raises:
        OutOfMemory: If a run did not get to its end.
        Unsupported: If the device's memory cannot be measured, or the model makes no picture from
            words alone.
        CoreError: If the model or the device is not there.
    """
    from core.device import resolve_device

    if resolve_device(device).type == "mps":
        raise Unsupported("The peak of an Apple GPU's memory is not told; choose device cpu.")
    model_card = card(model)
    request = TextToImage(
        model=str(resolve(model)),
        prompts=(PROMPT,),
        steps=steps,
        guidance_scale=max(model_card.guidance_scale, 2.0),
        scheduler=model_card.scheduler,
        width=model_card.width,
        height=model_card.height,
        batch_size=1,
    )
    check_served(request, identify(resolve(model)))
    cache = Profile.default().cache if cache is None else cache
    found = {mode: _measured(request, mode, device, cache) for mode in MODES}
    peaks = {mode: values["peak"] - values["before"] for mode, values in found.items()}
    return MemoryReport(
        model=model,
        device=found[MemoryMode.FULL]["device"],
        width=request.width,
        height=request.height,
        steps=steps,
        before=found[MemoryMode.FULL]["before"],
        peaks=peaks,
        shares={mode: peak / peaks[MemoryMode.FULL] for mode, peak in peaks.items()},
        seconds={mode: values["seconds"] for mode, values in found.items()},
    )


def format_report(report: MemoryReport) -> str:
    """Write the report as lines for a person."""
    lines = [
        f"{report.model}, {report.width} x {report.height}, {report.steps} steps, {report.device}",
        f"the libraries   {report.before / 1e9:6.2f} GB",
    ]
    lines += [
        f"memory {mode:<8} {report.peaks[mode] / 1e9:6.2f} GB more, "
        f"{report.shares[mode]:.2f} of full, {report.seconds[mode]:.1f} s"
        for mode in report.peaks
    ]
    return "\n".join(lines)


def to_plain(report: MemoryReport) -> dict[str, Any]:
    """Give the report as plain JSON values."""
    return dataclasses.asdict(report)


def peak_resident() -> int:
    """Bytes of memory that this process held at most at one time."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike the system's own count, this one begins anew with each program.
        lines = (line.split() for line in status.read_text().splitlines())
        return next(int(words[1]) * 1024 for words in lines if words[0] == "VmHWM:")
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _measured(
    request: TextToImage, mode: MemoryMode, device: DeviceName, cache: Path
) -> dict[str, Any]:
    """Make the picture in a process of its own."""
    words = {
        "request": to_json(dataclasses.replace(request, memory=mode)),
        "device": device.value,
        "cache": str(cache),
    }
    done = subprocess.run(
        [sys.executable, "-m", "core.bench_memory", json.dumps(words)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        raise OutOfMemory(f"The picture in memory {mode} could not be made: {said}")
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def _measure(words: dict[str, Any]) -> dict[str, Any]:
    """Make the picture here and tell what it took."""
    import torch

    from core.device import resolve_device
    from core.models.torchvision_import import mend_torchvision

    place = resolve_device(DeviceName(words["device"]))
    mend_torchvision()
    from core.engine import TorchEngine

    engine = TorchEngine(DeviceName(words["device"]), cache=Path(words["cache"]))
    before = peak_resident() if place.type == "cpu" else 0
    off = PreviewSettings(decoder=PreviewDecoder.OFF)
    seconds = 0.0
    for event in engine.generate(from_json(words["request"]), preview=off):
        if isinstance(event, Finished):
            seconds = event.seconds
    on_cpu = place.type == "cpu"
    peak = peak_resident() if on_cpu else torch.cuda.max_memory_allocated(place)
    return {"before": before, "peak": peak, "seconds": seconds, "device": place.type}


if __name__ == "__main__":
    try:
        sys.stdout.write(json.dumps(_measure(json.loads(sys.argv[1]))))
    except CoreError as error:
        sys.exit(str(error))
