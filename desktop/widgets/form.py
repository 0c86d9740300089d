"""Rows of a label and a control, in the same two columns all down a panel."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from desktop.theme import mark

LABEL_WIDTH = 72
_FIELD_HEIGHT = 28


def rows(
    controls: Sequence[tuple[str, QWidget]], label_width: int = LABEL_WIDTH, *, tall: bool = False
) -> QGridLayout:
    """Lay out controls below each other, each with its label before it.

    Args:
        controls: Each with the text of its label.
        label_width: Of all labels, in pixels.
        tall: Whether controls may have something below them, so that their labels go to the top.
    """
    grid = QGridLayout()
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(12)
    grid.setVerticalSpacing(8)
    grid.setColumnStretch(1, 1)
    for row, (text, control) in enumerate(controls):
        label = QLabel(text)
        label.setFixedWidth(label_width)
        label.setBuddy(control)
        if tall:
            label.setMinimumHeight(_FIELD_HEIGHT)
            grid.addWidget(label, row, 0, Qt.AlignmentFlag.AlignTop)
        else:
            grid.addWidget(label, row, 0)
        grid.addWidget(control, row, 1)
    return grid


def show_row(grid: QGridLayout, control: QWidget, *, shown: bool) -> None:
    """Show or hide a control of ``rows``, with its label."""
    item = grid.itemAt(grid.indexOf(control) - 1)
    label = item.widget() if item is not None else None
    assert isinstance(label, QLabel)
    for widget in (label, control):
        widget.setVisible(shown)


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


def quiet_lines() -> QLabel:
    """Give a quiet text, still empty, that takes as many lines as it needs."""
    label = QLabel()
    label.setWordWrap(True)
    mark(label, "quiet")
    return label


def fill_panel(panel: QWidget, content: QWidget, main: QWidget, stop: QWidget) -> QScrollArea:
    """Give a panel its controls, which scroll, and below them two buttons, which do not.

    Args:
        panel: The panel, still empty.
        content: The controls.
        main: What the panel is for; it takes the room there is.
        stop: What ends that.

    Returns:
        What the controls scroll in.
    """
    scroll = QScrollArea()
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setWidgetResizable(True)
    scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    scroll.setWidget(content)
    footer = QWidget()
    footer.setObjectName("footer")
    buttons = QHBoxLayout(footer)
    buttons.setContentsMargins(16, 10, 16, 14)
    buttons.addWidget(main, 1)
    buttons.addWidget(stop)
    layout = QVBoxLayout(panel)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    layout.addWidget(scroll, 1)
    layout.addWidget(footer)
    # Nothing may be cut off at the right.
    panel.setMinimumWidth(content.minimumSizeHint().width() + 12)
    return scroll
