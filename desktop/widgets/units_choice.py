"""The choice of what runs a model that was exported for a Mac's processors."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from core.compute_units import AUTO, ComputeUnits, units_of, units_text
from core.errors import InvalidRequest
from desktop.convert_words import part_name
from desktop.widgets.availability import set_unavailable
from desktop.widgets.choice import Choice
from desktop.widgets.form import captioned

EACH = "each"
"""Stands among the choices for one of its own for each part."""


class UnitsChoice(QWidget):
    """One choice for the whole model, and below it one for each part if the person wants that.

    Signals:
        changed(): After every change.
    """

    changed = Signal()

    def __init__(self) -> None:
        """Start without a model, which leaves nothing to choose."""
        super().__init__()
        self._usual: Mapping[str, ComputeUnits] = {}
        self._units: Mapping[str, tuple[str, str]] = {
            ComputeUnits.CPU_ANE: (
                self.tr("Neural Engine"),
                self.tr("Sparing of energy; the first loading may take minutes."),
            ),
            ComputeUnits.CPU_GPU: (
                self.tr("GPU"),
                self.tr("Fastest on Pro, Max and Ultra chips, and what SDXL needs."),
            ),
            ComputeUnits.CPU: (
                self.tr("CPU"),
                self.tr("Slowest, and the way out where the others fail."),
            ),
            ComputeUnits.ALL: (
                self.tr("All"),
                self.tr("The system shares the work out; one of them is often faster."),
            ),
        }
        self.whole = Choice[str](
            self.tr("Run on"),
            {
                AUTO: (
                    self.tr("Automatic"),
                    self.tr("What Apple advises for this model and this machine."),
                ),
                **self._units,
                EACH: (self.tr("Each part by itself"), self.tr("A choice for each of its parts.")),
            },
        )
        self.parts: dict[str, Choice[str]] = {}
        self._each = QWidget()
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(8)
        self._column.addWidget(self.whole)
        self._column.addWidget(self._each)
        self.setFocusProxy(self.whole)
        self.setToolTip(self.tr("The compute units: which of the Mac's processors are used"))
        self._each.hide()
        self.whole.currentIndexChanged.connect(self._on_whole)

    def offer(self, usual: Mapping[str, ComputeUnits], refusal: str) -> None:
        """Offer what there is for a model; the present choice stays if the model has its parts.

        Args:
            usual: What runs each of its parts where nothing else is asked for; empty for a model
                that leaves nothing to choose.
            refusal: Why there is no choice on this system, or empty.
        """
        chosen = self.value()
        if list(usual) != list(self._usual):
            self._replace_parts(usual)
        self._usual = usual
        whole = [AUTO, *ComputeUnits]
        reason = self.tr("This model has one part.")
        self.whole.offer([*whole, EACH] if len(usual) > 1 else whole, reason)
        self.whole.set_text(AUTO, self._automatic(named=not refusal))
        self.set_value(chosen)
        set_unavailable(self, refusal)

    def value(self) -> str:
        """Give what a request asks for."""
        whole = self.whole.value()
        if whole != EACH:
            return whole
        units = {part: ComputeUnits(choice.value()) for part, choice in self.parts.items()}
        return units_text(units)

    def set_value(self, text: str) -> None:
        """Show what a request asks for; what the model cannot have becomes automatic."""
        try:
            units = units_of(text, self._usual)
        except InvalidRequest:
            text, units = AUTO, units_of(AUTO, self._usual)
        shared = AUTO if text == AUTO or not units else units_text(units)
        self._show_each(units)
        self.whole.set_value(shared if shared in (AUTO, *ComputeUnits) else EACH)

    def _on_whole(self) -> None:
        whole = self.whole.value()
        if whole != EACH:
            # A choice for each part begins at what it has.
            self._show_each(units_of(whole, self._usual))
        self._each.setVisible(whole == EACH)
        self.changed.emit()

    def _show_each(self, units: Mapping[str, ComputeUnits]) -> None:
        for part, choice in self.parts.items():
            with QSignalBlocker(choice):
                choice.set_value(units[part])

    def _automatic(self, *, named: bool) -> str:
        """Say what automatic means for the model."""
        units = set(self._usual.values())
        if not named or len(units) != 1:
            return self.tr("Automatic")
        return self.tr("Automatic ({0})").format(self._units[units.pop()][0])

    def _replace_parts(self, usual: Mapping[str, ComputeUnits]) -> None:
        self._each.hide()
        self._each.deleteLater()
        self._each = QWidget()
        self._column.addWidget(self._each)
        column = QVBoxLayout(self._each)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        self.parts = {}
        before: QWidget = self.whole
        for part, units in usual.items():
            choice = self.parts[part] = Choice[str](part_name(part), self._units)
            choice.set_value(units)
            choice.currentIndexChanged.connect(self.changed)
            column.addLayout(captioned(part_name(part), choice))
            self.setTabOrder(before, choice)
            before = choice
        self._each.setVisible(self.whole.value() == EACH)
