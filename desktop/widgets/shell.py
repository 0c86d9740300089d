"""The frame around the pages: a rail to go from one to another, as soon as there is another."""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from desktop.widgets.icon_button import IconButton


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the window.

    Attributes:
        icon: Name of its icon.
        title: Its name, translated.
        widget: The page itself.
    """

    icon: str
    title: str
    widget: QWidget


class Shell(QWidget):
    """Shows one page at a time. The rail stays away while there is one page only.

    Signals:
        turned(int): Another page is shown, by its number from 0.
    """

    turned = Signal(int)

    def __init__(self, pages: tuple[Page, ...]) -> None:
        """Show the first of ``pages``."""
        super().__init__()
        self._stack = QStackedWidget()
        self.rail = QWidget()
        self.rail.setObjectName("rail")
        self.rail.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._group = QButtonGroup(self)
        buttons = QVBoxLayout(self.rail)
        buttons.setContentsMargins(6, 10, 6, 10)
        for number, page in enumerate(pages):
            button = IconButton(page.icon, page.title, size=22)
            button.setCheckable(True)
            button.setChecked(number == 0)
            self._group.addButton(button, number)
            buttons.addWidget(button)
            self._stack.addWidget(page.widget)
        buttons.addStretch(1)
        self._group.idClicked.connect(self.show_page)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.rail)
        layout.addWidget(self._stack, 1)
        self.rail.setVisible(len(pages) > 1)

    @property
    def page(self) -> int:
        """The number of the page shown, from 0."""
        return self._stack.currentIndex()

    def show_page(self, number: int) -> None:
        """Turn to a page, by its number from 0."""
        self._group.button(number).setChecked(True)
        self._stack.setCurrentIndex(number)
        self.turned.emit(number)
