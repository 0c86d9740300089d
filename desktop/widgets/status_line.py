"""The line below a page: a thin bar, one line of text, and room for buttons."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from desktop.widgets.elided_label import ElidedLabel

_PARTS = 1000


class ShareBar(QProgressBar):
    """A thin bar that shows how much of something is done."""

    def __init__(self) -> None:
        """Start at nothing."""
        super().__init__()
        self.setTextVisible(False)
        self.setAccessibleName(self.tr("Progress"))
        self.show_share(0)

    def show_share(self, share: float | None) -> None:
        """Show a share, 0 to 1, or None for work without an end in sight."""
        self.setRange(0, _PARTS if share is not None else 0)
        self.setValue(round(_PARTS * (share or 0)))


class StatusLine(QWidget):
    """Says how far the work is, or what there is while nothing goes on."""

    def __init__(self) -> None:
        """Start idle."""
        super().__init__()
        self.setObjectName("statusLine")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.bar = ShareBar()
        self.text = ElidedLabel()
        self.row = QHBoxLayout()
        self.row.setContentsMargins(14, 2, 8, 3)
        self.row.setSpacing(6)
        self.row.addWidget(self.text, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.bar)
        layout.addLayout(self.row)
        self.setMinimumHeight(40)

    def show_idle(self, text: str) -> None:
        """Say something while nothing goes on, or nothing."""
        self.show_work(0, text)

    def show_busy(self, text: str) -> None:
        """Say what is waited for, without an end in sight."""
        self.show_work(None, text)

    def show_work(self, share: float | None, text: str) -> None:
        """Say how far the work is; see ``ShareBar.show_share``."""
        self.bar.show_share(share)
        self.text.set_text(text)
