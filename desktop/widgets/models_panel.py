"""The left of the Models page: the list, what narrows it, and how files come in."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from core.models.tensor_list import SUFFIXES
from desktop.settings import Placing
from desktop.theme import mark
from desktop.widgets.choice import Choice
from desktop.widgets.icon_button import IconButton
from desktop.widgets.model_rows import ModelList, ModelRows, Show


class ModelsPanel(QWidget):
    """The models, and the buttons that add to them.

    Signals:
        add_requested(tuple[Path, ...]): Files or folders are to be added.
    """

    add_requested = Signal(object)

    def __init__(self) -> None:
        """Start with an empty list."""
        super().__init__()
        self.search = QLineEdit()
        self.search.setAccessibleName(self.tr("Find"))
        self.search.setPlaceholderText(self.tr("Find"))
        self.search.setClearButtonEnabled(True)
        # Files dropped here are to be added, and not to be written out.
        self.search.setAcceptDrops(False)
        self.show_kind = Choice[Show](
            self.tr("Kind"),
            {
                Show.ALL: (self.tr("All kinds"), self.tr("Everything there is.")),
                Show.MODEL: (self.tr("Models"), self.tr("They make the pictures.")),
                Show.LORA: (self.tr("LoRAs"), self.tr("They teach a model something new.")),
                Show.EMBEDDING: (self.tr("Embeddings"), self.tr("New words for prompts.")),
                Show.VAE: (self.tr("VAEs"), self.tr("They turn latents into pixels.")),
                Show.CONTROLNET: (self.tr("ControlNets"), self.tr("They steer by a picture.")),
                Show.UPSCALER: (self.tr("Upscalers"), self.tr("They make pictures larger.")),
            },
        )
        self.rows = ModelRows()
        self.list = ModelList(self.rows)
        self.placing = Choice[Placing](
            self.tr("Where added files are kept"),
            {
                Placing.WHERE_IT_LIES: (
                    self.tr("Use files where they lie"),
                    self.tr("Nothing is copied, and removing a model never deletes its files."),
                ),
                Placing.COPY: (
                    self.tr("Copy files into the library"),
                    self.tr("The copies belong to Stepwise and go when the model is removed."),
                ),
            },
        )
        self.add = QPushButton(self.tr("Add Files…"))
        mark(self.add, "primary")
        self.add.setToolTip(self.tr("Add models, LoRAs, embeddings and other parts"))
        self.add_folder = IconButton("folder", self.tr("Add a folder and all models in it"))
        mark(self.add_folder, "framed")
        self.add_folder.setFixedSize(36, 36)
        self._lay_out()
        self._connect()
        self._narrow()

    def choose_files(self) -> None:
        """Ask for files to add."""
        endings = " ".join(f"*{suffix}" for suffix in SUFFIXES)
        names, _ = QFileDialog.getOpenFileNames(
            self,
            self.tr("Add Models"),
            "",
            self.tr("Model files ({0});;All files (*)").format(endings),
        )
        if names:
            self.add_requested.emit(tuple(Path(name) for name in names))

    def choose_folder(self) -> None:
        """Ask for a folder to add."""
        name = QFileDialog.getExistingDirectory(self, self.tr("Add a Folder of Models"))
        if name:
            self.add_requested.emit((Path(name),))

    def show_all(self) -> None:
        """Narrow the list no more."""
        self.search.clear()
        self.show_kind.set_value(Show.ALL)

    def _lay_out(self) -> None:
        narrow = QHBoxLayout()
        narrow.setContentsMargins(16, 16, 16, 4)
        narrow.setSpacing(8)
        narrow.addWidget(self.search, 3)
        narrow.addWidget(self.show_kind, 2)
        hint = QLabel(self.tr("or drop them anywhere on this page"))
        mark(hint, "quiet")
        footer = QWidget()
        footer.setObjectName("footer")
        buttons = QHBoxLayout()
        buttons.addWidget(self.add, 1)
        buttons.addWidget(self.add_folder)
        below = QVBoxLayout(footer)
        below.setContentsMargins(16, 10, 16, 14)
        below.setSpacing(8)
        below.addWidget(self.placing)
        below.addLayout(buttons)
        below.addWidget(hint, 0, Qt.AlignmentFlag.AlignHCenter)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(narrow)
        layout.addWidget(self.list, 1)
        layout.addWidget(footer)
        self.setMinimumWidth(280)

    def _connect(self) -> None:
        self.search.textChanged.connect(self._narrow)
        self.show_kind.currentIndexChanged.connect(self._narrow)
        self.add.clicked.connect(self.choose_files)
        self.add_folder.clicked.connect(self.choose_folder)

    @Slot()
    def _narrow(self) -> None:
        self.rows.set_filter(self.show_kind.value(), self.search.text())
        if self.search.text():
            hint = self.tr("Nothing here has “{0}” in it; clear the field to see all.")
            self.list.set_hint(hint.format(self.search.text()))
        elif self.show_kind.value() is Show.ALL:
            self.list.set_hint(self.tr("The library is being read."))
        else:
            hint = self.tr("No {0} yet. Add files below, or drop them here.")
            self.list.set_hint(hint.format(self.show_kind.currentText()))
