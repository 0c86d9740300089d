"""The settings that most pictures do without."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QWidget

from core.models.catalog import ModelCard
from core.request import Precision, PreviewDecoder
from desktop.settings import CreateSettings
from desktop.widgets.availability import set_unavailable
from desktop.widgets.choice import Choice
from desktop.widgets.form import rows, show_row
from desktop.widgets.slider_spin import CalmSpin, SliderSpin
from desktop.widgets.units_choice import UnitsChoice


class Advanced(QWidget):
    """Guidance rescale and interval, precision, processors, previews.

    Signals:
        changed(): After every change.
    """

    changed = Signal()

    def __init__(self) -> None:
        """Start at the defaults."""
        super().__init__()
        self.rescale = SliderSpin(
            self.tr("Guidance rescale"), allowed=(0, 1), usual=(0, 1), step=0.05, decimals=3
        )
        self.rescale.setToolTip(
            self.tr("Takes back the glare of high guidance; 0.7 is a usual value, 0 is off.")
        )
        self.start = _share(self.tr("Guidance begins at"))
        self.end = _share(self.tr("Guidance ends at"))
        self.interval = QWidget()
        self.interval.setToolTip(
            self.tr("The part of the run that is guided; outside of it a step costs half.")
        )
        row = QHBoxLayout(self.interval)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.start, 1)
        row.addWidget(QLabel(self.tr("to")))
        row.addWidget(self.end, 1)
        self.interval.setFocusProxy(self.start)
        self.precision = Choice[Precision](
            self.tr("Precision"),
            {
                Precision.AUTO: (self.tr("Automatic"), self.tr("What suits this machine.")),
                Precision.FP32: ("fp32", self.tr("Exact; most memory.")),
                Precision.FP16: ("fp16", self.tr("Half the memory; for graphics processors.")),
                Precision.BF16: ("bf16", self.tr("Half the memory, coarser, never overflows.")),
            },
        )
        self.units = UnitsChoice()
        self.preview = Choice[PreviewDecoder](
            self.tr("Preview"),
            {
                PreviewDecoder.LINEAR: (self.tr("Fast"), self.tr("At every step, at no cost.")),
                PreviewDecoder.TINY: (
                    self.tr("Small decoder"),
                    self.tr("Sharper, by a small decoder made for it."),
                ),
                PreviewDecoder.FULL: (
                    self.tr("Sharp"),
                    self.tr("Decoded by the model itself, as often as time allows."),
                ),
                PreviewDecoder.OFF: (self.tr("Off"), self.tr("Nothing until it is finished.")),
            },
        )
        self._rows = rows(
            (
                (self.tr("Rescale"), self.rescale),
                (self.tr("Guided"), self.interval),
                (self.tr("Precision"), self.precision),
                (self.tr("Run on"), self.units),
                (self.tr("Preview"), self.preview),
            ),
            tall=True,
        )
        self.setLayout(self._rows)
        self.start.valueChanged.connect(self._on_start)
        self.end.valueChanged.connect(self._on_end)
        self.rescale.value_changed.connect(self.changed)
        self.precision.currentIndexChanged.connect(self.changed)
        self.units.changed.connect(self.changed)
        self.preview.currentIndexChanged.connect(self.changed)
        self.end.setValue(100)

    def set_values(self, values: CreateSettings) -> None:
        """Show these settings' advanced part."""
        self.rescale.set_value(values.guidance_rescale)
        self.end.setValue(100)
        self.start.setValue(100 * values.guidance_start)
        self.end.setValue(100 * values.guidance_end)
        self.precision.set_value(values.precision)
        self.units.set_value(values.compute_units)
        self.preview.set_value(values.preview)

    def offer(self, card: ModelCard) -> None:
        """Offer what a model has."""
        self.preview.offer(card.preview_decoders, self.tr("This model has none."))
        set_unavailable(self.precision, card.limits.get("precision", ""))
        self.units.offer(card.usual_units, card.units_refused)
        show_row(self._rows, self.units, shown=bool(card.usual_units))

    def _on_start(self, value: float) -> None:
        self.end.setValue(max(self.end.value(), value))
        self.changed.emit()

    def _on_end(self, value: float) -> None:
        self.start.setValue(min(self.start.value(), value))
        self.changed.emit()


def _share(name: str) -> CalmSpin:
    spin = CalmSpin()
    spin.setRange(0, 100)
    spin.setDecimals(2)
    spin.setSingleStep(5)
    spin.setSuffix(" %")
    spin.setAccessibleName(name)
    return spin
