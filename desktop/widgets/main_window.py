"""The window: menus, pages, and what it remembers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from PySide6.QtCore import QByteArray, QTimer, QUrl, Signal, Slot
from PySide6.QtGui import QAction, QCloseEvent, QDesktopServices, QKeySequence, QPaintEvent
from PySide6.QtWidgets import QApplication, QMainWindow, QMessageBox

from core.about import APP_NAME, version
from core.events import Step, TrainStep
from core.models.listing import Listed
from core.paths import Profile
from desktop.conversion import Conversion
from desktop.jobs import JobQueue, QueueSnapshot
from desktop.progress import Progress
from desktop.put_to_use import Learned, PutToUse
from desktop.settings import SettingsStore, WindowSettings
from desktop.shelf import Shelf
from desktop.studio import WorkEvent
from desktop.theme import Theme, ThemeMode
from desktop.widgets.create_page import CreatePage
from desktop.widgets.create_panel import CreatePanel
from desktop.widgets.menus import (
    START_KEYS,
    add_action,
    fill_edit_menu,
    fill_picture_menu,
    fill_run_menu,
    fill_theme_menu,
    fill_train_menu,
)
from desktop.widgets.model_picker import ModelPicker
from desktop.widgets.models_page import ModelsPage
from desktop.widgets.shell import Page, Shell
from desktop.widgets.train_page import TrainPage

CREATE, MODELS, TRAIN = range(3)
"""The pages, in their order."""


class MainWindow(QMainWindow):
    """The one window of the app.

    Signals:
        first_painted(str): It stands on the screen, with that model chosen.
    """

    first_painted = Signal(str)

    def __init__(
        self,
        profile: Profile,
        store: SettingsStore,
        theme: Theme,
        jobs: JobQueue,
        shelf: Shelf,
        conversion: Conversion,
    ) -> None:
        """Build the window as it was left."""
        super().__init__()
        self._profile, self._store, self._theme, self._jobs = profile, store, theme, jobs
        self._painted = False
        remembered = store.settings
        models = ModelPicker(remembered.window.models)
        self.page = CreatePage(profile, CreatePanel(models), jobs)
        self.panel = self.page.panel
        self.models = ModelsPage(profile, shelf, conversion)
        self.train = TrainPage(profile, ModelPicker(remembered.window.models), jobs)
        self.shell = Shell(
            (
                Page("create", self.tr("Create"), self.page),
                Page("kind-model", self.tr("Models"), self.models),
                Page("train", self.tr("Train"), self.train),
            )
        )
        self._put_to_use = PutToUse(shelf, self)
        self.setCentralWidget(self.shell)
        self.setWindowTitle(APP_NAME)
        self.setMinimumSize(720, 540)
        self._make_menus()
        self._restore(remembered.window)
        models.failed.connect(self.page.results.show_error)
        for page in (self.page, self.train):
            shelf.changed.connect(lambda snapshot, page=page: page.set_library(snapshot.models))
        self.models.used.connect(self._use)
        self.models.failed.connect(self.page.results.show_error)
        self.page.results.export_requested.connect(self.models.convert_again)
        self.train.used.connect(self._use_learned)
        self._put_to_use.ready.connect(self._on_ready)
        self._put_to_use.failed.connect(self.train.show_error)
        self.page.results.pause_requested.connect(self.train.training.pause)
        self.panel.set_values(remembered.create)
        if store.is_new:
            self.panel.set_defaults()
        self.panel.changed.connect(self._remember_controls)
        self.train.restore(remembered.train)
        self.train.changed.connect(self._remember_training)
        jobs.changed.connect(self._on_jobs)
        jobs.progressed.connect(self._on_progress)
        self._on_jobs(jobs.snapshot)
        self.panel.edit_prompt()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Tell, once, that the window is there to be seen."""
        super().paintEvent(event)
        if not self._painted:
            self._painted = True
            # When this paint has reached the screen.
            QTimer.singleShot(0, self, self._tell_painted)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Stop between two steps and remember everything."""
        if (focus := QApplication.focusWidget()) is not None:
            focus.clearFocus()  # A caption that is being typed is written.
        # A training that is ended by this is remembered as one that goes on.
        self._remember_training()
        self.train.changed.disconnect(self._remember_training)
        self._jobs.close()
        self.panel.close_down()
        self.page.results.close_down()
        self.train.close_down()
        self.models.close_down()
        self._remember_controls()
        self._store.set_window(
            WindowSettings(
                geometry=self.saveGeometry().toBase64().toStdString(),
                panel=self.page.splitter.sizes()[0],
                theme=self._store.settings.window.theme,
                advanced_open=self.panel.fold.is_open(),
                models=tuple(
                    dict.fromkeys((*self.panel.model.folders, *self.train.panel.model.folders))
                ),
                placing=self.models.panel.placing.value(),
            )
        )
        self._store.flush()
        super().closeEvent(event)

    def _tell_painted(self) -> None:
        self.first_painted.emit(self.panel.model.chosen_model)

    def _make_menus(self) -> None:
        bar = self.menuBar()
        file = bar.addMenu(self.tr("&File"))
        add_action(file, self.tr("Open Start Picture…"), self.page.choose_start, "Ctrl+O")
        add_action(file, self.tr("Open Model Folder…"), self.panel.model.open_folder)
        add_action(file, self.tr("Add Models to the Library…"), self.models.panel.choose_files)
        add_action(file, self.tr("Show Pictures Folder"), self._show_pictures)
        file.addSeparator()
        add_action(file, self.tr("Quit"), self.close, QKeySequence.StandardKey.Quit)
        edit, run = bar.addMenu(self.tr("&Edit")), bar.addMenu(self.tr("&Run"))
        train = bar.addMenu(self.tr("&Train"))
        fill_edit_menu(edit, self.page)
        self._start, self._stop = fill_run_menu(run, self.page)
        self._train = fill_train_menu(train, self.train)
        picture = bar.addMenu(self.tr("&Picture"))
        fill_picture_menu(picture, self.page)
        for menu in (edit, run, picture):
            menu.triggered.connect(self._show_create_for)
        train.triggered.connect(lambda _action: self.shell.show_page(TRAIN))
        self.shell.turned.connect(self._on_page)
        self._on_page(CREATE)
        view = bar.addMenu(self.tr("&View"))
        add_action(view, self.tr("Create"), lambda: self.shell.show_page(CREATE), "Ctrl+1")
        add_action(view, self.tr("Models"), lambda: self.shell.show_page(MODELS), "Ctrl+2")
        add_action(view, self.tr("Train"), lambda: self.shell.show_page(TRAIN), "Ctrl+3")
        view.addSeparator()
        fill_theme_menu(view, self._theme.mode, self._choose_theme, self)
        about = bar.addMenu(self.tr("&Help"))
        add_action(about, self.tr("Show Log Folder"), self._show_logs)
        add_action(about, self.tr("About {0}").format(APP_NAME), self._show_about)

    def _restore(self, window: WindowSettings) -> None:
        geometry = QByteArray.fromBase64(window.geometry.encode("ascii", "ignore"))
        if not self.restoreGeometry(geometry):
            self.resize(1180, 800)
        panel = min(max(window.panel, 1), self.width() - 1)
        for page in (self.page, self.models, self.train):
            page.splitter.setSizes([panel, self.width() - panel])
        self.models.panel.placing.set_value(window.placing)
        self.panel.fold.set_open(shown=window.advanced_open)

    @Slot()
    def _remember_controls(self) -> None:
        self._store.set_create(self.panel.values())

    @Slot()
    def _remember_training(self) -> None:
        self._store.set_train(self.train.values())

    @Slot(object)
    def _on_jobs(self, snapshot: QueueSnapshot) -> None:
        self._stop.setEnabled(snapshot.is_making)
        if snapshot.is_idle:
            self.setWindowTitle(APP_NAME)
            if snapshot.jobs:
                # Flashes in the taskbar or bounces in the dock if the person is elsewhere.
                QApplication.alert(self)

    @Slot(int, object)
    def _on_progress(self, _job_id: int, event: WorkEvent) -> None:
        if isinstance(event, TrainStep):
            percent = round(100 * event.index / event.total)
        elif isinstance(event, Step) and self._jobs.snapshot.is_making:
            percent = round(100 * Progress.of(event).fraction)
        else:
            return
        self.setWindowTitle(f"{percent} % - {APP_NAME}")

    @Slot(object)
    def _use(self, row: Listed) -> None:
        """Put a model, a LoRA or an embedding to work on the Create page."""
        self.shell.show_page(CREATE)
        self.page.use(row)

    @Slot(object)
    def _use_learned(self, learned: Learned) -> None:
        """Put to use what a training made: a model at once, the rest by way of the library."""
        self.page.results.banner.hide()
        if not learned.is_model:
            self._put_to_use.begin(learned)
            return
        self.shell.show_page(CREATE)
        self.panel.model.set_model(str(learned.usable.path))
        if learned.words:
            self.panel.prompt.append_word(learned.words)
        self.panel.edit_prompt()

    @Slot(object, object)
    def _on_ready(self, learned: Learned, row: Listed) -> None:
        """Make pictures with what has come into the library from a training."""
        if self.panel.model.chosen_model != learned.config.model:
            self.panel.model.set_model(learned.config.model)
        if learned.words:
            self.panel.prompt.append_word(learned.words)
        self._use(row)

    @Slot(int)
    def _on_page(self, number: int) -> None:
        """Let the keys that start something start what is in sight."""
        keys = [QKeySequence(key) for key in START_KEYS]
        self._start.setShortcuts([] if number == TRAIN else keys)
        self._train.setShortcuts(keys if number == TRAIN else [])

    @Slot(QAction)
    def _show_create_for(self, action: QAction) -> None:
        """Show the page that an action works on; to stop a run needs no look at it."""
        if action is not self._stop:
            self.shell.show_page(CREATE)

    def _choose_theme(self, mode: ThemeMode) -> None:
        self._theme.set_mode(mode)
        window = dataclasses.replace(self._store.settings.window, theme=mode)
        self._store.set_window(window)

    def _show_pictures(self) -> None:
        self._show_folder(self._profile.pictures)

    def _show_logs(self) -> None:
        self._show_folder(self._profile.logs)

    def _show_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = self.tr("{0} cannot be made: {1}.")
            self.page.results.show_error(message.format(folder, error.strerror or error))
        else:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    def _show_about(self) -> None:
        QMessageBox.about(
            self,
            APP_NAME,
            self.tr(
                "<h3>{name} {version}</h3><p>Watch Stable Diffusion denoise step by step, on your "
                "own machine, offline.</p><p>Apache License 2.0</p>"
            ).format(name=APP_NAME, version=version()),
        )
