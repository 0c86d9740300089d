"""How much memory the VAE takes for a large picture, in tiles and whole.

``python -m tests.benchmarks.tiled_decode`` decodes random latents of 2048 x 2048 pixels with the
starter's VAE, each way in a fresh process, and prints one JSON object: the peak of resident memory
over what was held before, and the mean difference of the two pictures, of 255 levels. The latents
are a smooth field of noise and no picture's.
``--model`` takes another model; where the whole does not fit, its size is the estimate that the
engine goes by (``whole_measured`` tells which).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from core.bench_memory import peak_resident
from core.models.catalog import resolve
from core.models.identify import identify
from core.request import MemoryMode, Precision, TextToImage, Tiling
from core.sampling.memory import vae_bytes

SIDE = 2048


def measure(model: Path, out: Path, *, tiled: bool) -> dict[str, int]:
    """Decode once and keep the pixels."""
    import numpy as np
    import torch

    from core.models.fingerprint import Fingerprints
    from core.models.load import load
    from core.sampling.vae import Vae

    identity = identify(model)
    components = load(
        identity,
        device=torch.device("cpu"),
        dtype=torch.float32,
        fingerprints=Fingerprints.kept_in(out.parent),
    )
    side = SIDE // identity.vae_scale
    coarse = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    latents = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
    before = psutil.Process().memory_info().rss
    pixels = Vae(components, tiled=tiled).decode(latents)
    np.save(out, pixels)
    return {"before": before, "peak": peak_resident()}


def measured(model: Path, out: Path, *, tiled: bool) -> int:
    """Decode in a fresh process and give the bytes that it took."""
    words = [sys.executable, "-m", "tests.benchmarks.tiled_decode", "--model", str(model)]
    words += ["--into", str(out), *(["--tiled"] if tiled else [])]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    values: dict[str, int] = json.loads(done.stdout)
    return values["peak"] - values["before"]


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--tiled", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    model = resolve(options.model)
    if options.into is not None:
        sys.stdout.write(json.dumps(measure(model, options.into, tiled=options.tiled)))
        return
    request = TextToImage(
        prompts=("",),
        width=SIDE,
        height=SIDE,
        precision=Precision.FP32,
        memory=MemoryMode.FULL,
        vae_tiling=Tiling.OFF,
    )
    estimate = vae_bytes(identify(model), request)
    fits = estimate < psutil.virtual_memory().available * 0.8
    with TemporaryDirectory() as folder:
        tiles, whole = Path(folder) / "tiles.npy", Path(folder) / "whole.npy"
        report: dict[str, Any] = {"model": options.model, "side": SIDE, "whole_measured": fits}
        report["tiled_bytes"] = measured(model, tiles, tiled=True)
        report["whole_bytes"] = measured(model, whole, tiled=False) if fits else estimate
        report["tiled_over_whole"] = round(report["tiled_bytes"] / report["whole_bytes"], 3)
        if fits:
            import numpy as np

            one, other = (np.load(path).astype(np.int16) for path in (tiles, whole))
            report["mean_difference"] = round(float(np.abs(one - other).mean()), 3)
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
