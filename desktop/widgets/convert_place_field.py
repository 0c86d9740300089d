"""Where a converted model is kept, and what is there already."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from core.coreml_folder import ExportFormat
from core.models.copying import format_size
from desktop.convert_place import Begun, begun_at, usual_place
from desktop.theme import mark
from desktop.widgets.elided_label import ElidedLabel
from desktop.widgets.form import quiet_lines
from desktop.widgets.icon_button import IconButton


class ConvertPlaceField(QWidget):
    """A name, and the folder that it is in: that of all models unless another is chosen.

    Attributes:
        stopped: What goes on there, if a conversion of the model was stopped there.

    Signals:
        changed(): After every change.
    """

    changed = Signal()

    def __init__(self, models: Path) -> None:
        """Start without a model.

        Args:
            models: The folder in which models are kept.
        """
        super().__init__()
        self._models = self._parent = models
        self._model, self._kind = "", ExportFormat.COREML
        self._taken: Collection[Path] = ()
        self.stopped: Begun | None = None
        self.name = QLineEdit()
        self.name.setAccessibleName(self.tr("Name"))
        self.name.setToolTip(self.tr("What it is called: letters, digits and . _ -"))
        self.path = ElidedLabel(Qt.TextElideMode.ElideMiddle)
        mark(self.path, "quiet")
        self.choose = IconButton("folder", self.tr("Keep it elsewhere"))
        self.usual = IconButton("reuse", self.tr("Keep it among the other models again"))
        self.note = quiet_lines()
        row = QHBoxLayout()
        row.setSpacing(2)
        row.addWidget(self.path, 1)
        row.addWidget(self.usual)
        row.addWidget(self.choose)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.name)
        column.addLayout(row)
        column.addWidget(self.note)
        self.setFocusProxy(self.name)
        self.name.textChanged.connect(self.changed)
        self.choose.clicked.connect(self._on_choose)
        self.usual.clicked.connect(lambda: self._set_parent(self._models))

    def show_for(self, model: str, kind: ExportFormat, taken: Collection[Path]) -> None:
        """Show where it is kept by default, and what is there already.

        Args:
            model: What the model is called that is converted.
            kind: What will run it.
            taken: The places of the models that the library has.
        """
        self._model, self._kind, self._taken = model, kind, taken
        self.name.setPlaceholderText(self._usual_place().name)
        self.path.set_text(str(self.value()))
        self.usual.setVisible(self._parent != self._models)
        there = begun_at(self.value(), model)
        is_finished = there is not None and there.place in taken
        self.stopped = None if is_finished else there
        text = self._about(there)
        self.note.setText(text)
        self.note.setVisible(bool(text))

    def value(self) -> Path:
        """Give the folder to fill."""
        return self._parent / (self.name.text().strip() or self._usual_place().name)

    def set_value(self, place: Path) -> None:
        """Choose another folder."""
        self._parent = place.parent
        self.name.setText("" if place == self._usual_place() else place.name)

    def reset(self) -> None:
        """Go back to the default."""
        self._parent = self._models
        self.name.clear()

    def _usual_place(self) -> Path:
        return usual_place(self._parent, self._model, self._kind, self._taken)

    def _about(self, there: Begun | None) -> str:
        """Say what is there already; empty for nothing."""
        if there is None:
            return ""
        if there.place in self._taken:
            return self.tr(
                "It is converted there already: parts that are made alike are kept, the others "
                "take the place of those that are there."
            )
        size = format_size(sum(part.bytes for part in there.parts))
        return self.tr(
            "A conversion was stopped there and goes on: finished parts ({0}, {1}) are kept where "
            "nothing about them is changed."
        ).format(len(there.parts), size)

    def _on_choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(
            self, self.tr("Keep the Converted Model In"), str(self._parent)
        )
        if folder:
            self._set_parent(Path(folder))

    def _set_parent(self, folder: Path) -> None:
        self._parent = folder
        self.changed.emit()
