"""A control for a setting, whatever its type, behind one way to read and set it."""

from __future__ import annotations

from enum import StrEnum

from PySide6.QtCore import QLocale, QObject, Signal
from PySide6.QtGui import QDoubleValidator
from PySide6.QtWidgets import QCheckBox, QLineEdit, QWidget

from desktop.train_fields import Field
from desktop.train_settings import Plain
from desktop.widgets.choice import Choice
from desktop.widgets.prompt_box import PromptBox
from desktop.widgets.slider_spin import CalmSpin, SliderSpin

_FINE = 8
"""Digits from which on a number is written as people write learning rates: ``1e-4``."""


class FieldControl(QObject):
    """A control and what stands in it.

    Signals:
        changed(): After every change.
    """

    changed = Signal()

    def __init__(self, widget: QWidget, field: Field) -> None:
        """Take a widget for a setting's control; its name and tooltip are the setting's."""
        super().__init__(widget)
        self.widget = widget
        self.field = field
        widget.setToolTip(field.tip)
        widget.setAccessibleName(field.label)

    def value(self) -> Plain:
        """Give what stands in it."""
        raise NotImplementedError

    def set_value(self, value: Plain) -> None:
        """Put something else there."""
        raise NotImplementedError


def control_of(field: Field, kind: type) -> FieldControl:
    """Make the control of a setting.

    Args:
        field: What it is called, and its range.
        kind: The type of what stands in it.
    """
    if field.choices:
        return _ChoiceControl(field)
    if kind is bool:
        return _FlagControl(field)
    if kind is int or kind is float:
        is_fine = field.decimals >= _FINE
        return _RateControl(field) if is_fine else _NumberControl(field, kind)
    return _LinesControl(field) if field.lines else _TextControl(field)


class _NumberControl(FieldControl):
    def __init__(self, field: Field, kind: type) -> None:
        self._kind = kind
        self._slider: SliderSpin | None = None
        if field.usual is None:
            self._spin = CalmSpin()
            self._spin.setDecimals(field.decimals)
            self._spin.setRange(*field.allowed)
            self._spin.setSingleStep(field.step)
        else:
            self._slider = SliderSpin(
                field.label,
                allowed=field.allowed,
                usual=field.usual,
                step=field.step,
                decimals=field.decimals,
            )
            self._spin = self._slider.spin
        self._spin.setSpecialValueText(field.zero)
        if field.zero and self._slider is not None:
            self._spin.setFixedWidth(92)
        super().__init__(self._slider or self._spin, field)
        self._spin.valueChanged.connect(lambda _value: self.changed.emit())

    def value(self) -> Plain:
        value: Plain = self._kind(self._spin.value())
        return value

    def set_value(self, value: Plain) -> None:
        if self._slider is not None:
            self._slider.set_value(float(value) if isinstance(value, int | float) else 0)
        elif isinstance(value, int | float):
            self._spin.setValue(value)


class _RateControl(FieldControl):
    """A number that is mostly very small; empty for 0."""

    def __init__(self, field: Field) -> None:
        self._text = QLineEdit()
        self._text.setPlaceholderText(field.zero)
        validator = QDoubleValidator(*field.allowed, 12, self._text)
        validator.setLocale(QLocale.c())
        self._text.setValidator(validator)
        super().__init__(self._text, field)
        self._text.textChanged.connect(self.changed)

    def value(self) -> Plain:
        try:
            return float(self._text.text())
        except ValueError:
            return 0.0

    def set_value(self, value: Plain) -> None:
        if value != self.value() or not value:
            self._text.setText(f"{value:.6g}" if value else "")


class _FlagControl(FieldControl):
    def __init__(self, field: Field) -> None:
        self._box = QCheckBox()
        super().__init__(self._box, field)
        self._box.toggled.connect(self.changed)

    def value(self) -> Plain:
        return self._box.isChecked()

    def set_value(self, value: Plain) -> None:
        self._box.setChecked(bool(value))


class _ChoiceControl(FieldControl):
    def __init__(self, field: Field) -> None:
        self._choice = Choice[StrEnum](field.label, field.choices)
        super().__init__(self._choice, field)
        self._choice.currentIndexChanged.connect(self.changed)

    def value(self) -> Plain:
        return self._choice.value()

    def set_value(self, value: Plain) -> None:
        if isinstance(value, StrEnum):
            self._choice.set_value(value)


class _TextControl(FieldControl):
    def __init__(self, field: Field) -> None:
        self._text = QLineEdit()
        self._text.setPlaceholderText(field.hint)
        super().__init__(self._text, field)
        self._text.textChanged.connect(self.changed)

    def value(self) -> Plain:
        return self._text.text().strip()

    def set_value(self, value: Plain) -> None:
        if value != self.value():
            self._text.setText(str(value))


class _LinesControl(FieldControl):
    """Several texts, one a line."""

    def __init__(self, field: Field) -> None:
        self._box = PromptBox(field.label, field.hint, lines=(2, 6))
        super().__init__(self._box, field)
        self._box.textChanged.connect(self.changed)

    def value(self) -> Plain:
        lines = (line.strip() for line in self._box.toPlainText().splitlines())
        return tuple(line for line in lines if line)

    def set_value(self, value: Plain) -> None:
        if isinstance(value, tuple) and value != self.value():
            self._box.set_text("\n".join(value))
