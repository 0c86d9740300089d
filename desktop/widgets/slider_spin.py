"""A number set by hand or by a slider."""

from __future__ import annotations

from PySide6.QtCore import QLocale, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QDoubleSpinBox, QHBoxLayout, QSlider, QWidget


class CalmSpin(QDoubleSpinBox):
    """A number field that the wheel changes only once it has been clicked into."""

    def __init__(self, parent: QWidget | None = None) -> None:
        """Start with the focus rule that makes ``wheelEvent`` hold."""
        super().__init__(parent)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAlignment(Qt.AlignmentFlag.AlignRight)

    def textFromValue(self, value: float) -> str:
        """Show no more digits than the number has."""
        locale = self.locale()
        locale.setNumberOptions(QLocale.NumberOption.OmitGroupSeparator)
        return locale.toString(value, "g", 10)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Leave the wheel to the panel that is being scrolled."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class _CalmSlider(QSlider):
    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()


class SliderSpin(QWidget):
    """A slider over the usual values and a field for all that are allowed.

    Signals:
        value_changed(float): After every change, by whatever means.
    """

    value_changed = Signal(float)

    def __init__(
        self,
        name: str,
        *,
        allowed: tuple[float, float],
        usual: tuple[float, float],
        step: float = 1.0,
        decimals: int = 0,
    ) -> None:
        """Make both.

        Args:
            name: What the number is, for a screen reader.
            allowed: Least and largest value of the field.
            usual: Least and largest value of the slider.
            step: Of the slider and of the field's arrows.
            decimals: Digits after the point.
        """
        super().__init__()
        self._step = step
        self.spin = CalmSpin()
        self.spin.setDecimals(decimals)
        self.spin.setRange(*allowed)
        self.spin.setSingleStep(step)
        self.spin.setFixedWidth(74)
        self.spin.setAccessibleName(name)
        self.slider = _CalmSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(round(usual[0] / step), round(usual[1] / step))
        self.slider.setAccessibleName(name)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(10)
        layout.addWidget(self.slider, 1)
        layout.addWidget(self.spin)
        self.setFocusProxy(self.spin)
        self.spin.valueChanged.connect(self._on_spin)
        self.slider.valueChanged.connect(self._on_slider)

    def value(self) -> float:
        """The number in the field."""
        return self.spin.value()

    def set_value(self, value: float) -> None:
        """Set the number, brought into what is allowed."""
        self.spin.setValue(value)
        self._on_spin(self.spin.value())

    def _on_spin(self, value: float) -> None:
        with QSignalBlocker(self.slider):
            self.slider.setValue(round(value / self._step))
        self.value_changed.emit(value)

    def _on_slider(self, position: int) -> None:
        self.spin.setValue(position * self._step)
