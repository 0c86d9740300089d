"""The controls of the Create page."""

from __future__ import annotations

import dataclasses
from typing import Any

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtGui import QKeySequence, QTextCursor
from PySide6.QtWidgets import (
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from core.compute_units import AUTO
from core.errors import InvalidRequest
from core.models.catalog import ModelCard
from core.request import MAX_COUNT, MAX_SIDE, MAX_STEPS, Request
from desktop.prompt_length import PromptLength
from desktop.settings import CreateSettings
from desktop.theme import mark
from desktop.widgets.advanced import Advanced
from desktop.widgets.availability import set_unavailable
from desktop.widgets.fold import Fold
from desktop.widgets.form import captioned, fill_panel, rows
from desktop.widgets.icon_button import IconButton
from desktop.widgets.model_picker import ModelPicker
from desktop.widgets.prompt_box import PromptBox
from desktop.widgets.scheduler_choice import SchedulerChoice
from desktop.widgets.seed_field import SeedField
from desktop.widgets.size_field import SizeField
from desktop.widgets.slider_spin import SliderSpin
from desktop.widgets.start_well import StartWell


class CreatePanel(QWidget):
    """All that makes up a request, and the buttons that start and stop a run.

    Signals:
        generate_requested(): The person wants the picture.
        stop_requested(): The person wants the run to end.
        changed(): A control was changed.
    """

    generate_requested = Signal()
    stop_requested = Signal()
    changed = Signal()

    def __init__(self, models: ModelPicker) -> None:
        """Build the controls around the choice of ``models``."""
        super().__init__()
        self.prompt = PromptBox(self.tr("Prompt"), self.tr("Describe the picture"), lines=(4, 12))
        self.length = QLabel()
        mark(self.length, "quiet")
        self.length.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.length.setToolTip(self.tr("The text encoder reads 75 tokens at a time, a block."))
        self._length = PromptLength(self)
        self.negative = PromptBox(
            self.tr("Negative prompt"), self.tr("What to keep away from"), lines=(2, 6)
        )
        self.model = models
        self._card: ModelCard | None = None
        self.start = StartWell()
        self.scheduler = SchedulerChoice()
        self.scheduler.setToolTip(self.tr("The method that takes the noise away, step by step"))
        self.steps = SliderSpin(self.tr("Steps"), allowed=(1, MAX_STEPS), usual=(1, 60))
        self.steps.setToolTip(self.tr("More steps take longer and come out cleaner, to a point."))
        self.guidance = SliderSpin(
            self.tr("Guidance"), allowed=(0, 100), usual=(1, 15), step=0.5, decimals=3
        )
        self.guidance.setToolTip(
            self.tr("How strictly the prompt is followed. At 1 it is not enforced at all.")
        )
        self.picture_size = SizeField()
        self.seed = SeedField()
        self.count = SliderSpin(self.tr("Number of pictures"), allowed=(1, MAX_COUNT), usual=(1, 8))
        self.count.setToolTip(self.tr("How many pictures a run makes, one seed apart"))
        self.advanced = Advanced()
        self.fold = Fold(self.tr("Advanced"), self.advanced)
        self.generate = QPushButton(self.tr("Generate"))
        mark(self.generate, "primary")
        self.stop = IconButton("stop", self.tr("Stop after this step  (Esc)"))
        mark(self.stop, "framed")
        self.stop.setFixedSize(36, 36)
        self._lay_out()
        self._connect()
        self.set_values(CreateSettings())
        self.set_running(making=False, queued=False, waiting=0)

    def values(self) -> CreateSettings:
        """Give what the controls say."""
        size = self.picture_size.value()
        return CreateSettings(
            prompt=self.prompt.toPlainText().strip(),
            negative_prompt=self.negative.toPlainText().strip(),
            model=self.model.chosen_model,
            scheduler=self.scheduler.value(),
            steps=int(self.steps.value()),
            guidance_scale=self.guidance.value(),
            guidance_rescale=self.advanced.rescale.value(),
            guidance_start=self.advanced.start.value() / 100,
            guidance_end=self.advanced.end.value() / 100,
            precision=self.advanced.precision.value(),
            compute_units=self.advanced.units.value(),
            width=size.width(),
            height=size.height(),
            seed=self.seed.seed,
            seed_locked=self.seed.locked,
            count=int(self.count.value()),
            start_image=self.start.path,
            strength=self.start.strength.value(),
            preview=self.advanced.preview.value(),
        )

    def asked(self) -> CreateSettings:
        """Give what the controls ask for: what is disabled asks for nothing."""
        controls: dict[QWidget, tuple[str, ...]] = {
            self.negative: ("negative_prompt",),
            self.advanced.rescale: ("guidance_rescale",),
            self.advanced.interval: ("guidance_start", "guidance_end"),
            self.start: ("start_image", "strength"),
            self.advanced.precision: ("precision",),
            self.advanced.units: ("compute_units",),
        }
        usual = CreateSettings()
        idle: dict[str, Any] = {
            name: getattr(usual, name)
            for control, names in controls.items()
            if not control.isEnabled()
            for name in names
        }
        return dataclasses.replace(self.values(), **idle)

    def set_values(self, values: CreateSettings) -> None:
        """Bring the controls to ``values``, each within what it allows."""
        self.prompt.set_text(values.prompt)
        self.negative.set_text(values.negative_prompt)
        self.model.set_model(values.model)
        self.scheduler.set_value(values.scheduler)
        self.steps.set_value(values.steps)
        self.guidance.set_value(values.guidance_scale)
        self.advanced.set_values(values)
        self.picture_size.set_value(
            QSize(min(values.width, MAX_SIDE), min(values.height, MAX_SIDE))
        )
        self.seed.set_seed(values.seed, locked=values.seed_locked)
        self.count.set_value(values.count)
        self.start.set_strength(values.strength)
        self.start.set_path(values.start_image)
        self._refresh()

    def set_defaults(self) -> None:
        """Bring the controls to what suits the model best."""
        if card := self.model.card:
            self.steps.set_value(card.steps)
            self.guidance.set_value(card.guidance_scale)
            self.scheduler.set_value(card.scheduler)
            self.picture_size.go_to_model_size()

    def take_request(self) -> Request:
        """Give the request of the next run, its seed chosen and shown.

        Raises:
            InvalidRequest: If the controls contradict each other; the one at fault has the focus.
        """
        # A shortcut leaves no field, so that what is being typed would not count.
        self.picture_size.settle()
        values = self.asked()
        try:
            values.request()
        except InvalidRequest as error:
            self.focus_field(error.field)
            raise
        return dataclasses.replace(values, seed=self.seed.take(values.count)).request()

    def edit_prompt(self) -> None:
        """Put the caret at the end of the prompt."""
        self.prompt.setFocus()
        self.prompt.moveCursor(QTextCursor.MoveOperation.End)

    def focus_field(self, field: str) -> None:
        """Put the focus on the control of a request's field."""
        controls: dict[str, QWidget] = {
            "prompts": self.prompt,
            "negative_prompt": self.negative,
            "model": self.model,
            "steps": self.steps,
            "guidance_scale": self.guidance,
            "width": self.picture_size.width_spin,
            "height": self.picture_size.height_spin,
            "seed": self.seed,
            "count": self.count,
            "strength": self.start.strength,
        }
        if control := controls.get(field):
            control.setFocus()

    def set_running(self, *, making: bool, queued: bool, waiting: int) -> None:
        """Show what a press of the buttons does.

        Args:
            making: Whether pictures are being made, which can be stopped.
            queued: Whether something has the engine, so that pictures wait for it.
            waiting: How many jobs wait.
        """
        self.stop.setEnabled(making)
        text = self.tr("Add to Queue") if queued else self.tr("Generate")
        self.generate.setText(f"{text}  ({waiting})" if waiting else text)
        keys = QKeySequence("Ctrl+Return").toString(QKeySequence.SequenceFormat.NativeText)
        tip = self.tr("Make the picture")
        if queued:
            tip = self.tr("Make this picture when those before it are done")
        self.generate.setToolTip(f"{tip}  ({keys})")

    def close_down(self) -> None:
        """Count no more tokens."""
        self._length.close()

    def _lay_out(self) -> None:
        grid = rows(
            (
                (self.tr("Model"), self.model),
                (self.tr("Scheduler"), self.scheduler),
                (self.tr("Steps"), self.steps),
                (self.tr("Guidance"), self.guidance),
                (self.tr("Size"), self.picture_size),
                (self.tr("Seed"), self.seed),
                (self.tr("Pictures"), self.count),
            )
        )
        content = QWidget()
        content.setObjectName("panel")
        column = QVBoxLayout(content)
        column.setContentsMargins(16, 16, 16, 12)
        column.setSpacing(12)
        prompt = captioned(self.tr("Prompt"), self.prompt)
        prompt.addWidget(self.length)
        column.addLayout(prompt)
        column.addLayout(captioned(self.tr("Negative prompt"), self.negative))
        column.addWidget(self.start)
        column.addLayout(grid)
        column.addWidget(self.fold)
        column.addStretch(1)
        fill_panel(self, content, self.generate, self.stop)

    def _connect(self) -> None:
        self.generate.clicked.connect(self.generate_requested)
        self.stop.clicked.connect(self.stop_requested)
        self.model.chosen.connect(self._on_model)
        self._length.known.connect(self.length.setText)
        for signal in (
            self.prompt.textChanged,
            self.negative.textChanged,
            self.scheduler.currentIndexChanged,
            self.steps.value_changed,
            self.guidance.value_changed,
            self.picture_size.changed,
            self.seed.changed,
            self.count.value_changed,
            self.start.changed,
            self.advanced.changed,
        ):
            signal.connect(self._on_change)

    def _on_change(self) -> None:
        self._refresh()
        self.changed.emit()

    @Slot(object)
    def _on_model(self, card: ModelCard) -> None:
        """Fit the controls to the model; those that stood at the last one's defaults move along."""
        before, self._card = self._card, card
        why = self.tr("This model does not work with it.")
        self.scheduler.offer(card.schedulers, why, card.refused_schedulers)
        self.advanced.offer(card)
        self.picture_size.set_model_size(card.width, card.height, card.size_multiple, card.sizes)
        set_unavailable(self.start, card.limits.get("init_image", ""))
        if before is not None:
            if before.name != card.name:
                self.advanced.units.set_value(AUTO)
            if self.steps.value() == before.steps:
                self.steps.set_value(card.steps)
            if self.guidance.value() == before.guidance_scale:
                self.guidance.set_value(card.guidance_scale)
            if self.scheduler.value() is before.scheduler:
                self.scheduler.set_value(card.scheduler)
            if (before.width, before.height) != (card.width, card.height):
                self.picture_size.go_to_model_size()
        self._on_change()

    def _refresh(self) -> None:
        """Let every control say whether it has a say."""
        self.start.set_steps(int(self.steps.value()))
        card = self._card
        if card is not None:
            self._length.ask(card.path, self.prompt.toPlainText().strip())
        # What other models ignore they ignore at guidance 1 alone.
        ignored = card.ignored if card is not None and card.guidance_embedding else {}
        unguided = self.guidance.value() <= 1
        why = self.tr("Guidance is 1, so nothing leads away from the negative prompt; raise it.")
        set_unavailable(self.negative, ignored.get("negative_prompt", why if unguided else ""))
        why = self.tr("Guidance is 1, so there is none to adjust; raise it.")
        for name, control in (
            ("guidance_rescale", self.advanced.rescale),
            ("guidance_start", self.advanced.interval),
        ):
            set_unavailable(control, ignored.get(name, why if unguided else ""))
