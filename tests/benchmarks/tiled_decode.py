"""How much memory the VAE takes for a large picture, in tiles and whole, and what that changes.

``python -m tests.benchmarks.tiled_decode`` decodes a smooth picture of 2048 x 2048 pixels, which
the starter's VAE has encoded, each way in a fresh process, and prints one JSON object: the peak of
resident memory over what was held before, and the mean and the largest difference of the two
pictures, of 255 levels.
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
LATENTS = "latents.npy"
PIXELS = {True: "tiles.npy", False: "whole.npy"}


def smooth(height: int, width: int) -> Any:
    """Make a picture without edges: ``(1, 3, H, W) float32``, -1 to 1."""
    import numpy as np
    import torch

    y, x = np.mgrid[0:height, 0:width] / width
    pixels = np.stack([x, 0.7 * y + 0.2, 0.5 + 0.4 * np.sin(3 * x + 2 * y)])
    return torch.from_numpy(2 * pixels - 1).float()[None]


def guarded_vae(model: Path, cache: Path, *, tiled: bool) -> Any:
    """Load a model for its VAE."""
    import torch

    from core.models.fingerprint import Fingerprints
    from core.models.load import load
    from core.sampling.vae import Vae

    components = load(
        identify(model),
        device=torch.device("cpu"),
        dtype=torch.float32,
        fingerprints=Fingerprints.kept_in(cache),
    )
    return Vae(components, tiled=tiled)


def measure(model: Path, folder: Path, *, tiled: bool) -> dict[str, int]:
    """Decode once and keep the pixels."""
    import numpy as np
    import torch

    vae = guarded_vae(model, folder, tiled=tiled)
    latents = torch.from_numpy(np.load(folder / LATENTS))
    before = psutil.Process().memory_info().rss
    np.save(folder / PIXELS[tiled], vae.decode(latents))
    return {"before": before, "peak": peak_resident()}


def measured(model: Path, folder: Path, *, tiled: bool) -> int:
    """Decode in a fresh process and give the bytes that it took."""
    words = [sys.executable, "-m", "tests.benchmarks.tiled_decode", "--model", str(model)]
    words += ["--in", str(folder), *(["--tiled"] if tiled else [])]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    values: dict[str, int] = json.loads(done.stdout)
    return values["peak"] - values["before"]


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--in", dest="folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--tiled", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    model = resolve(options.model)
    if options.folder is not None:
        sys.stdout.write(json.dumps(measure(model, options.folder, tiled=options.tiled)))
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
    with TemporaryDirectory() as name:
        import numpy as np

        folder = Path(name)
        encoded = guarded_vae(model, folder, tiled=True).encode_signed(smooth(SIDE, SIDE))
        np.save(folder / LATENTS, (encoded.mean * encoded.scaling_factor).numpy())
        report: dict[str, Any] = {"model": options.model, "side": SIDE, "whole_measured": fits}
        report["tiled_bytes"] = measured(model, folder, tiled=True)
        report["whole_bytes"] = measured(model, folder, tiled=False) if fits else estimate
        report["tiled_over_whole"] = round(report["tiled_bytes"] / report["whole_bytes"], 3)
        if fits:
            one, other = (np.load(folder / file).astype(np.int16) for file in PIXELS.values())
            report["mean_difference"] = round(float(np.abs(one - other).mean()), 3)
            report["largest_difference"] = int(np.abs(one - other).max())
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
