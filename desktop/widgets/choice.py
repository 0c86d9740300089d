"""A choice among some values, shown in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

from PySide6.QtCore import Qt
from PySide6.QtGui import QStandardItemModel, QWheelEvent
from PySide6.QtWidgets import QComboBox, QSizePolicy

ChoiceT = TypeVar("ChoiceT", bound=str)


class CalmCombo(QComboBox):
    """A drop-down that the wheel changes only once it has been clicked into."""

    def __init__(self, name: str) -> None:
        """Make it; ``name`` is what a screen reader calls it."""
        super().__init__()
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setMinimumContentsLength(8)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Leave the wheel to the panel that is being scrolled."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()


class Choice(CalmCombo, Generic[ChoiceT]):
    """A drop-down over some texts, mostly the values of an enum."""

    def __init__(self, name: str, texts: Mapping[ChoiceT, tuple[str, str]]) -> None:
        """Offer values.

        Args:
            name: What a screen reader calls it.
            texts: For each value, what is shown and the tooltip of its line.
        """
        super().__init__(name)
        self._values = list(texts)
        self._tips = [tip for _, tip in texts.values()]
        for text, _ in texts.values():
            self.addItem(text)
        self._offered: set[ChoiceT] = set()
        self.offer(texts, "")

    def value(self) -> ChoiceT:
        """The value chosen."""
        return self._values[self.currentIndex()]

    def set_value(self, value: ChoiceT) -> None:
        """Choose a value; one that cannot be chosen leaves the choice as it is."""
        if value in self._offered:
            self.setCurrentIndex(self._values.index(value))

    def set_text(self, value: ChoiceT, text: str) -> None:
        """Show a value in other words."""
        self.setItemText(self._values.index(value), text)

    def offer(
        self,
        values: Collection[ChoiceT],
        reason: str,
        reasons: Mapping[ChoiceT, str] = MappingProxyType({}),
    ) -> None:
        """Let only ``values`` be chosen; if the present choice is none, the first takes its place.

        Args:
            values: Those that can be chosen.
            reason: The tooltip of the others.
            reasons: The tooltips of those among them that have one of their own.
        """
        self._offered = set(values)
        items = self.model()
        assert isinstance(items, QStandardItemModel)
        for row, value in enumerate(self._values):
            offered = value in values
            items.item(row).setEnabled(offered)
            tip = self._tips[row] if offered else reasons.get(value, reason)
            self.setItemData(row, tip, Qt.ItemDataRole.ToolTipRole)
            self.setItemData(row, tip, Qt.ItemDataRole.AccessibleDescriptionRole)
        if self.value() not in values:
            self.set_value(next(value for value in self._values if value in values))
