"""The sizes of pictures that a model is to make."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSize, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from desktop.theme import mark
from desktop.widgets.icon_button import IconButton
from desktop.widgets.size_field import SizeField


class SizeList(QWidget):
    """One size, and more if the person adds them.

    Signals:
        changed(): After every change.
    """

    changed = Signal()

    def __init__(self) -> None:
        """Start with one size."""
        super().__init__()
        self._model = (512, 512, 8)
        self.fields: list[SizeField] = []
        self._row_of: dict[SizeField, QWidget] = {}
        self.first = SizeField()
        self.add = QPushButton(self.tr("Another Size"))
        self.add.setToolTip(self.tr("Pictures of another size from the same model; macOS 15"))
        self.add.clicked.connect(self._on_add)
        self.note = QLabel(self.tr("They share the model's weights, which needs macOS 15."))
        self.note.setWordWrap(True)
        mark(self.note, "quiet")
        self._rows = QVBoxLayout()
        self._rows.setSpacing(4)
        self._rows.addWidget(self._joined(self.first))
        self.note.hide()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addLayout(self._rows)
        layout.addWidget(self.note)
        below = QHBoxLayout()
        below.addWidget(self.add)
        below.addStretch(1)
        layout.addLayout(below)
        self.setFocusProxy(self.first)

    def values(self) -> tuple[tuple[int, int], ...]:
        """Give width and height of each."""
        return tuple((field.value().width(), field.value().height()) for field in self.fields)

    def settle(self) -> None:
        """Take in what is being typed."""
        for field in self.fields:
            field.settle()

    def set_model_size(self, width: int, height: int, multiple: int) -> None:
        """Go back to a model's own size alone."""
        self._model = (width, height, multiple)
        for field in self.fields[1:]:
            self._remove(field)
        self.first.set_model_size(width, height, multiple)
        self.first.go_to_model_size()

    def set_values(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Take these, at least one."""
        for field in self.fields[1:]:
            self._remove(field)
        self.first.set_value(QSize(*sizes[0]))
        for size in sizes[1:]:
            self._add(QSize(*size))

    def _joined(self, field: SizeField) -> QWidget:
        """Add a size; gives its row."""
        self.fields.append(field)
        field.changed.connect(self.changed)
        row = self._row_of[field] = QWidget()
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(field, 1)
        if len(self.fields) > 1:
            remove = IconButton("close", self.tr("Leave this size out"))
            remove.clicked.connect(lambda: self._on_remove(field))
            layout.addWidget(remove)
        return row

    def _on_add(self) -> None:
        width, height, multiple = self._model
        # A portrait is what is wanted most beside a square.
        field = self._add(QSize(width, round(height * 1.5 / multiple) * multiple))
        field.width_spin.setFocus()
        self.changed.emit()

    def _add(self, size: QSize) -> SizeField:
        field = SizeField()
        self._rows.addWidget(self._joined(field))
        field.set_model_size(*self._model)
        field.set_value(size)
        self.note.show()
        return field

    def _on_remove(self, field: SizeField) -> None:
        self._remove(field)
        self.add.setFocus()
        self.changed.emit()

    def _remove(self, field: SizeField) -> None:
        self.fields.remove(field)
        row = self._row_of.pop(field)
        self._rows.removeWidget(row)
        row.hide()
        self.note.setVisible(len(self.fields) > 1)
        row.deleteLater()
