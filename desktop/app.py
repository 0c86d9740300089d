"""Puts the window together; the only place where its parts meet. Imports no torch."""

from __future__ import annotations

import locale
import logging
import sys
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication

from core.about import APP_NAME, version
from core.cli import torch_engine
from core.events import Loading, Studio
from core.models import catalog
from core.models.library import Library
from core.paths import Profile
from core.request import DeviceName
from coreml_export.export import export
from desktop.conversion import Conversion, refused_formats
from desktop.engine_process import ProcessEngine
from desktop.icons import APP_ICON
from desktop.interrupts import Interrupts
from desktop.jobs import JobQueue
from desktop.library_worker import Downloads
from desktop.logs import start_log
from desktop.settings import SettingsStore
from desktop.shelf import Shelf
from desktop.studio import WorkEvent
from desktop.theme import Theme
from desktop.widgets.main_window import MainWindow
from desktop.worker import WARM_UP, EngineWorker, Failed, Outcome

log = logging.getLogger(__name__)


PATIENCE_MS = 3000
"""How long closing waits for the present step before it ends the engine."""


@dataclass(frozen=True, slots=True)
class Session:
    """The app from its opening to its end."""

    app: QApplication
    engine: ProcessEngine
    worker: EngineWorker
    jobs: JobQueue
    shelf: Shelf
    conversion: Conversion
    window: MainWindow

    def run(self) -> int:
        """Stay until the window is closed and everything has ended; gives the exit status."""
        interrupts = Interrupts(self.app.closeAllWindows)
        status = self.app.exec()
        self.worker.close()
        # A step may take minutes, and so may loading; neither holds anything finished.
        while not self.worker.wait(PATIENCE_MS):
            if not self.worker.is_finishing:
                self.engine.close()
        self.engine.close()
        self.conversion.close()
        self.shelf.close(PATIENCE_MS)
        interrupts.close()
        return status


def main(profile: Profile) -> int:
    """Open the window and stay until it is closed.

    Args:
        profile: Where everything is kept.

    Returns:
        The exit status.
    """
    start_log(profile.logs)
    catalog.use_shelf(Library(profile))
    return open_session(profile).run()


def open_session(profile: Profile) -> Session:
    """Open the window; the engine begins once it can be seen."""
    app = QApplication([APP_NAME])
    # Qt sets the decimal comma of the desktop for C code too, which then misreads numbers.
    locale.setlocale(locale.LC_NUMERIC, "C")
    app.setApplicationName(APP_NAME)
    app.setApplicationVersion(version())
    app.setDesktopFileName(APP_NAME.lower())
    app.setWindowIcon(QIcon(str(APP_ICON)))
    store = SettingsStore(profile.settings_file)
    theme = Theme(app, store.settings.window.theme)
    engine = make_engine(profile)
    worker = EngineWorker(lambda: engine)
    jobs = JobQueue(worker, profile.pictures)
    shelf = Shelf(Library(profile), Downloads(profile))
    conversion = Conversion(partial(export, profile=profile), refused_formats())
    window = MainWindow(profile, store, theme, jobs, shelf, conversion)
    _report_warm_up(worker, window)
    _report_faults(window)
    window.first_painted.connect(shelf.start)
    worker.start()
    window.show()
    return Session(app, engine, worker, jobs, shelf, conversion, window)


def make_engine(profile: Profile) -> ProcessEngine:
    """Make the engine that the window works with."""
    return ProcessEngine(partial(_make_torch_engine, profile))


def _make_torch_engine(profile: Profile, device: DeviceName) -> Studio:
    """Make the engine proper, in the engine's own process."""
    catalog.use_shelf(Library(profile))
    return torch_engine(device, profile)


def _report_warm_up(worker: EngineWorker, window: MainWindow) -> None:
    """Warm the engine up once the window can be seen, and say so in it."""
    results = window.page.results

    def on_event(job_id: int, event: WorkEvent) -> None:
        if job_id == WARM_UP and isinstance(event, Loading):
            results.show_busy(window.tr("Getting {0} ready").format(event.what))

    def on_ended(job_id: int, outcome: Outcome) -> None:
        if job_id != WARM_UP:
            return
        results.show_busy("")
        if isinstance(outcome, Failed):
            results.show_error(outcome.message)

    def begin(model: str) -> None:
        results.show_busy(window.tr("Getting the engine ready"))
        worker.warm_up(model)

    window.first_painted.connect(begin)
    worker.job_event.connect(on_event)
    worker.job_ended.connect(on_ended)


def _report_faults(window: MainWindow) -> None:
    """Log what no one caught and say so in the window."""

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        log.critical("a fault nobody caught", exc_info=(kind, error, trace))
        window.page.results.show_error(
            window.tr("Stepwise met a fault of its own ({0}). The log tells more.").format(error)
        )

    sys.excepthook = report
