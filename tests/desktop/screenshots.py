"""Takes the window's pictures: ``python -m tests.desktop.screenshots FOLDER [NAME ...]``.

Runs without a display. The engine is the scripted one unless ``--real`` is given.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QElapsedTimer, QEventLoop
from PySide6.QtWidgets import QApplication

from core.errors import OutOfMemory
from core.events import Engine
from core.paths import Profile
from desktop.app import make_engine
from desktop.jobs import JobQueue
from desktop.settings import CreateSettings, SettingsStore
from desktop.theme import Theme, ThemeMode
from desktop.widgets.main_window import MainWindow
from desktop.worker import EngineWorker
from tests.desktop.fake_engine import FakeEngine

PROMPT = "a blue star on a yellow background"


class Scene:
    """A window with an engine of its own, in a profile that is thrown away."""

    def __init__(self, theme: ThemeMode, width: int, height: int, *, real: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory()
        profile = Profile(root=Path(self._folder.name))
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        self.store = SettingsStore(profile.settings_file)
        self.engine = FakeEngine()
        self.child = make_engine(profile)
        shown: Engine = self.child if real else self.engine
        self.worker = EngineWorker(lambda: shown)
        self.jobs = JobQueue(self.worker, profile.pictures)
        self.window = MainWindow(profile, self.store, Theme(app, theme), self.jobs)
        self.window.page.results.banner.hide()
        self.window.resize(width, height)
        self.window.show()
        self.worker.start()

    def set(self, **changes: object) -> None:
        values = dataclasses.replace(self.window.panel.values(), **changes)
        self.window.panel.set_values(values)
        self.window.page.results.banner.hide()

    def run(self, until: Callable[[], bool], seconds: float = 120) -> None:
        wait_until(until, seconds)

    def finish(self) -> None:
        self.run(lambda: self.jobs.snapshot.running is None and not self.jobs.snapshot.waiting)

    def grab(self, path: Path) -> None:
        wait_until(lambda: False, 0.3)
        self.window.grab().save(str(path))
        sys.stdout.write(f"{path}\n")

    def close(self) -> None:
        self.engine.gate.set()
        self.window.close()
        self.worker.close()
        self.worker.wait()
        self.child.close()
        self.window.deleteLater()
        self._folder.cleanup()


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    clock = QElapsedTimer()
    clock.start()
    while not condition() and clock.elapsed() < 1000 * seconds:
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)


def empty(scene: Scene) -> None:
    scene.set(width=512, height=512)


def running(scene: Scene) -> None:
    results(scene)
    scene.set(prompt=PROMPT, count=1, width=512, height=512)
    run_to_the_middle(scene)


def run_to_the_middle(scene: Scene) -> None:
    """Leave a run after 12 of its 20 steps."""
    scene.engine.stop_at = 12
    scene.engine.gate.clear()
    scene.engine.step_seconds = 0.2
    scene.window.page.generate()
    bar = scene.window.page.results.run_bar
    scene.run(lambda: "Step 12" in bar.text.accessibleName())


def four(scene: Scene) -> None:
    results(scene)
    scene.set(prompt="four discs of four colours", count=4)
    run_to_the_middle(scene)
    scene.window.page.generate()
    scene.window.page.generate()


def results(scene: Scene) -> None:
    for count, prompt in ((4, "discs"), (3, "more discs"), (1, PROMPT)):
        scene.set(prompt=prompt, count=count, steps=20, width=512, height=512)
        scene.window.page.generate()
    scene.finish()


def grid(scene: Scene) -> None:
    scene.set(prompt="discs of four colours", count=4, width=512, height=512)
    scene.window.page.generate()
    scene.finish()


def start(scene: Scene) -> None:
    results(scene)
    scene.window.page.results.picture.start.trigger()
    scene.window.panel.fold.set_open(shown=True)
    scene.set(guidance_scale=1.0)


def error(scene: Scene) -> None:
    results(scene)
    scene.engine.error = OutOfMemory(
        "A picture of 2048 x 2048 needs 14 GB and 6 GB are free; make it smaller or take fp16."
    )
    scene.window.page.generate()
    scene.finish()


SCENES: dict[str, tuple[Callable[[Scene], None], ThemeMode, int, int]] = {
    "empty-dark": (empty, ThemeMode.DARK, 1180, 800),
    "empty-light": (empty, ThemeMode.LIGHT, 1180, 800),
    "running-dark": (running, ThemeMode.DARK, 1180, 800),
    "running-light": (running, ThemeMode.LIGHT, 1180, 800),
    "four-dark": (four, ThemeMode.DARK, 1180, 800),
    "grid-light": (grid, ThemeMode.LIGHT, 1180, 800),
    "results-dark": (results, ThemeMode.DARK, 1180, 800),
    "results-light": (results, ThemeMode.LIGHT, 1180, 800),
    "start-dark": (start, ThemeMode.DARK, 1180, 860),
    "start-light": (start, ThemeMode.LIGHT, 1180, 860),
    "error-dark": (error, ThemeMode.DARK, 1180, 800),
    "error-light": (error, ThemeMode.LIGHT, 1180, 800),
    "narrow-dark": (four, ThemeMode.DARK, 740, 600),
    "wide-dark": (four, ThemeMode.DARK, 1920, 1000),
}


def readme(scene: Scene) -> None:
    """Show the real engine at work with the model that ships."""
    defaults = CreateSettings()
    scene.window.panel.set_defaults()
    for prompt in (
        "a green square left of a pink ring on a white background",
        "three orange rings on a black background",
    ):
        scene.set(prompt=prompt, count=3)
        scene.window.page.generate()
    scene.finish()
    scene.set(prompt=PROMPT, count=defaults.count, steps=40)
    scene.window.page.generate()
    bar = scene.window.page.results.run_bar
    scene.run(lambda: "Step 24" in bar.text.accessibleName())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SCENES)}; all if left out")
    parser.add_argument("--real", action="store_true", help="the README's, with the real engine")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    QApplication([])
    if options.real:
        for theme in (ThemeMode.DARK, ThemeMode.LIGHT):
            scene = Scene(theme, 1180, 800, real=True)
            readme(scene)
            scene.grab(options.folder / f"readme-{theme}.png")
            scene.close()
        return
    for name in options.names or SCENES:
        act, theme, width, height = SCENES[name]
        scene = Scene(theme, width, height)
        act(scene)
        scene.grab(options.folder / f"{name}.png")
        scene.close()


if __name__ == "__main__":
    main()
