"""The app as a process: how it begins its engine, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """import sys
from desktop.__main__ import main
if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to another process")
@pytest.mark.parametrize("way", ["module", "script"])
def test_interrupt_in_the_terminal_ends_all_of_it_while_the_engine_is_loading(tmp_path, way):
    script = tmp_path / "stepwise"
    script.write_text(SCRIPT)
    program = ["-m", "desktop"] if way == "module" else [str(script)]
    profile = tmp_path / "profile"
    process = subprocess.Popen(
        [sys.executable, *program, "--profile", str(profile)],
        cwd=ROOT,
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    family = psutil.Process(process.pid)
    wait_until(lambda: any(has_torch(child) for child in family.children(recursive=True)))
    children = family.children(recursive=True)
    # As a terminal does: to the whole group, the engine's process included.
    os.killpg(process.pid, signal.SIGINT)
    _output, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert json.loads((profile / "settings.json").read_text())["version"] == 1


def has_torch(process: psutil.Process) -> bool:
    """Whether a process has begun to import torch, which the window's own never does."""
    try:
        return any("torch" in Path(region.path).name for region in process.memory_maps())
    except psutil.Error:
        return False


def wait_until(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
