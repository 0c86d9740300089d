"""A flat button that shows an icon and says in words what it does."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QToolButton

from desktop.icons import tinted_icon


class IconButton(QToolButton):
    """A button with an icon that follows the palette."""

    def __init__(self, icon: str, text: str, *, size: int = 18) -> None:
        """Show ``icon``, so many pixels large; ``text`` is what a pointer or a reader is told."""
        super().__init__()
        self._icon_name = icon
        self._tinted: tuple[str, QPalette] | None = None
        self.setIconSize(QSize(size, size))
        # With its frame as tall as a field, so that rows are alike.
        self.setFixedSize(size + 10, size + 10)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.set_text(text)
        self._tint()

    def set_text(self, text: str) -> None:
        """Say something else about what the button does."""
        self.setToolTip(text)
        self.setAccessibleName(text)

    def set_icon(self, icon: str) -> None:
        """Show another icon."""
        self._icon_name = icon
        self._tint()

    def changeEvent(self, event: QEvent) -> None:
        """Tint the icon anew when the palette changes."""
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            self._tint()

    def _tint(self) -> None:
        palette = self.palette()
        wanted = (self._icon_name, palette)
        # A window that is being built tells of its palette at every move into another widget.
        if wanted == self._tinted:
            return
        self._tinted = wanted
        lit = palette.color(QPalette.ColorGroup.Active, QPalette.ColorRole.Link)
        self.setIcon(tinted_icon(self._icon_name, palette, lit=lit))
