"""What packing weights costs: the starter exported in each way, and a picture by each export.

    python -m tests.benchmarks.packing [none int8 w8a8 palette6 palette4 mixed:6 ...]

Prints the size of the text encoder and the UNet, how close the UNet is to torch, and how close a
picture of twenty steps through the interpreted packages is to the one that torch makes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from core.engine import TorchEngine
from core.request import DeviceName
from tests.fixtures.converted import decibels, export_starter, interpreted, picture


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    ways = ["none", "int8", "w8a8", "palette6", "palette4"]
    parser.add_argument("compression", nargs="*", default=ways)
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        place = Path(scratch)
        engine = TorchEngine(DeviceName.CPU, cache=place / "cache", open_part=interpreted)
        expected = picture(engine, "starter")
        for compression in options.compression:
            # What is not packed stays as the first export wrote it.
            manifest = export_starter(place / "starter", compression)
            parts = {part.name: part for part in manifest.parts}
            found = decibels(picture(engine, place / "starter"), expected)
            sizes = [f"{parts[name].bytes / 1e6:.2f} MB" for name in ("TextEncoder", "Unet")]
            unet, text = (parts[name].psnr["fp32"] for name in ("Unet", "TextEncoder"))
            sys.stdout.write(
                f"{compression:10} text encoder {sizes[0]}, {text:.1f} dB; "
                f"UNet {sizes[1]}, {unet:.1f} dB; picture {found:.1f} dB\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
