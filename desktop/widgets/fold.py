"""A part of a panel that can be folded away."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QToolButton, QVBoxLayout, QWidget

from desktop.icons import tinted_icon
from desktop.theme import mark


class Fold(QWidget):
    """A heading that shows and hides what is below it.

    Signals:
        toggled(bool): Whether it is open now.
    """

    toggled = Signal(bool)

    def __init__(self, title: str, content: QWidget) -> None:
        """Start folded."""
        super().__init__()
        self._content = content
        self._heading = QToolButton()
        self._heading.setText(title)
        mark(self._heading, "fold")
        self._heading.setCheckable(True)
        self._heading.setIconSize(QSize(14, 14))
        self._heading.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._heading.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._heading.toggled.connect(self._on_toggled)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        layout.addWidget(self._heading)
        layout.addWidget(content)
        content.hide()
        self._draw_arrow()

    def set_title(self, title: str) -> None:
        """Call it something else."""
        self._heading.setText(title)

    def is_open(self) -> bool:
        """Whether the content is shown."""
        return self._heading.isChecked()

    def set_open(self, *, shown: bool) -> None:
        """Show or hide the content."""
        self._heading.setChecked(shown)

    def changeEvent(self, event: QEvent) -> None:
        """Draw the arrow in the new colours."""
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            self._draw_arrow()

    def _on_toggled(self) -> None:
        shown = self.is_open()
        self._content.setVisible(shown)
        self._draw_arrow()
        self.toggled.emit(shown)

    def _draw_arrow(self) -> None:
        palette = QPalette(self.palette())
        name = "chevron-down" if self.is_open() else "chevron-right"
        self._heading.setIcon(tinted_icon(name, palette))
