"""Puts the window together; the only place where its parts meet. Imports no torch."""

from __future__ import annotations

import locale
import logging
import signal
import sys
from functools import partial
from pathlib import Path
from types import TracebackType

from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication

from core.about import APP_NAME, version
from core.events import Engine, Event, Loading
from core.paths import Profile
from desktop.engine_process import ProcessEngine
from desktop.icons import APP_ICON
from desktop.jobs import JobQueue
from desktop.logs import start_log
from desktop.settings import SettingsStore
from desktop.theme import Theme
from desktop.widgets.main_window import MainWindow
from desktop.worker import WARM_UP, EngineWorker, Failed, Outcome

log = logging.getLogger(__name__)


def main(profile: Profile) -> int:
    """Open the window and stay until it is closed.

    Args:
        profile: Where everything is kept.

    Returns:
        The exit status.
    """
    start_log(profile.logs)
    app = QApplication([APP_NAME])
    # Qt sets the decimal comma of the desktop for C code too, which then misreads numbers.
    locale.setlocale(locale.LC_NUMERIC, "C")
    app.setApplicationName(APP_NAME)
    app.setApplicationVersion(version())
    app.setDesktopFileName(APP_NAME.lower())
    app.setWindowIcon(QIcon(str(APP_ICON)))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    store = SettingsStore(profile.settings_file)
    theme = Theme(app, store.settings.window.theme)
    engine = make_engine(profile)
    worker = EngineWorker(lambda: engine)
    jobs = JobQueue(worker, profile.pictures)
    window = MainWindow(profile, store, theme, jobs)
    _report_warm_up(worker, window)
    _report_faults(window)
    worker.start()
    window.show()
    status = app.exec()
    worker.close()
    worker.wait()
    engine.close()
    return status


def make_engine(profile: Profile) -> ProcessEngine:
    """Make the engine that the window works with."""
    return ProcessEngine(partial(_make_torch_engine, profile.cache))


def _make_torch_engine(cache: Path) -> Engine:
    """Make the engine proper; imports torch, in the engine's own process."""
    from core.engine import TorchEngine

    return TorchEngine(cache=cache)


def _report_warm_up(worker: EngineWorker, window: MainWindow) -> None:
    """Warm the engine up once the window can be seen, and say so in it."""

    def on_event(job_id: int, event: Event) -> None:
        if job_id == WARM_UP and isinstance(event, Loading):
            window.page.show_busy(window.tr("Getting {0} ready").format(event.what))

    def on_ended(job_id: int, outcome: Outcome) -> None:
        if job_id != WARM_UP:
            return
        window.page.show_busy("")
        if isinstance(outcome, Failed):
            window.page.show_error(outcome.message)

    window.first_painted.connect(worker.warm_up)
    worker.job_event.connect(on_event)
    worker.job_ended.connect(on_ended)


def _report_faults(window: MainWindow) -> None:
    """Log what no one caught and say so in the window."""

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        log.critical("a fault nobody caught", exc_info=(kind, error, trace))
        window.page.show_error(
            window.tr("Stepwise met a fault of its own ({0}). The log tells more.").format(error)
        )

    sys.excepthook = report
