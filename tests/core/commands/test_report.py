"""The progress bar where batches grow smaller in the middle of a run."""

from __future__ import annotations

from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

from core.commands.grid_report import GridProgressReport
from core.commands.report import ProgressReport, as_json
from core.events import Event, ImageReady, MemoryEstimate, Saved, Step
from core.grid import batches_of, make_grid
from core.request import MemoryMode, TextToImage


def step(index: int, *pictures: int) -> Step:
    return Step(index=index, total=2, pictures=pictures, total_pictures=4, seconds=0.1)


def saved(picture: int) -> Saved:
    image = ImageReady(
        request=TextToImage(prompts=("a",), count=4),
        picture=picture,
        seed=picture,
        pixels=np.zeros((8, 8, 3), np.uint8),
        seconds=0.1,
        model_sha256="ab" * 32,
        device="cpu",
    )
    return Saved(path=Path("a.png"), image=image)


def test_the_bar_reaches_its_end_after_a_lack_of_memory() -> None:
    report = ProgressReport()
    # Two together; two more that run out of memory after a step, and are made one by one.
    events: list[Event] = [step(1, 0, 1), step(2, 0, 1), saved(0), saved(1), step(1, 2, 3)]
    for event in events:
        report.show(event)
    assert report._bar is not None
    assert (report._bar.n, report._bar.total) == (3, 4)
    for event in (step(1, 2), step(2, 2), saved(2), step(1, 3), step(2, 3), saved(3)):
        report.show(event)
    assert (report._bar.n, report._bar.total) == (6, 6)
    report.close()


@pytest.mark.parametrize("kind", ["pictures", "grid"])
def test_a_bar_that_is_switched_off_stands_in_no_ones_way(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # tqdm reads TQDM_DISABLE once, when it is imported, into its defaults.
    monkeypatch.setattr(tqdm, "__init__", partialmethod(tqdm.__init__, disable=True))
    grid = make_grid(None, None, {}, lambda _: TextToImage(prompts=("a",)))
    (batch,) = batches_of(grid)
    report = GridProgressReport(grid) if kind == "grid" else ProgressReport()
    for event in (step(1, 0), step(2, 0)):
        if isinstance(report, GridProgressReport):
            report.show(batch, event)
        else:
            report.show(event)
    report.close()


def test_a_program_is_told_what_a_run_will_take() -> None:
    event = MemoryEstimate(needed=5, free=8, mode=MemoryMode.LOW)
    assert as_json(event) == {"event": "memory", "needed": 5, "free": 8, "mode": "low"}


def test_a_person_is_told_what_a_run_will_take(capsys: pytest.CaptureFixture[str]) -> None:
    event = MemoryEstimate(needed=42 * 10**6, free=21_600_000_000, mode=MemoryMode.FULL)
    ProgressReport().show(event)
    told = "Needs about 42.0 MB of 21.6 GB of free memory (memory full).\n"
    assert capsys.readouterr().err == told
