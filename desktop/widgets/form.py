"""Rows of a label and a control, in the same two columns all down a panel."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from desktop.theme import mark

LABEL_WIDTH = 72


def rows(controls: Sequence[tuple[str, QWidget]], label_width: int = LABEL_WIDTH) -> QGridLayout:
    """Lay out controls below each other, each with its label before it."""
    grid = QGridLayout()
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(12)
    grid.setVerticalSpacing(8)
    grid.setColumnStretch(1, 1)
    for row, (text, control) in enumerate(controls):
        label = QLabel(text)
        label.setFixedWidth(label_width)
        label.setBuddy(control)
        grid.addWidget(label, row, 0)
        grid.addWidget(control, row, 1)
    return grid


def captioned(text: str, control: QWidget) -> QVBoxLayout:
    """Put a quiet line of text above a control."""
    caption = QLabel(text)
    caption.setBuddy(control)
    mark(caption, "quiet")
    column = QVBoxLayout()
    column.setSpacing(4)
    column.addWidget(caption)
    column.addWidget(control)
    return column
