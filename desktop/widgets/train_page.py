"""The Train page: pictures in, a training to watch, and something new to make pictures with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtWidgets import QFileDialog, QSplitter, QVBoxLayout, QWidget

from core.errors import CoreError, InvalidRequest
from core.models.listing import Listed
from core.paths import Profile
from core.training.config import TrainConfig
from core.training.config_parts import Preset
from core.training.folder import Folder
from desktop.caption_draft import CaptionDraft
from desktop.captioning import CaptionRun
from desktop.drops import dropped_paths
from desktop.jobs import JobQueue
from desktop.picture_folder import FolderSnapshot, PictureFolder, data_settings
from desktop.put_to_use import Learned
from desktop.shelf_messages import Message, MessageKind
from desktop.thumbnails import Thumbnails
from desktop.train_estimate import Fitted, TrainEstimate
from desktop.train_pace import Paces, PaceWatch
from desktop.train_settings import TrainSettings, free_name, is_taken, read_settings
from desktop.training import Phase, Training, TrainingSnapshot
from desktop.widgets.banner import BannerKind
from desktop.widgets.drop_hint import DropHint
from desktop.widgets.model_picker import ModelPicker
from desktop.widgets.picture_actions import show_in_folder
from desktop.widgets.train_form import changes_in_words
from desktop.widgets.train_panel import PRESETS, TrainPanel
from desktop.widgets.train_side import PICTURES, PROGRESS, TrainSide


class TrainPage(QWidget):
    """Where a model learns something new.

    Signals:
        used(Learned): What was learned is to be put to use.
        changed(): Something is to be remembered.
    """

    used = Signal(object)
    changed = Signal()

    def __init__(self, profile: Profile, models: ModelPicker, jobs: JobQueue) -> None:
        """Build the page around the queue."""
        super().__init__()
        self._profile = profile
        self._shown = (Phase.NONE, "")
        self._opening = ""
        self.panel = TrainPanel(models, profile.trainings)
        self.folder = PictureFolder(self)
        self.training = Training(jobs, self)
        self.captions = CaptionRun(jobs, self.folder, self)
        self.estimate = TrainEstimate(Paces(profile.cache / "paces.json"), self)
        self.paces = PaceWatch(jobs, self)
        self.thumbnails = Thumbnails(self)
        self.side = TrainSide(self.folder, self.training, self.thumbnails)
        self.pictures, self.progress = self.side.pictures, self.side.progress
        self.banner, self.bar = self.side.banner, self.side.bar
        self.drop_hint = DropHint(self)
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self._lay_out()
        self._connect()
        self.setAcceptDrops(True)
        self._show_all()

    def set_library(self, models: tuple[Listed, ...]) -> None:
        """Know the models of the library, as they are now."""
        self.panel.model.set_library(models)
        self.pictures.tools.model.set_library(models)

    def values(self) -> TrainSettings:
        """Give what is to be remembered."""
        config = self.training.snapshot.config
        # Until it has been read, nothing is known of the one that was left open.
        opened = self._opening
        if config is not None and Folder(Path(config.out)).is_begun():
            opened = config.out
        captions = self.pictures.tools.values()
        return dataclasses.replace(self.panel.values(), opened=opened, captions=captions)

    def restore(self, values: TrainSettings) -> None:
        """Bring everything back as it was left, the training that was in sight included."""
        self.panel.set_values(values)
        self.pictures.tools.set_values(values.captions)
        self._opening = values.opened
        if values.opened:
            self.training.open(Path(values.opened))

    def show_error(self, message: str) -> None:
        """Say in the banner what went wrong."""
        self.banner.show_message(BannerKind.ERROR, message)

    @Slot()
    def start(self) -> None:
        """Begin what the controls say, when the jobs before are done."""
        self.banner.hide()
        try:
            config = self.panel.take_config()
            if is_taken(Path(config.out)):
                taken = f"{config.out} is there already; choose another, or open that training."
                raise self.panel.at_fault(InvalidRequest("out", taken))
        except CoreError as error:
            self.show_error(str(error))
            return
        if refusal := self.folder.snapshot.refusal:
            self.show_error(refusal)
            self.folder.refresh()  # It may have been mended meanwhile.
            return
        self.side.show_part(PROGRESS)
        self.training.begin(config, self.panel.values().device)

    @Slot()
    def choose_pictures(self) -> None:
        """Ask for a folder of pictures."""
        folder = QFileDialog.getExistingDirectory(
            self, self.tr("Choose a Folder of Pictures"), self.panel.folder
        )
        if folder:
            self.take_folder(Path(folder))

    @Slot()
    def open_training(self) -> None:
        """Ask for the folder of a training, to look at it and to go on with it."""
        folder = QFileDialog.getExistingDirectory(
            self, self.tr("Open a Training"), str(self._profile.trainings)
        )
        if folder:
            self.banner.hide()
            self.training.open(Path(folder))

    @Slot()
    def open_settings(self) -> None:
        """Ask for the file of a training's settings, as the command line's ``--config`` takes."""
        name, _ = QFileDialog.getOpenFileName(
            self,
            self.tr("Open Settings"),
            str(self._profile.trainings),
            self.tr("Settings of a training (*.json)"),
        )
        if name:
            self.take_settings(Path(name))

    def take_settings(self, path: Path) -> None:
        """Bring the controls to what a file of settings says."""
        self.banner.hide()
        try:
            values = read_settings(path, self.panel.values(), self._profile.trainings)
        except InvalidRequest as error:
            self.show_error(error.reason)
            return
        self.panel.set_values(values)

    def take_folder(self, folder: Path) -> None:
        """Learn from a folder's pictures."""
        self.banner.hide()
        if str(folder) == self.panel.folder:
            self.folder.refresh()
        else:
            self.panel.set_folder(str(folder))
        self.side.show_part(PICTURES)

    def drop(self, paths: tuple[Path, ...]) -> None:
        """Take what was dropped: a folder as it lies, pictures as copies in one."""
        if len(paths) == 1 and paths[0].is_dir():
            self.take_folder(paths[0])
            return
        if any(path.is_dir() for path in paths):
            self.show_error(self.tr("Drop one folder at a time, or pictures without one."))
            return
        folder = self.panel.folder
        target = (
            Path(folder) if folder else free_name(self._profile.root / "pictures-to-learn", "set")
        )
        self.banner.hide()
        self.folder.gather(paths, target)

    def close_down(self) -> None:
        """Let the threads end; captions on their way are written."""
        self.folder.close()
        self.training.close()
        self.estimate.close()
        self.thumbnails.close()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take a folder or pictures, unless the present training holds the controls."""
        paths = dropped_paths(event.mimeData())
        if not paths or self.training.snapshot.phase.is_held:
            return
        event.acceptProposedAction()
        text = self.tr("Drop to gather the pictures in a new folder")
        if len(paths) == 1 and paths[0].is_dir():
            text = self.tr("Drop to learn from this folder")
        elif self.panel.folder:
            text = self.tr("Drop to copy into {0}").format(Path(self.panel.folder).name)
        self.drop_hint.tell(text)

    def dragLeaveEvent(self, _event: QDragLeaveEvent) -> None:
        """Take the hint away."""
        self.drop_hint.hide()

    def dropEvent(self, event: QDropEvent) -> None:
        """Take what was dropped."""
        self.drop_hint.hide()
        event.acceptProposedAction()
        self.drop(dropped_paths(event.mimeData()))

    def _connect(self) -> None:
        panel, training = self.panel, self.training
        panel.start_requested.connect(self.start)
        panel.resume_requested.connect(self._resume)
        panel.pause_requested.connect(training.pause)
        panel.stop_requested.connect(training.stop)
        panel.choose_requested.connect(self.choose_pictures)
        panel.changed.connect(self._on_controls)
        panel.preset_requested.connect(self._on_preset)
        self.paces.learned.connect(self.estimate.note_learning)
        self.paces.drawn.connect(self.estimate.note_drawing)
        self.estimate.known.connect(panel.show_cost)
        self.estimate.fitted.connect(self._on_fitted)
        self.estimate.failed.connect(self.show_error)
        panel.model.failed.connect(self.show_error)
        self.pictures.choose_requested.connect(self.choose_pictures)
        self.pictures.tools.caption_requested.connect(self._on_captions)
        self.pictures.tools.changed.connect(self.changed)
        self.progress.outcome.use_requested.connect(self._use)
        self.progress.outcome.resume_requested.connect(self._resume)
        self.progress.outcome.more_requested.connect(self._learn_on)
        self.progress.outcome.show_requested.connect(self._show_folder)
        self.bar.stop_requested.connect(self.captions.stop)
        self.captions.changed.connect(self._show_all)
        self.captions.told.connect(self._on_told)
        self.folder.changed.connect(self._on_folder)
        self.folder.told.connect(self._on_told)
        self.folder.gathered.connect(self._on_gathered)
        training.changed.connect(self._on_training)
        training.opened.connect(self._on_opened)
        training.failed.connect(self._on_unreadable)

    @Slot()
    def _resume(self) -> None:
        training = self.training.snapshot
        if training.phase is Phase.FAILED and not training.saved:
            # Nothing is there to go on with: what the controls say counts.
            self.start()
            return
        if training.config is not None:
            self._go_on(training.config, training)

    @Slot(int)
    def _learn_on(self, more: int) -> None:
        training = self.training.snapshot
        if training.config is not None:
            steps = training.config.steps + more
            self._go_on(dataclasses.replace(training.config, steps=steps), training)

    def _go_on(self, config: TrainConfig, training: TrainingSnapshot) -> None:
        """Go on with the training in sight, as ``config`` says."""
        device = self.panel.values().device
        self.banner.hide()
        if training.saved and not Folder(Path(config.out)).steps():
            self.training.forget()
            self.show_error(
                self.tr("{0} is gone, and what had been learned with it; start anew.").format(
                    config.out
                )
            )
            return
        try:
            if training.phase is Phase.PAUSED:
                config = self.panel.take_changes(config)
            else:
                self.panel.set_values(TrainSettings.of(config, device))
        except CoreError as error:
            self.show_error(str(error))
            return
        self.side.show_part(PROGRESS)
        self.training.resume(config, device)

    @Slot()
    def _use(self) -> None:
        training = self.training.snapshot
        if training.config is not None and training.usable is not None:
            self.used.emit(Learned(training.config, training.usable))

    @Slot()
    def _show_folder(self) -> None:
        if (config := self.training.snapshot.config) is not None:
            show_in_folder(Folder(Path(config.out)).config_file)

    @Slot()
    def _on_controls(self) -> None:
        values, card = self.panel.values(), self.panel.model.card
        side = min(card.width, card.height) if card is not None else 0
        self.folder.show(data_settings(values.folder, values.values), side)
        self.estimate.ask(values)
        self.pictures.set_method(values.method)
        self.changed.emit()

    @Slot(object)
    def _on_captions(self, draft: CaptionDraft) -> None:
        folder, device = Path(self.folder.snapshot.folder), self.panel.values().device
        self.captions.begin(draft.request(folder, device))

    @Slot(object)
    def _on_preset(self, preset: Preset) -> None:
        self.banner.hide()
        self.estimate.fit(self.panel.values(), preset)

    @Slot(object)
    def _on_fitted(self, fitted: Fitted) -> None:
        if not self.training.snapshot.phase.is_held:
            before = self.panel.values()
            self.panel.set_values(fitted.settings)
            text = self.tr("These settings fit into {0}.").format(PRESETS[fitted.preset])
            if changes := changes_in_words(before, fitted.settings):
                text = self.tr("To fit into {0}: {1}.").format(PRESETS[fitted.preset], changes)
            self.banner.show_message(BannerKind.NOTICE, text)

    @Slot(object)
    def _on_folder(self, snapshot: FolderSnapshot) -> None:
        self.panel.well.show_snapshot(snapshot)
        self._show_all()

    @Slot(object)
    def _on_gathered(self, folder: Path) -> None:
        if str(folder) == self.panel.folder:
            self.folder.refresh()
        else:
            self.panel.set_folder(str(folder))
        self.side.show_part(PICTURES)

    @Slot(object)
    def _on_told(self, message: Message) -> None:
        match message.kind:
            case MessageKind.NOTICE:
                self.banner.show_message(BannerKind.NOTICE, message.text)
            case MessageKind.ERROR:
                self.show_error(message.text)
            case MessageKind.FAULT:
                self.banner.show_fault(message.text, self._profile.logs)

    @Slot(object)
    def _on_training(self, training: TrainingSnapshot) -> None:
        now = (training.phase, "" if training.config is None else training.config.out)
        before, self._shown = self._shown, now
        if now != before:
            self._on_phase(training, before[0])
        self._show_all()

    @Slot(object)
    def _on_opened(self, training: TrainingSnapshot) -> None:
        """Turn to a training that was opened, with its settings in the controls."""
        is_restored, self._opening = bool(self._opening), ""
        self.side.show_part(PROGRESS)
        if training.config is None or (is_restored and not training.phase.is_held):
            return  # The controls hold what the next one is to be.
        values = TrainSettings.of(training.config, self.panel.values().device)
        # The name of one that has ended is taken.
        name = values.name if training.phase.is_held else ""
        self.panel.set_values(dataclasses.replace(values, name=name))

    @Slot(str)
    def _on_unreadable(self, message: str) -> None:
        self._opening = ""
        self.show_error(message)
        self.changed.emit()

    def _on_phase(self, training: TrainingSnapshot, before: Phase) -> None:
        self.panel.show_training(training)
        if training.phase is Phase.FAILED and before.is_busy:
            if training.is_bug:
                self.banner.show_fault(training.message, self._profile.logs)
            elif self.side.part != PROGRESS:
                self.show_error(training.message)  # Else the card says it.
        self.changed.emit()

    @Slot()
    def _show_all(self) -> None:
        training, folder = self.training.snapshot, self.folder.snapshot
        self.bar.show_all(training, folder, self.captions.progress)
        busy = ""
        if self.captions.progress is not None:
            busy = self.tr("Captions are being written.")
        elif training.phase.is_busy:
            busy = self.tr("A training has the engine; pause it first.")
        self.pictures.tools.show_snapshot(folder, busy)

    def _lay_out(self) -> None:
        self.splitter.addWidget(self.panel)
        self.splitter.addWidget(self.side)
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setHandleWidth(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.splitter)
