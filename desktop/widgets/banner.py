"""One sentence about what went wrong, or what to know, with the next thing to do."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from PySide6.QtCore import QEvent, Qt, QUrl
from PySide6.QtGui import QAccessible, QAccessibleEvent, QDesktopServices, QPalette
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QSizePolicy

from desktop.icons import tinted_pixmap
from desktop.widgets.icon_button import IconButton


class BannerKind(StrEnum):
    """How grave it is."""

    ERROR = "error"
    NOTICE = "notice"


class Banner(QFrame):
    """A line across the page that stays until it is read or no longer true."""

    def __init__(self) -> None:
        """Start hidden."""
        super().__init__()
        self.setObjectName("banner")
        self._kind = BannerKind.NOTICE
        self._act: Callable[[], object] | None = None
        self._sign = QLabel()
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.message.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.action = QPushButton()
        self.action.clicked.connect(self._on_action)
        self.dismiss = IconButton("close", self.tr("Dismiss"))
        self.dismiss.clicked.connect(self.hide)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(16, 8, 8, 8)
        layout.setSpacing(10)
        layout.addWidget(self._sign)
        layout.addWidget(self.message, 1)
        layout.addWidget(self.action)
        layout.addWidget(self.dismiss)
        self.hide()

    def show_message(
        self,
        kind: BannerKind,
        message: str,
        action: str = "",
        act: Callable[[], object] | None = None,
    ) -> None:
        """Say ``message``.

        Args:
            kind: How grave it is.
            message: One sentence.
            action: Text of the button, if there is one.
            act: What the button does; the banner then goes.
        """
        self._kind, self._act = kind, act
        self.setProperty("kind", str(kind))
        self.style().unpolish(self)
        self.style().polish(self)
        self._draw_sign()
        self.message.setText(message)
        self.setAccessibleName(message)
        self.action.setText(action)
        self.action.setVisible(act is not None)
        self.show()
        # A screen reader says it at once, wherever the focus is.
        QAccessible.updateAccessibility(QAccessibleEvent(self, QAccessible.Event.Alert))

    def show_fault(self, what: str, logs: Path) -> None:
        """Say that the app itself is at fault.

        Args:
            what: The error.
            logs: Folder in which the log tells more.
        """
        url = QUrl.fromLocalFile(str(logs))
        self.show_message(
            BannerKind.ERROR,
            self.tr("Stepwise met a fault of its own ({0}). The log tells more.").format(what),
            self.tr("Open Log"),
            lambda: QDesktopServices.openUrl(url),
        )

    def changeEvent(self, event: QEvent) -> None:
        """Draw the sign in the new colours."""
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            self._draw_sign()

    def _on_action(self) -> None:
        self.hide()
        if self._act:
            self._act()

    def _draw_sign(self) -> None:
        error = self._kind is BannerKind.ERROR
        role = QPalette.ColorRole.BrightText if error else QPalette.ColorRole.Link
        name = "warning" if error else "info"
        ratio = self.devicePixelRatioF()
        self._sign.setPixmap(tinted_pixmap(name, self.palette().color(role), 18, ratio))
