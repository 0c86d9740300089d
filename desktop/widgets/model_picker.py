"""The choice of a model: those of the app, those of the library and folders of one's own."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtGui import QStandardItemModel
from PySide6.QtWidgets import QFileDialog

from core.errors import CoreError
from core.models import catalog
from core.models.catalog import ModelCard
from core.models.listing import Listed
from core.models.verdict import Kind
from desktop.model_facts import unusable
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
        self._library: dict[str, Listed] = {}
        self._folders = [folder for folder in folders if Path(folder).is_dir()]
        self._models = [*catalog.SHIPPED, *self._folders]
        self._titles: dict[str, str] = {}
        self._card: ModelCard | None = None
        self._model = catalog.STARTER
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
        """The folders offered beside the models that have names."""
        return tuple(self._folders)

    def set_library(self, models: tuple[Listed, ...]) -> None:
        """Offer the models of the library, as they are now; the chosen one stays if it can."""
        library = {row.name: row for row in models if row.kind is Kind.MODEL and not row.shipped}
        if library == self._library:
            return
        before, self._library = self._library.get(self._model), library
        now = library.get(self._model)
        self._fill()
        if now is not None and now.card is not None and now.card != self._card:
            self.set_model(self._model)
        elif before is not None and now is None:
            gone, self._model = self._model, catalog.STARTER
            self.set_model(catalog.STARTER)
            message = self.tr("{0} is no longer in the library; the starter model is chosen.")
            self.failed.emit(message.format(gone))

    def set_model(self, model: str) -> None:
        """Choose a model if it can be used; says so by ``chosen`` or ``failed``."""
        row = self._library.get(model)
        try:
            card = row.card if row is not None and row.card is not None else catalog.card(model)
        except CoreError as error:
            self._fill()
            self.failed.emit(str(error))
            return
        if row is None and model not in catalog.names() and model not in self._folders:
            self._folders.append(model)
        self._model, self._card = model, card
        self._titles[model] = card.title
        self._fill()
        self.chosen.emit(card)

    def open_folder(self) -> None:
        """Ask for the folder of a model."""
        folder = QFileDialog.getExistingDirectory(self, self.tr("Open a Model Folder"))
        if folder:
            self.set_model(folder)

    def _fill(self) -> None:
        self._models = list(
            dict.fromkeys([*catalog.SHIPPED, *self._library, *self._folders, self._model])
        )
        with QSignalBlocker(self):
            self.clear()
            for model in self._models:
                self._add(model)
            self.insertSeparator(self.count())
            self.addItem(self.tr("Open model folder…"))
            self.setCurrentIndex(self._models.index(self._model))

    def _add(self, model: str) -> None:
        self.addItem(self._title(model))
        at, row = self.count() - 1, self._library.get(model)
        tip = self.tr("Comes with Stepwise") if model in catalog.SHIPPED else model
        if row is not None:
            reason = unusable(row)
            tip = reason or str(row.path)
            items = self.model()
            assert isinstance(items, QStandardItemModel)
            items.item(at).setEnabled(not reason)
        self.setItemData(at, tip, Qt.ItemDataRole.ToolTipRole)
        self.setItemData(at, tip, Qt.ItemDataRole.AccessibleDescriptionRole)

    def _title(self, model: str) -> str:
        """Give a model's title, or its name if it cannot be read now."""
        if model in self._library:
            return model
        if model not in self._titles:
            try:
                self._titles[model] = catalog.card(model).title
            except CoreError:
                return Path(model).name
        return self._titles[model]

    def _on_activated(self, row: int) -> None:
        if row < len(self._models):
            if self._models[row] != self._model or self._card is None:
                self.set_model(self._models[row])
        else:
            self.setCurrentIndex(self._models.index(self._model))
            self.open_folder()
