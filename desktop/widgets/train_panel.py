"""The controls of the Train page."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from core.errors import InvalidRequest
from core.training.config import Method, TrainConfig
from core.training.config_parts import Preset
from core.training.folder import Folder, check_begins
from desktop.theme import mark
from desktop.train_fields import method_names
from desktop.train_settings import TrainSettings
from desktop.training import Phase, TrainingSnapshot
from desktop.widgets.availability import set_unavailable
from desktop.widgets.choice import Choice
from desktop.widgets.elided_label import ElidedLabel
from desktop.widgets.folder_well import FolderWell
from desktop.widgets.form import captioned, fill_panel, rows
from desktop.widgets.icon_button import IconButton
from desktop.widgets.model_picker import ModelPicker
from desktop.widgets.train_form import LABEL_WIDTH, TrainForm


class TrainPanel(QWidget):
    """All that makes up a training, and the buttons that begin, pause and end it.

    Signals:
        start_requested(): A training is to begin.
        resume_requested(): The one that was paused is to go on.
        pause_requested(): The one that goes on is to pause.
        stop_requested(): It is to end here.
        choose_requested(): The person wants to choose a folder of pictures.
        preset_requested(Preset): Settings are wanted that fit into so much memory.
        changed(): A control was changed.
    """

    start_requested = Signal()
    resume_requested = Signal()
    pause_requested = Signal()
    stop_requested = Signal()
    choose_requested = Signal()
    preset_requested = Signal(object)
    changed = Signal()

    def __init__(self, models: ModelPicker, trainings: Path) -> None:
        """Build the controls.

        Args:
            models: The choice of a model.
            trainings: Where trainings are kept unless the person says otherwise.
        """
        super().__init__()
        self._trainings = trainings
        self._phase = Phase.NONE
        self._folder = ""
        self._parent = ""
        self._held: Path | None = None
        self.model = models
        self.method = Choice[Method](self.tr("Method"), method_names())
        self.about = QLabel()
        mark(self.about, "quiet")
        self.about.setWordWrap(True)
        self.well = FolderWell()
        self.form = TrainForm(self)
        self.presets = {preset: QPushButton(text) for preset, text in PRESETS.items()}
        for preset, button in self.presets.items():
            button.setToolTip(
                self.tr("Choose batch, precision and optimiser so that it fits into {0}").format(
                    button.text()
                )
            )
            mark(button, "tight")
            button.clicked.connect(
                lambda _checked=False, preset=preset: self.preset_requested.emit(preset)
            )
        self.cost = QLabel()
        mark(self.cost, "quiet")
        self.cost.setWordWrap(True)
        self.name = QLineEdit()
        self.name.setAccessibleName(self.tr("Name"))
        self.name.setToolTip(self.tr("What it is called: letters, digits and . _ -"))
        self.place = ElidedLabel(Qt.TextElideMode.ElideMiddle)
        mark(self.place, "quiet")
        self.choose_place = IconButton("folder", self.tr("Keep it elsewhere"))
        self.choose_place.clicked.connect(self._on_place)
        self.usual_place = IconButton("reuse", self.tr("Keep it in the usual place again"))
        self.usual_place.clicked.connect(lambda: self._set_parent(""))
        self.locked = QLabel()
        mark(self.locked, "quiet")
        self.locked.setWordWrap(True)
        self.start = QPushButton()
        mark(self.start, "primary")
        self.stop = IconButton("stop", "")
        mark(self.stop, "framed")
        self.stop.setFixedSize(36, 36)
        self._controls = QWidget()
        self._lay_out()
        self._connect()
        self._describe()
        self.show_training(TrainingSnapshot())

    @property
    def folder(self) -> str:
        """Path of the folder of pictures, or empty."""
        return self._folder

    def set_folder(self, folder: str) -> None:
        """Take another folder of pictures."""
        if folder != self._folder:
            self._folder = folder
            self._on_change()

    def values(self) -> TrainSettings:
        """Give what the controls say."""
        return TrainSettings(
            method=self.method.value(),
            model=self.model.chosen_model,
            folder=self._folder,
            name=self.name.text().strip(),
            parent=self._parent,
            values=self.form.values(),
        )

    def set_values(self, values: TrainSettings) -> None:
        """Bring the controls to ``values``."""
        self.method.set_value(values.method)
        self.model.set_model(values.model)
        self._folder = values.folder
        is_usual = values.parent and Path(values.parent) == self._trainings
        self._parent = "" if is_usual else values.parent
        self.name.setText(values.name)
        self.form.set_values(values.values)
        self._on_change()

    def take_config(self) -> TrainConfig:
        """Give the training that the controls ask for.

        Raises:
            InvalidRequest: Naming the control at fault, which has the focus.
        """
        try:
            return self.values().config(self._trainings)
        except InvalidRequest as error:
            raise self.at_fault(error) from error

    def take_changes(self, config: TrainConfig) -> TrainConfig:
        """Give a training that is to go on, with what the controls say of it now.

        Raises:
            InvalidRequest: If it cannot go on so, naming the control at fault, which has the focus.
        """
        try:
            changed = self.values().changed(config)
            check_begins(Folder(Path(config.out)), changed, resume=True)
        except InvalidRequest as error:
            raise self.at_fault(error) from error
        return changed

    def at_fault(self, error: InvalidRequest) -> InvalidRequest:
        """Turn to the control that an error is about, and name it as the person sees it."""
        label, widget = self._control_of(error.field)
        if widget is None:
            return error
        widget.setFocus()
        # What was just unfolded has its place once it has been laid out.
        QTimer.singleShot(0, widget, lambda: self._scroll.ensureWidgetVisible(widget))
        return InvalidRequest(label, error.reason)

    def show_training(self, training: TrainingSnapshot) -> None:
        """Let the buttons say what they do now, and hold the controls while they have no say."""
        phase = self._phase = training.phase
        is_held = phase.is_held
        out = Path(training.config.out) if training.config is not None and is_held else None
        if self._held is not None and out is None and self.name.text() == self._held.name:
            # Its name is taken now.
            self.name.clear()
        self._held = out
        self._describe()
        self._controls.setEnabled(not phase.is_busy)
        self.form.set_begun(begun=is_held)
        fixed = self.tr("It stays as it was when the training began.") if is_held else ""
        for control in self._fixed():
            set_unavailable(control, fixed)
        self.locked.setVisible(is_held)
        self.locked.setText(
            self.tr(
                "These are the settings of the present training. How long and how fast it learns, "
                "its samples and its checkpoints can be changed here; end it to change the others."
            )
            if phase is Phase.PAUSED
            else self.tr("These are the settings of the present training; pause it to change some.")
        )
        text, tip, icon_tip = self._words(phase)
        keys = QKeySequence("Ctrl+Return").toString(QKeySequence.SequenceFormat.NativeText)
        self.start.setText(text)
        self.start.setToolTip(f"{tip}  ({keys})")
        self.start.setEnabled(phase is not Phase.ENDING)
        self.stop.set_text(icon_tip)
        set_unavailable(
            self.stop, "" if phase in _ENDABLE else self.tr("There is no training to end.")
        )

    def press(self) -> None:
        """Do what the strong button does now."""
        if self.start.isEnabled():
            self.start.click()

    def _fixed(self) -> tuple[QWidget, ...]:
        """Give the controls beside the form's that a training that has begun cannot have others."""
        places = (self.name, self.choose_place, self.usual_place)
        return (self.method, self.model, self.well, *self.presets.values(), *places)

    def _words(self, phase: Phase) -> tuple[str, str, str]:
        """Give the text and the tooltip of the strong button, and the tooltip of the other one."""
        end = self.tr("End this training; what it has learned is kept")
        match phase:
            case Phase.WAITING:
                tip = self.tr("Begin no training when the pictures before it are done")
                return self.tr("Waiting for Pictures"), tip, end
            case Phase.RUNNING:
                tip = self.tr("Pause after this step: nothing is lost and the device is free")
                return self.tr("Pause"), tip, end
            case Phase.ENDING:
                return self.tr("Saving What It Has Learned"), self.tr("A moment"), end
            case Phase.PAUSED:
                return self.tr("Resume"), self.tr("Go on as if it had never stopped"), end
            case _:
                return self.tr("Start Training"), self.tr("Learn from these pictures"), end

    def _on_start(self) -> None:
        match self._phase:
            case Phase.RUNNING | Phase.WAITING:
                self.pause_requested.emit()
            case Phase.PAUSED:
                self.resume_requested.emit()
            case _:
                self.start_requested.emit()

    def _on_place(self) -> None:
        folder = QFileDialog.getExistingDirectory(
            self, self.tr("Keep the Training In"), str(self._parent or self._trainings)
        )
        if folder:
            self._set_parent(folder)

    def _set_parent(self, folder: str) -> None:
        self._parent = folder
        self._on_change()

    def _on_change(self) -> None:
        self._describe()
        self.changed.emit()

    def _describe(self) -> None:
        """Say what the method does and where the training will lie."""
        method, values = self.method.value(), self.values()
        self.about.setText(method_names()[method][1])
        self.form.set_method(method)
        out = self._held or values.out(self._trainings)
        self.name.setPlaceholderText(out.name)
        self.place.set_text(str(out))
        self.usual_place.setVisible(bool(self._parent))

    def _control_of(self, setting: str) -> tuple[str, QWidget | None]:
        """Give the label and the widget of a setting's control, made visible."""
        match setting:
            case "data":
                return self.tr("Pictures"), self.well
            case "model":
                return self.tr("Model"), self.model
            case "out":
                return self.tr("Name"), self.name
        control = self.form.control_at_fault(setting)
        if control is None:
            return "", None
        self.form.unfold(control)
        return control.field.label, control.widget

    def _connect(self) -> None:
        self.method.currentIndexChanged.connect(self._on_change)
        self.model.chosen.connect(lambda _card: self._on_change())
        self.form.changed.connect(self._on_change)
        self.name.textChanged.connect(self._on_change)
        self.well.clicked.connect(self.choose_requested)
        self.start.clicked.connect(self._on_start)
        self.stop.clicked.connect(self.stop_requested)

    def _preset_row(self) -> QWidget:
        block = QWidget()
        row = QHBoxLayout(block)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        for button in self.presets.values():
            row.addWidget(button, 1)
        return block

    def show_cost(self, text: str) -> None:
        """Say what the training will take of memory and time; nothing if that is not known."""
        self.cost.setText(text)
        self.cost.setVisible(bool(text))

    def _lay_out(self) -> None:
        place = QHBoxLayout()
        place.setSpacing(2)
        place.addWidget(self.place, 1)
        place.addWidget(self.usual_place)
        place.addWidget(self.choose_place)
        inside = QVBoxLayout(self._controls)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(12)
        inside.addLayout(rows(((self.tr("Method"), self.method),), LABEL_WIDTH))
        inside.addWidget(self.about)
        inside.addLayout(rows(((self.tr("Model"), self.model),), LABEL_WIDTH))
        inside.addLayout(captioned(self.tr("Pictures"), self.well))
        inside.addWidget(self.form.method_rows)
        inside.addLayout(rows(((self.tr("Fit into"), self._preset_row()),), LABEL_WIDTH))
        inside.addWidget(self.cost)
        inside.addWidget(self.form.prompts)
        inside.addWidget(self.form.every)
        inside.addLayout(rows(((self.tr("Name"), self.name),), LABEL_WIDTH))
        inside.addLayout(place)
        for fold in self.form.folds.values():
            inside.addWidget(fold)
        content = QWidget()
        content.setObjectName("panel")
        column = QVBoxLayout(content)
        column.setContentsMargins(16, 16, 16, 12)
        column.setSpacing(12)
        column.addWidget(self.locked)
        column.addWidget(self._controls)
        column.addStretch(1)
        self._scroll = fill_panel(self, content, self.start, self.stop)


PRESETS = {Preset.GB_8: "8 GB", Preset.GB_16: "16 GB", Preset.GB_24: "24 GB"}
_ENDABLE = (Phase.WAITING, Phase.RUNNING, Phase.PAUSED)
