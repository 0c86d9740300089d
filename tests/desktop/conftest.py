"""A window with a scripted engine; nothing here imports torch."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, Qt
from PySide6.QtWidgets import QApplication

from core.models import catalog
from core.models.catalog import ModelCard
from core.models.library import Library
from core.paths import Profile
from core.request import PreviewDecoder, SchedulerName
from desktop.conversion import Conversion
from desktop.jobs import JobQueue, JobState
from desktop.library_worker import Downloads
from desktop.settings import SettingsStore
from desktop.shelf import Shelf
from desktop.theme import Theme, ThemeMode
from desktop.widgets.main_window import MainWindow
from desktop.worker import EngineWorker
from tests.desktop.fake_engine import FakeEngine
from tests.desktop.fake_export import FakeExporter

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

CARD = ModelCard(
    name="starter",
    title="Starter",
    path=Path("starter"),
    family="custom",
    prediction_type="epsilon",
    width=128,
    height=128,
    size_multiple=8,
    steps=6,
    guidance_scale=3.0,
    scheduler=SchedulerName.DDIM,
    schedulers=tuple(SchedulerName),
    preview_decoders=(PreviewDecoder.OFF, PreviewDecoder.LINEAR, PreviewDecoder.FULL),
)


@pytest.fixture(autouse=True)
def no_widget_outlives_its_test() -> Iterator[None]:
    """Delete at once what was to be deleted later: each new style sheet dresses all there is."""
    yield
    delete_what_is_over()


def delete_what_is_over() -> None:
    # What threads told before they ended still finds the widgets that it is for.
    QCoreApplication.sendPostedEvents()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)


@pytest.fixture
def cards(monkeypatch) -> dict[str, ModelCard]:
    """The models that the catalogue knows; a test may add some."""
    known = {"starter": CARD}
    real = catalog.card
    monkeypatch.setattr(catalog, "card", lambda model: known.get(model) or real(model))
    return known


class Session:
    """One opening of the window on a profile."""

    def __init__(self, root: Path, qtbot, theme: ThemeMode = ThemeMode.SYSTEM) -> None:
        self.qtbot = qtbot
        self.is_open = True
        self.profile = Profile(root=root)
        self.engine = FakeEngine()
        self.worker = EngineWorker(lambda: self.engine)
        self.jobs = JobQueue(self.worker, self.profile.pictures)
        self.store = SettingsStore(self.profile.settings_file)
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        self.theme = Theme(app, theme)
        self.shelf = Shelf(Library(self.profile), Downloads(self.profile))
        self.exporter = FakeExporter()
        self.conversion = Conversion(self.exporter, {})
        self.window = MainWindow(
            self.profile, self.store, self.theme, self.jobs, self.shelf, self.conversion
        )
        self.models = self.window.models
        self.train = self.window.train
        self.page, self.panel = self.window.page, self.window.panel
        self.results = self.page.results
        self.window.show()
        qtbot.waitExposed(self.window)
        self.worker.start()
        self.shelf.start()

    def press(self, key: Qt.Key, modifiers=Qt.KeyboardModifier.NoModifier, at=None) -> None:
        self.qtbot.keyClick(at or self.window, key, modifiers)

    def control(self, key: Qt.Key) -> None:
        self.press(key, Qt.KeyboardModifier.ControlModifier)

    def set(self, **changes) -> None:
        self.panel.set_values(dataclasses.replace(self.panel.values(), **changes))

    def generate(self, prompt: str = "a red disc", **changes) -> None:
        self.set(prompt=prompt, **changes)
        self.page.generate()

    def wait(self, condition: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(condition, timeout=8000)

    def wait_idle(self) -> None:
        def idle() -> bool:
            return self.jobs.snapshot.is_idle

        self.wait(idle)

    def wait_step(self, index: int) -> None:
        self.wait(lambda: f"Step {index} of" in self.results.run_bar.text.accessibleName())

    def hold_at(self, step: int) -> None:
        self.engine.stop_at = step
        self.engine.gate.clear()

    def states(self) -> list[JobState]:
        return [job.state for job in self.jobs.snapshot.jobs]

    def files(self) -> list[Path]:
        return sorted(self.profile.pictures.glob("*.png"))

    def close(self) -> None:
        if not self.is_open:
            return
        self.is_open = False
        self.window.close()
        self.engine.gate.set()
        self.worker.close()
        assert self.worker.wait(8000)
        self.exporter.gate.set()
        self.conversion.close()
        self.shelf.close()
        self.theme.deleteLater()
        self.window.deleteLater()


@pytest.fixture
def open_window(qtbot, tmp_path, cards) -> Iterator[Callable[..., Session]]:
    """Opens the window on this test's profile, as often as the test likes."""
    sessions: list[Session] = []

    def open_it(**options) -> Session:
        delete_what_is_over()
        sessions.append(Session(tmp_path / "profile", qtbot, **options))
        return sessions[-1]

    yield open_it
    for session in sessions:
        session.close()


@pytest.fixture
def session(open_window) -> Session:
    """The window, new and empty."""
    return open_window()
