"""A list of things of which any may be chosen, each with a weight if it has one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QGridLayout, QSizePolicy, QWidget

from desktop.widgets.slider_spin import CalmSpin

_WEIGHT_WIDTH = 74


@dataclass(frozen=True, slots=True)
class Item:
    """One of them.

    Attributes:
        key: What it is known by.
        text: What it is called.
        tip: What is known of it beside.
    """

    key: str
    text: str
    tip: str = ""


class CheckList(QWidget):
    """Boxes below each other.

    Signals:
        changed(): After every change by the person.
    """

    changed = Signal()

    def __init__(self, *, weighted: bool = False, checked: bool = False) -> None:
        """Start empty.

        Args:
            weighted: Whether each has a weight.
            checked: Whether what is new to the list is chosen.
        """
        super().__init__()
        self._weighted, self._checked = weighted, checked
        self._items: tuple[Item, ...] = ()
        self.boxes: dict[str, QCheckBox] = {}
        self.weights: dict[str, CalmSpin] = {}
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(12)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(0, 1)
        self.hide()

    def offer(self, items: Sequence[Item]) -> None:
        """Offer these; what stays keeps its choice and its weight."""
        if (offered := tuple(items)) == self._items:
            return
        self._items = offered
        self.setVisible(bool(offered))
        chosen = dict(self.chosen())
        known = set(self.boxes)
        for widget in (*self.boxes.values(), *self.weights.values()):
            self._grid.removeWidget(widget)
            widget.deleteLater()
        self.boxes, self.weights = {}, {}
        for row, item in enumerate(offered):
            is_on = item.key in chosen if item.key in known else self._checked
            self._add(row, item, is_on=is_on, weight=chosen.get(item.key, 1.0))

    def chosen(self) -> tuple[tuple[str, float], ...]:
        """Give the keys of what is chosen, in order, with their weights."""
        return tuple(
            (key, self.weights[key].value() if key in self.weights else 1.0)
            for key, box in self.boxes.items()
            if box.isChecked()
        )

    def choose(self, weights: Mapping[str, float]) -> None:
        """Choose these, with their weights, and nothing else; what is not offered cannot be."""
        for key, box in self.boxes.items():
            box.setChecked(key in weights)
            if key in self.weights:
                self.weights[key].setValue(weights.get(key, 1.0))

    def _add(self, row: int, item: Item, *, is_on: bool, weight: float) -> None:
        box = QCheckBox(item.text)
        box.setToolTip(item.tip)
        box.setChecked(is_on)
        # A long name must not make the window wide.
        box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        box.toggled.connect(self.changed)
        self.boxes[item.key] = box
        self._grid.addWidget(box, row, 0)
        if self._weighted:
            spin = self._weight(item, weight)
            spin.setEnabled(is_on)
            box.toggled.connect(spin.setEnabled)
            self._grid.addWidget(spin, row, 1)

    def _weight(self, item: Item, weight: float) -> CalmSpin:
        spin = CalmSpin()
        spin.setDecimals(3)
        spin.setRange(-10, 10)
        spin.setSingleStep(0.1)
        spin.setValue(weight)
        spin.setFixedWidth(_WEIGHT_WIDTH)
        spin.setAccessibleName(self.tr("Weight of {0}").format(item.text))
        spin.setToolTip(self.tr("How strongly it changes the model; 1 as it was learned"))
        spin.valueChanged.connect(lambda _value: self.changed.emit())
        self.weights[item.key] = spin
        return spin
