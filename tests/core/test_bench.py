from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from core import bench
from core.request import DeviceName, PreviewDecoder

UNET = "unet/diffusion_pytorch_model.safetensors"


def test_a_report(tiny_model: Path, tmp_path: Path) -> None:
    report = bench.run(str(tiny_model), DeviceName.CPU, steps=4, cache=tmp_path)
    parts = report.text_share + report.unet_share + report.vae_share
    assert 0.5 < parts < 1
    assert set(report.previews) == {PreviewDecoder.LINEAR, PreviewDecoder.FULL}
    assert "64 x 64" in bench.format_report(report)
    assert json.loads(json.dumps(bench.to_json(report)))["steps"] == 4


def test_models_that_are_told_more_are_measured_too(
    tiny_model: Path, tiny_refiner: Path, tmp_path: Path
) -> None:
    inpainting = Path(shutil.copytree(tiny_model, tmp_path / "inpainting"))
    config, file = inpainting / "unet/config.json", inpainting / UNET
    config.write_text(json.dumps(json.loads(config.read_text()) | {"in_channels": 9}))
    weights = load_file(file)
    weights["conv_in.weight"] = torch.ones(8, 9, 3, 3)
    save_file(weights, file)
    for model in (inpainting, tiny_refiner):
        report = bench.run(str(model), DeviceName.CPU, steps=1, cache=tmp_path)
        assert 0 < report.unet_share < 1
