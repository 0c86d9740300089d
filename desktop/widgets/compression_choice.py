"""The choice of how a converted model's weights are packed."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from coreml_export.request import Compression, Packing
from desktop.convert_words import packings
from desktop.widgets.availability import set_unavailable
from desktop.widgets.choice import Choice
from desktop.widgets.form import quiet_lines
from desktop.widgets.slider_spin import CalmSpin


class Target(StrEnum):
    """What a measured compression is held to."""

    BITS = "bits"
    DECIBELS = "decibels"


class CompressionChoice(QWidget):
    """A way to pack weights, what is known of it, and what it is held to if it is measured.

    Signals:
        changed(): After every change.
    """

    changed = Signal()

    def __init__(self) -> None:
        """Start without compression."""
        super().__init__()
        self.packing = Choice[Packing](self.tr("Compression"), packings())
        self.packing.setToolTip(
            self.tr("Of the UNet, the text encoders and ControlNets; the VAE stays as it is")
        )
        self.target = CalmSpin()
        self.target.setAccessibleName(self.tr("How many"))
        self.target_unit = Choice[Target](
            self.tr("Held to"),
            {
                Target.BITS: (self.tr("bits a weight, on average"), ""),
                Target.DECIBELS: (self.tr("dB to 16 bits, at least"), ""),
            },
        )
        self.about = quiet_lines()
        self._held = QWidget()
        held = QHBoxLayout(self._held)
        held.setContentsMargins(0, 0, 0, 0)
        held.setSpacing(8)
        held.addWidget(self.target)
        held.addWidget(self.target_unit, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for widget in (self.packing, self._held, self.about):
            column.addWidget(widget)
        self.setFocusProxy(self.packing)
        self.packing.currentIndexChanged.connect(self._on_packing)
        self.target_unit.currentIndexChanged.connect(self._on_unit)
        self.target.valueChanged.connect(self.changed)
        self._on_unit()
        self._on_packing()

    def offer(self, values: Collection[Packing], reason: str) -> None:
        """Let only these be chosen.

        Args:
            values: The ways to pack weights that there are.
            reason: Why there is no choice, or empty.
        """
        self.packing.offer(values, reason)
        set_unavailable(self.packing, reason)

    def value(self) -> Compression:
        """Give what is chosen.

        Raises:
            InvalidRequest: If the target is none that can be held.
        """
        packing = self.packing.value()
        if packing is not Packing.MIXED:
            return Compression(packing)
        if self.target_unit.value() is Target.BITS:
            return Compression(packing, bits=self.target.value())
        return Compression(packing, decibels=self.target.value())

    def set_value(self, compression: Compression) -> None:
        """Choose something else."""
        self.packing.set_value(compression.packing)
        if compression.packing is Packing.MIXED:
            is_bits = compression.bits is not None
            self.target_unit.set_value(Target.BITS if is_bits else Target.DECIBELS)
            self.target.setValue(compression.bits or compression.decibels or 0)

    def _on_packing(self) -> None:
        packing = self.packing.value()
        self.about.setText(packings()[packing][1])
        self._held.setVisible(packing is Packing.MIXED)
        self.changed.emit()

    def _on_unit(self) -> None:
        is_bits = self.target_unit.value() is Target.BITS
        self.target.setRange(*(Compression.BITS if is_bits else Compression.DECIBELS))
        self.target.setSingleStep(0.5 if is_bits else 5)
        self.target.setValue(Compression.DEFAULT_BITS if is_bits else 60)
        self.changed.emit()
