from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from core import bench_memory, cli
from core.errors import OutOfMemory, Unsupported
from core.request import DeviceName, MemoryMode, TextToImage
from core.request_json import to_json


def test_the_peak_is_that_of_this_process() -> None:
    before = bench_memory.peak_resident()
    block = np.ones(before // 8, np.float64)  # As much as there ever was, on top of what is.
    assert bench_memory.peak_resident() > before
    peak = bench_memory.peak_resident()
    del block
    assert bench_memory.peak_resident() > 0.99 * peak  # The system counts in lumps.


def test_what_a_run_takes_is_told(tiny_model: Path, tmp_path: Path) -> None:
    request = TextToImage(model=str(tiny_model), prompts=("a",), steps=1, width=64, height=64)
    words = {"request": to_json(request), "device": "cpu", "cache": str(tmp_path)}
    found = bench_memory._measure(words)
    assert 0 < found["before"] <= found["peak"]
    assert found["device"] == "cpu"


def test_a_report_for_a_person() -> None:
    report = bench_memory.MemoryReport(
        model="sd",
        device="cpu",
        width=512,
        height=512,
        steps=2,
        before=10**9,
        peaks={MemoryMode.FULL: 5 * 10**9, MemoryMode.LOW: 4 * 10**9},
        shares={MemoryMode.FULL: 1.0, MemoryMode.LOW: 0.8},
        seconds={MemoryMode.FULL: 1.0, MemoryMode.LOW: 2.0},
    )
    lines = bench_memory.format_report(report).splitlines()
    assert lines[-1] == "memory low        4.00 GB more, 0.80 of full, 2.0 s"
    assert json.loads(json.dumps(bench_memory.to_plain(report)))["peaks"]["low"] == 4 * 10**9


@pytest.mark.slow
def test_a_report_of_every_mode(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(tiny_model), "--device", "cpu", "--profile", str(tmp_path), "--json"]
    assert cli.main(["bench", "--memory", *words]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["peaks"]) == {"full", "low"}
    assert all(peak > 0 for peak in report["peaks"].values())
    assert report["shares"]["full"] == 1
    assert (report["steps"], report["device"]) == (2, "cpu")


def test_what_cannot_be_measured_is_refused_before_it_is_tried(
    tiny_model: Path, tiny_refiner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(Unsupported, match=r"^The peak of an Apple GPU's memory"):
        bench_memory.run(str(tiny_model), DeviceName.MPS, cache=tmp_path)
    with pytest.raises(Unsupported, match="works over a start picture"):
        bench_memory.run(str(tiny_refiner), DeviceName.CPU, cache=tmp_path)


def test_a_run_that_the_system_ends_is_one_sentence(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: subprocess.CompletedProcess[str] = subprocess.CompletedProcess([], -9, "", "")
    monkeypatch.setattr("core.bench_memory.subprocess.run", lambda *_, **__: killed)
    with pytest.raises(OutOfMemory, match="memory full could not be made: exit code -9"):
        bench_memory.run(str(tiny_model), DeviceName.CPU, cache=tmp_path)
