"""Width and height, with the usual shapes at hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PySide6.QtCore import QSize, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QMenu, QToolButton, QWidget

from core.request import LATENT_SCALE, MAX_SIDE
from desktop.widgets.availability import set_unavailable
from desktop.widgets.icon_button import IconButton
from desktop.widgets.slider_spin import CalmSpin

SHAPES = ((1, 1), (4, 3), (3, 2), (16, 9), (3, 4), (2, 3), (9, 16))
TIMES = "\N{MULTIPLICATION SIGN}"


def sized(ratio: tuple[int, int], pixels: int, multiple: int) -> QSize:
    """Give the size of a shape with about so many pixels.

    Args:
        ratio: Of width to height.
        pixels: How many the picture should have in all.
        multiple: What width and height must be multiples of.
    """
    wide, high = ratio
    width, height = math.sqrt(pixels * wide / high), math.sqrt(pixels * high / wide)
    return QSize(snapped(width, multiple), snapped(height, multiple))


def snapped(side: float, multiple: int) -> int:
    """Give the nearest side that is allowed, in pixels."""
    return min(max(round(side / multiple) * multiple, multiple), MAX_SIDE)


class SizeField(QWidget):
    """Two fields, a button that swaps them and a menu of shapes.

    Signals:
        changed(): After every change.
    """

    changed = Signal()

    def __init__(self) -> None:
        """Start at the default size of a request."""
        super().__init__()
        self.width_spin = _SideSpin(self.tr("Width"))
        self.height_spin = _SideSpin(self.tr("Height"))
        self.swap = IconButton("swap", self.tr("Swap width and height"))
        self.shapes = IconButton("aspect", self.tr("Choose a shape"))
        self.shapes.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._menu = QMenu(self.shapes)
        self.shapes.setMenu(self._menu)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.width_spin, 1)
        layout.addWidget(QLabel(TIMES))
        layout.addWidget(self.height_spin, 1)
        layout.addWidget(self.swap)
        layout.addWidget(self.shapes)
        self.setFocusProxy(self.width_spin)
        self.width_spin.valueChanged.connect(self.changed)
        self.height_spin.valueChanged.connect(self.changed)
        self.swap.clicked.connect(self._on_swap)
        self._native = QSize(512, 512)
        self.set_model_size(512, 512, LATENT_SCALE)

    def value(self) -> QSize:
        """Width and height in pixels."""
        return QSize(int(self.width_spin.value()), int(self.height_spin.value()))

    def set_value(self, size: QSize) -> None:
        """Set both, to the nearest sides that are allowed."""
        for spin, side in ((self.width_spin, size.width()), (self.height_spin, size.height())):
            spin.setValue(side)
            spin.snap()

    def settle(self) -> None:
        """Take in what is being typed, as if the field were left."""
        for spin in (self.width_spin, self.height_spin):
            spin.interpretText()
            spin.snap()

    def set_model_size(
        self, width: int, height: int, multiple: int, only: Sequence[tuple[int, int]] = ()
    ) -> None:
        """Offer what a model makes.

        Args:
            width: Of its own size.
            height: Likewise.
            multiple: What both must be multiples of. Offered are shapes of about as many pixels.
            only: Widths and heights, if it makes no others; one of them is taken.
        """
        self._native = QSize(width, height)
        self._menu.clear()
        for size in only:
            self._offer(self.tr("Exported for"), QSize(*size))
        if not only:
            self._offer(self.tr("The model's own"), self._native)
            self._menu.addSeparator()
            for ratio in SHAPES:
                self._offer(f"{ratio[0]}:{ratio[1]}", sized(ratio, width * height, multiple))
        why = self.tr("This model was exported for certain sizes; export it again for others.")
        for control in (self.width_spin, self.height_spin, self.swap):
            set_unavailable(control, why if only else "")
        for spin in (self.width_spin, self.height_spin):
            spin.set_multiple(multiple)
        if only and self.value().toTuple() not in only:
            self.go_to_model_size()

    def go_to_model_size(self) -> None:
        """Take the size that the model was trained on."""
        self.set_value(self._native)

    def _offer(self, name: str, size: QSize) -> None:
        text = f"{name}\t{size.width()} {TIMES} {size.height()}"
        self._menu.addAction(text, lambda: self.set_value(size))

    def _on_swap(self) -> None:
        self.set_value(self.value().transposed())


class _SideSpin(CalmSpin):
    """Pixels of one side; what was typed goes to the nearest multiple when the field is left."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setMinimumWidth(66)
        self.setDecimals(0)
        self.setKeyboardTracking(False)
        self.set_multiple(LATENT_SCALE)
        self.setValue(512)
        self.editingFinished.connect(self.snap)

    def set_multiple(self, multiple: int) -> None:
        self._multiple = multiple
        self.setRange(multiple, MAX_SIDE)
        self.setSingleStep(multiple)
        self.snap()

    def snap(self) -> None:
        self.setValue(snapped(self.value(), self._multiple))
