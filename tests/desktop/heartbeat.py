"""Measures how long the window's thread is kept from answering.

``python -m tests.desktop.heartbeat MODEL [--in-thread]`` opens the window, warms the engine up and
makes pictures, and prints the gaps between beats of a 5 ms timer as milliseconds over that period.
``--in-thread`` runs the engine in the window's own process, to show what the other one saves.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QElapsedTimer, QEventLoop, QObject, Qt, QTimer
from PySide6.QtWidgets import QApplication

from core.events import Engine
from core.models.library import Library
from core.paths import Profile
from desktop.app import make_engine
from desktop.jobs import JobQueue
from desktop.library_worker import Downloads
from desktop.settings import SettingsStore
from desktop.shelf import Shelf
from desktop.theme import Theme, ThemeMode
from desktop.widgets.main_window import MainWindow
from desktop.worker import EngineWorker

BEAT_MS = 5


class Heartbeat(QObject):
    """Notes how much later than due each beat comes."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = QElapsedTimer()
        self._timer = QTimer(self, interval=BEAT_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._late: list[float] = []

    def start(self) -> None:
        self._late.clear()
        self._clock.start()
        self._timer.start()

    def stop(self) -> dict[str, float]:
        self._timer.stop()
        late = sorted(self._late)
        return {
            "beats": len(late),
            "p50_ms": late[len(late) // 2],
            "p99_ms": late[int(0.99 * len(late))],
            "max_ms": late[-1],
        }

    def _beat(self) -> None:
        gap = self._clock.nsecsElapsed() / 1e6
        self._clock.restart()
        self._late.append(round(max(gap - BEAT_MS, 0), 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--in-thread", action="store_true")
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--side", type=int, default=0, help="of the pictures, in pixels")
    options = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


def measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    app = QApplication([])
    profile = Profile(root=folder)
    child = make_engine(profile)
    worker = EngineWorker(partial(_in_thread, profile) if options.in_thread else lambda: child)
    jobs = JobQueue(worker, profile.pictures)
    shelf = Shelf(Library(profile), Downloads(profile))
    store = SettingsStore(profile.settings_file)
    window = MainWindow(profile, store, Theme(app, ThemeMode.DARK), jobs, shelf)
    window.show()
    worker.start()
    shelf.start()
    spin(lambda: False, 0.5)
    beat, figures = Heartbeat(), {}
    warmed: list[object] = []
    worker.job_ended.connect(lambda _number, outcome: warmed.append(outcome))
    began = time.perf_counter()
    beat.start()
    worker.warm_up(options.model)
    spin(lambda: bool(warmed), 300)
    figures["warm_up"] = beat.stop() | {"seconds": round(time.perf_counter() - began, 2)}
    window.panel.model.set_model(options.model)
    values = dataclasses.replace(window.panel.values(), prompt="a red circle", count=1)
    if options.side:
        values = dataclasses.replace(values, width=options.side, height=options.side)
    window.panel.set_values(values)
    for _ in range(options.pictures):
        window.page.generate()
    beat.start()
    began = time.perf_counter()
    spin(lambda: jobs.snapshot.running is None, 300)
    figures["generating"] = beat.stop() | {"seconds": round(time.perf_counter() - began, 2)}
    figures["jobs"] = [str(job.state) for job in jobs.snapshot.jobs]
    figures["outcome"] = str(warmed[0])
    figures["said"] = window.page.results.banner.message.text()
    window.close()
    worker.close()
    worker.wait()
    child.close()
    shelf.close()
    return figures


def _in_thread(profile: Profile) -> Engine:
    from core.engine import TorchEngine

    return TorchEngine(cache=profile.cache)


def spin(condition: Callable[[], bool], seconds: float) -> None:
    """Run the window's event loop as an app does, until something holds."""
    loop, poll = QEventLoop(), QTimer(interval=20)
    deadline = time.monotonic() + seconds
    poll.timeout.connect(lambda: (condition() or time.monotonic() > deadline) and loop.quit())
    poll.start()
    loop.exec()


if __name__ == "__main__":
    main()
