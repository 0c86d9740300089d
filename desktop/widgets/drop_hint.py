"""What a page says while something is held above it."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QWidget

_MARGIN = 12


class DropHint(QLabel):
    """A sentence over all of a page, telling what dropping would do."""

    def __init__(self, page: QWidget) -> None:
        """Belong to a page, out of sight."""
        super().__init__(page)
        self._page = page
        self.setObjectName("dropHint")
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.hide()

    def tell(self, text: str) -> None:
        """Say what dropping would do."""
        self.setText(text)
        self.setGeometry(self._page.rect().adjusted(_MARGIN, _MARGIN, -_MARGIN, -_MARGIN))
        self.raise_()
        self.show()
