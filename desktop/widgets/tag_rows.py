"""What commas part in the captions, counted."""

from __future__ import annotations

from collections import Counter
from itertools import zip_longest

from PySide6.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, Qt

from desktop.picture_folder import Picture

TagRole = Qt.ItemDataRole.UserRole


class TagRows(QAbstractListModel):
    """The tags below a line for all pictures, the most frequent first.

    Only captions that are others are counted anew: a model writes thousands, one after the other,
    and the window is to answer meanwhile.
    """

    def __init__(self) -> None:
        """Start without any."""
        super().__init__()
        self._pictures: tuple[Picture, ...] = ()
        self._counts: Counter[str] = Counter()
        self._rows: list[tuple[str, int]] = [("", 0)]

    def show(self, pictures: tuple[Picture, ...]) -> bool:
        """Count the tags of all pictures; says whether there is something else to see."""
        before, self._pictures = self._pictures, pictures
        if len(before) != len(pictures):
            before = ()
            self._counts.clear()
        now = [one for one, old in zip_longest(pictures, before) if one is not old]
        old = [old for one, old in zip(pictures, before, strict=False) if one is not old]
        self._counts.update(tag for picture in now for tag in picture.tags)
        for tag in (tag for picture in old for tag in picture.tags):
            self._counts[tag] -= 1
        self._counts = +self._counts
        ranked = sorted(self._counts.items(), key=lambda item: (-item[1], item[0].casefold()))
        rows = [("", len(pictures)), *ranked]
        if rows == self._rows:
            return False
        self.beginResetModel()
        self._rows = rows
        self.endResetModel()
        return True

    def find(self, tag: str) -> QModelIndex:
        """Give the line of a tag, or the first one if nothing has it."""
        row = next((row for row, (one, _) in enumerate(self._rows) if one == tag), 0)
        return self.index(row)

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex | None = None) -> int:
        """Say how many lines there are."""
        return 0 if parent and parent.isValid() else len(self._rows)

    def data(
        self,
        index: QModelIndex | QPersistentModelIndex,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> object:
        """Give a tag, or it and its count in words."""
        if not index.isValid():
            return None
        tag, count = self._rows[index.row()]
        if role == TagRole:
            return tag
        text = tag or self.tr("All pictures")
        if role == Qt.ItemDataRole.DisplayRole:
            return f"{count}   {text}"
        return text if role == Qt.ItemDataRole.ToolTipRole else None
