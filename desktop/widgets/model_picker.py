"""The choice of a model: those of the app and folders of one's own."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QFileDialog

from core.errors import CoreError
from core.models import catalog
from core.models.catalog import ModelCard
from desktop.widgets.choice import CalmCombo


class ModelPicker(CalmCombo):
    """A drop-down of models that ends with a way to open another.

    Signals:
        chosen(ModelCard): A usable model was chosen.
        failed(str): A sentence on why a model cannot be used.
    """

    chosen = Signal(object)
    failed = Signal(str)

    def __init__(self, folders: tuple[str, ...] = ()) -> None:
        """Offer the app's own models and the folders opened before, as far as they are there."""
        super().__init__(self.tr("Model"))
        self.setToolTip(self.tr("What makes the pictures"))
        self._models = [*catalog.names(), *(folder for folder in folders if Path(folder).is_dir())]
        self._card: ModelCard | None = None
        self._model = self._models[0]
        self._fill()
        self.activated.connect(self._on_activated)

    @property
    def chosen_model(self) -> str:
        """Name or folder of the model, as a request wants it."""
        return self._model

    @property
    def card(self) -> ModelCard | None:
        """What is known of it; None if it cannot be used."""
        return self._card

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders offered beside the app's own models."""
        return tuple(model for model in self._models if model not in catalog.names())

    def set_model(self, model: str) -> None:
        """Choose a model if it can be used; says so by ``chosen`` or ``failed``."""
        try:
            card = catalog.card(model)
        except CoreError as error:
            self._fill()
            self.failed.emit(str(error))
            return
        if model not in self._models:
            self._models.append(model)
        self._model, self._card = model, card
        self._fill()
        self.chosen.emit(card)

    def open_folder(self) -> None:
        """Ask for the folder of a model."""
        folder = QFileDialog.getExistingDirectory(self, self.tr("Open a Model Folder"))
        if folder:
            self.set_model(folder)

    def _fill(self) -> None:
        with QSignalBlocker(self):
            self.clear()
            for model in self._models:
                self.addItem(_title(model))
                tip = self.tr("Comes with Stepwise") if model in catalog.SHIPPED else model
                self.setItemData(self.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
            self.insertSeparator(self.count())
            self.addItem(self.tr("Open model folder…"))
            self.setCurrentIndex(self._models.index(self._model))

    def _on_activated(self, row: int) -> None:
        if row < len(self._models):
            if self._models[row] != self._model or self._card is None:
                self.set_model(self._models[row])
        else:
            self.setCurrentIndex(self._models.index(self._model))
            self.open_folder()


def _title(model: str) -> str:
    """Give a model's title, or its name if it cannot be read now."""
    try:
        return catalog.card(model).title
    except CoreError:
        return Path(model).name
