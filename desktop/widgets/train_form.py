"""The controls of all settings of a training, those of the chosen method in sight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from PySide6.QtCore import QCoreApplication, QObject, Signal
from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from core.training.config import Method
from desktop.train_fields import Field, Group, fields_in_sight
from desktop.train_more_fields import folded_fields, folds
from desktop.train_say import AS_LORA, unheard
from desktop.train_settings import DEVICE, TrainSettings, all_leaves, leaves, may_change
from desktop.widgets.availability import set_unavailable
from desktop.widgets.field_control import FieldControl, control_of
from desktop.widgets.fold import Fold
from desktop.widgets.form import captioned, rows, show_row

LABEL_WIDTH = 92

_ERROR_NAMES = {
    "batch": "batch_size",
    "dtype": "precision",
    "loss": "loss.kind",
    "optimiser": "optimiser.name",
    "sample_prompt": "samples.prompts",
    "sample_every": "samples.every",
    "sample_negative": "samples.negative_prompt",
    "sample_steps": "samples.steps",
    "sample_guidance": "samples.guidance_scale",
    "sample_seed": "samples.seed",
}
"""Settings that an error calls otherwise than by the last part of their names."""


class TrainForm(QObject):
    """Makes the controls, lays them out and knows what stands in them.

    Signals:
        changed(): After every change.
    """

    changed = Signal()

    def __init__(self, parent: QWidget) -> None:
        """Make all controls, each at its default."""
        super().__init__(parent)
        self.controls: dict[str, FieldControl] = {}
        for field in (*fields_in_sight(), *folded_fields()):
            self.controls[field.name] = control_of(field, all_leaves()[field.name].kind)
        self._grids: dict[Group, QGridLayout] = {}
        self._method = Method.LORA
        self._is_setting = self._is_begun = False
        self.every = self._block(Group.SAMPLES, ("samples.every",))
        self.prompts = _whole_line(self.controls["samples.prompts"])
        self.method_rows = self._block(Group.METHOD)
        self.folds = {group: Fold(title, self._block(group)) for group, title in folds().items()}
        for fold in self.folds.values():
            # Or it would be a window of its own when it is shown.
            fold.setParent(parent)
        self.set_values({})
        for control in self.controls.values():
            control.changed.connect(self._on_change)

    def values(self) -> dict[str, Any]:
        """Give what stands in the controls, as far as it is not as it is by default."""
        default = TrainSettings()
        return {
            name: control.value()
            for name, control in self.controls.items()
            if control.value() != default.value(name)
        }

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Bring the controls to ``values``; those not given to their defaults."""
        given = TrainSettings(values=values)
        self._is_setting = True
        for name, control in self.controls.items():
            control.set_value(given.value(name))
        self._is_setting = False
        self._on_change()

    def set_method(self, method: Method) -> None:
        """Show the controls that a method has."""
        if method is not self._method:
            self._method = method
            self._refresh()

    def set_begun(self, *, begun: bool) -> None:
        """Let only that be changed which a training that has begun may have otherwise."""
        if begun is not self._is_begun:
            self._is_begun = begun
            self._refresh()

    def control_at_fault(self, error_field: str) -> FieldControl | None:
        """Find the control of the setting that an error names."""
        wanted = _ERROR_NAMES.get(error_field, error_field)
        for name, control in self.controls.items():
            if wanted in (name, name.rpartition(".")[2]) and self._has(name):
                return control
        return None

    def unfold(self, control: FieldControl) -> None:
        """Open what hides a control."""
        if fold := self.folds.get(control.field.group):
            fold.set_open(shown=True)

    def _block(self, group: Group, only: tuple[str, ...] = ()) -> QWidget:
        """Lay out a group's controls below each other."""
        block = QWidget()
        grid = rows(
            [
                (field.label, self.controls[field.name].widget)
                for field in self._fields(group)
                if not only or field.name in only
            ],
            LABEL_WIDTH,
        )
        block.setLayout(grid)
        self._grids[group] = grid
        return block

    def _fields(self, group: Group) -> Iterator[Field]:
        return (c.field for c in self.controls.values() if c.field.group is group)

    def _on_change(self) -> None:
        # One by one they would each be looked at as often as there are controls.
        if not self._is_setting:
            self._refresh()
            self.changed.emit()

    def _has(self, name: str) -> bool:
        """Whether a control has a say in the method chosen."""
        own = name == AS_LORA and self._method is Method.DREAMBOOTH
        return name in leaves(self._method) or own or name == DEVICE

    def _refresh(self) -> None:
        """Show what the method has, and let every control say whether it has a say."""
        for group, grid in self._grids.items():
            shown = [self._show(grid, field) for field in self._fields(group)]
            if group in self.folds:
                self.folds[group].setVisible(any(shown))
        reasons = unheard(self._method, lambda name: self.controls[name].value())
        if self._is_begun:
            fixed = self.tr("It stays as it was when the training began.")
            reasons |= {name: fixed for name in self.controls if not may_change(name)}
        for name, control in self.controls.items():
            set_unavailable(control.widget, reasons.get(name, ""))

    def _show(self, grid: QGridLayout, field: Field) -> bool:
        shown, widget = self._has(field.name), self.controls[field.name].widget
        if grid.indexOf(widget) >= 0:
            show_row(grid, widget, shown=shown)
        return shown


def _whole_line(control: FieldControl) -> QWidget:
    """Lay out a control below its label."""
    block = QWidget()
    column: QVBoxLayout = captioned(control.field.label, control.widget)
    column.setContentsMargins(0, 0, 0, 0)
    block.setLayout(column)
    return block


def changes_in_words(before: TrainSettings, after: TrainSettings) -> str:
    """Say which controls stand at something else, and at what."""
    parts = []
    for field in (*fields_in_sight(), *folded_fields()):
        value = after.value(field.name)
        if value == before.value(field.name):
            continue
        if isinstance(value, bool):
            shown = _tr("on") if value else _tr("off")
        else:
            shown = next((text for one, (text, _) in field.choices.items() if one == value), "")
        parts.append(f"{field.label} {shown or value}")
    return ", ".join(parts)


def _tr(text: str) -> str:
    return QCoreApplication.translate("TrainForm", text)
