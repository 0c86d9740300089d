"""torchvision, which may have been built for another torch, and what imports it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.errors import Unsupported
from core.models import torchvision_import
from core.models.torchvision_import import mend_torchvision

IS_THERE = importlib.util.find_spec("torchvision") is not None

TAKES_IT_FOR_GRANTED = """
import torch

@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold):
    return dets

@torch.library.register_fake("torchvision::qnms")
def qnms(dets, scores, iou_threshold):
    return dets
"""


@pytest.fixture
def torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a torchvision of this source in the way of the import."""
    if IS_THERE:
        pytest.skip("a real torchvision is installed")

    def write(source: str) -> None:
        (tmp_path / "torchvision.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)

    monkeypatch.setattr(torchvision_import, "_declared", [])
    yield write
    sys.modules.pop("torchvision", None)


def test_where_it_is_not_installed_nothing_is_done(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    mend_torchvision()
    assert "torchvision" not in sys.modules


def test_operators_that_were_not_loaded_are_declared(torchvision):
    torchvision(TAKES_IT_FOR_GRANTED)
    mend_torchvision()
    assert "torchvision" in sys.modules
    (library,) = torchvision_import._declared
    assert isinstance(library, torch.library.Library)


def test_one_that_loads_is_left_alone(torchvision):
    torchvision("__version__ = '1'")
    mend_torchvision()
    assert torchvision_import._declared == []


@pytest.mark.parametrize(
    "source",
    [
        "raise ImportError('libjpeg.so.8: cannot open')",
        "raise RuntimeError('libjpeg.so.8: cannot open')",
        "raise RuntimeError('operator torchvision::nms does not exist: libjpeg.so.8: cannot open')",
    ],
)
def test_one_that_cannot_be_mended_is_told_in_one_sentence(torchvision, source):
    torchvision(source)
    with pytest.raises(Unsupported, match="does not go with torch") as caught:
        mend_torchvision()
    assert "libjpeg.so.8: cannot open" in str(caught.value)


@pytest.mark.skipif(not IS_THERE, reason="torchvision is not installed")
def test_the_engine_and_diffusers_go_with_the_one_that_is_installed(tmp_path):
    source = (
        "import sys\n"
        "from pathlib import Path\n"
        "from core.cli import torch_engine\n"
        "from core.paths import Profile\n"
        "from core.request import DeviceName\n"
        f"torch_engine(DeviceName.CPU, Profile(Path({str(tmp_path)!r})))\n"
        "from diffusers import StableDiffusionPipeline\n"
        "import spandrel\n"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
