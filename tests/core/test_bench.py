from __future__ import annotations

import json
from pathlib import Path

from core import bench
from core.request import DeviceName, PreviewDecoder


def test_a_report(tiny_model: Path, tmp_path: Path) -> None:
    report = bench.run(str(tiny_model), DeviceName.CPU, steps=4, cache=tmp_path)
    parts = report.text_share + report.unet_share + report.vae_share
    assert 0.5 < parts < 1
    assert set(report.previews) == {PreviewDecoder.LINEAR, PreviewDecoder.FULL}
    assert "64 x 64" in bench.format_report(report)
    assert json.loads(json.dumps(bench.to_json(report)))["steps"] == 4
