"""The choice of what writes captions: the app's own model, the library's, or a folder."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QFileDialog

from core.models.listing import Listed
from core.models.verdict import Kind
from core.training.caption_models import STARTER
from desktop.widgets.choice import CalmCombo


class CaptionerChoice(CalmCombo):
    """A drop-down of captioners, whose last line opens a folder.

    Signals:
        chosen(): Another one was chosen.
    """

    chosen = Signal()

    def __init__(self) -> None:
        """Offer the app's own."""
        super().__init__(self.tr("Captioner"))
        self.setToolTip(self.tr("What writes the captions: any BLIP model on this machine"))
        self._library: dict[str, str] = {}
        self._folders: tuple[str, ...] = ()
        self._captioner = STARTER
        self._fill()
        self.activated.connect(self._on_activated)

    @property
    def captioner(self) -> str:
        """The one chosen: a name or the path of a folder."""
        return self._captioner

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that were opened."""
        return self._folders

    def set_library(self, models: tuple[Listed, ...]) -> None:
        """Offer the captioners of the library too."""
        rows = (row for row in models if row.kind is Kind.CAPTIONER and not row.missing)
        self._library = {str(row.path): row.name for row in rows}
        self._fill()

    def set_captioner(self, captioner: str, folders: tuple[str, ...] = ()) -> None:
        """Choose one, and offer folders that were opened earlier."""
        is_known = captioner == STARTER or captioner in self._library
        opened = folders if is_known else (*folders, captioner)
        self._captioner, self._folders = captioner, tuple(dict.fromkeys(opened))
        self._fill()

    def _fill(self) -> None:
        opened = {folder: Path(folder).name for folder in self._folders}
        with QSignalBlocker(self):
            self.clear()
            self.addItem(self.tr("Stepwise's own"), STARTER)
            for path, name in (opened | self._library).items():
                self.addItem(name, path)
                self.setItemData(self.count() - 1, path, Qt.ItemDataRole.ToolTipRole)
            self.addItem(self.tr("Open folder…"), "")
            self.setCurrentIndex(max(self.findData(self._captioner), 0))
        self._captioner = str(self.currentData())

    def _on_activated(self, row: int) -> None:
        chosen = self.itemData(row) or QFileDialog.getExistingDirectory(
            self, self.tr("Open a BLIP Folder")
        )
        self.set_captioner(chosen or self._captioner, self._folders)
        self.chosen.emit()
