"""The seed: shown, rolled, locked."""

from __future__ import annotations

import secrets

from PySide6.QtCore import QRegularExpression, Signal
from PySide6.QtGui import QRegularExpressionValidator
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QWidget

from core.request import MAX_SEED
from desktop.widgets.icon_button import IconButton


class SeedField(QWidget):
    """Random for every run, unless the person rolls, types or locks one.

    A seed that was typed locks itself; one from the dice serves for the next run; afterwards the
    field shows the seed that was used.

    Signals:
        changed(): After every change of seed or lock.
    """

    changed = Signal()

    def __init__(self) -> None:
        """Start unlocked at 0."""
        super().__init__()
        self._rolled = False
        self.text = QLineEdit("0")
        self.text.setAccessibleName(self.tr("Seed"))
        # A QSpinBox ends at 2**31 - 1.
        self.text.setValidator(QRegularExpressionValidator(QRegularExpression(r"\d{1,10}")))
        self.dice = IconButton("dice", self.tr("Roll another seed for the next run"))
        self.lock = IconButton("unlock", "")
        self.lock.setCheckable(True)
        self._describe_lock()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.text, 1)
        layout.addWidget(self.dice)
        layout.addWidget(self.lock)
        self.setFocusProxy(self.text)
        self.text.textEdited.connect(self._on_typed)
        self.dice.clicked.connect(self.roll)
        self.lock.toggled.connect(self._on_lock)

    @property
    def seed(self) -> int:
        """The seed shown, brought into its range."""
        return min(int(self.text.text() or "0"), MAX_SEED)

    @property
    def locked(self) -> bool:
        """Whether the seed is kept from run to run."""
        return self.lock.isChecked()

    def set_seed(self, seed: int, *, locked: bool) -> None:
        """Show a seed and say whether it stays."""
        self._rolled = False
        self.text.setText(str(min(max(seed, 0), MAX_SEED)))
        self.lock.setChecked(locked)
        self.changed.emit()

    def roll(self) -> None:
        """Draw a seed for the next run."""
        self._draw(1)
        self._rolled = True
        self.changed.emit()

    def take(self, pictures: int) -> int:
        """Give the seed of a run of so many pictures and show it."""
        if not (self.locked or self._rolled):
            self._draw(pictures)
        self._rolled = False
        self.changed.emit()
        return self.seed

    def _draw(self, pictures: int) -> None:
        self.text.setText(str(secrets.randbelow(MAX_SEED - pictures + 2)))

    def _on_typed(self) -> None:
        self.lock.setChecked(True)
        self.changed.emit()

    def _on_lock(self) -> None:
        self._describe_lock()
        self.changed.emit()

    def _describe_lock(self) -> None:
        self.lock.set_icon("lock" if self.locked else "unlock")
        self.lock.set_text(
            self.tr("Seed locked: every run starts from the same noise. Click for a new one a run.")
            if self.locked
            else self.tr("A new seed for every run. Click to keep this one.")
        )
