from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.enlarger import finished
from core.events import Finished, ImageReady, Notice, Step
from core.models.upscaler import load_upscaler
from core.request import Upscale
from tests.fixtures.upscalers import write_esrgan

pytest.importorskip("spandrel")


def test_nothing_comes_between_the_last_tile_and_the_pictures(
    tmp_path: Path, start_picture: Path
) -> None:
    path = write_esrgan(tmp_path / "2x-tiny.pth")
    device = torch.device("cpu")
    upscaler = load_upscaler(path, "0" * 64, device)
    upscaler.fell_back = True
    request = Upscale(
        prompts=("",),
        init_image=str(start_picture),
        upscaler=str(path),
        strength=0.0,
        width=32,
        height=32,
        count=2,
    )
    events = list(finished(request, np.zeros((16, 16, 3), np.uint8), upscaler, device, None))
    kinds = [type(event) for event in events]
    assert kinds == [Step, ImageReady, ImageReady, Notice, Finished]
    assert [event.left for event in events if isinstance(event, ImageReady)] == [1, 0]
