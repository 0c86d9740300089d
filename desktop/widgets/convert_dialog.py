"""The dialogue that converts a model: its choices, how far it is, and what came out."""

from __future__ import annotations

import sys
from pathlib import Path

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QDialog, QLabel, QStackedWidget, QVBoxLayout, QWidget

from core.errors import InvalidRequest
from core.models.listing import Listed
from coreml_export.request import ExportRequest
from desktop.conversion import Conversion, ConversionSnapshot, Phase
from desktop.convert_estimate import ConvertEstimate
from desktop.convert_words import title_of_phase
from desktop.model_facts import title_of
from desktop.shelf_snapshot import ShelfSnapshot
from desktop.theme import mark
from desktop.widgets.banner import Banner, BannerKind
from desktop.widgets.convert_form import ConvertForm
from desktop.widgets.convert_progress import ConvertProgress
from desktop.widgets.picture_actions import show_in_folder

_PROGRESS_HEIGHT = 430


class ConvertDialog(QDialog):
    """Stands beside the window, which stays of use; closed, a conversion goes on without it.

    Signals:
        used(Listed): What came out is to make the next pictures.
    """

    used = Signal(object)

    def __init__(self, conversion: Conversion, models: Path, parent: QWidget) -> None:
        """Build the dialogue.

        Args:
            conversion: Begins and follows the work.
            models: The folder in which models are kept.
            parent: The widget above which it stands.
        """
        super().__init__(parent)
        self._conversion = conversion
        self._model: Listed | None = None
        self._library: tuple[Listed, ...] = ()
        self._form_height = 0
        self.title = QLabel()
        mark(self.title, "big")
        self.title.setWordWrap(True)
        about = self.tr(
            "Writes its networks for the Neural Engine or the GPU of Macs. The new model stands in "
            "the library beside this one."
        )
        if sys.platform != "darwin":
            about += " " + self.tr("Converting works here too; running it needs a Mac.")
        self.about = QLabel(about)
        self.about.setWordWrap(True)
        mark(self.about, "quiet")
        self.banner = Banner()
        self.form = ConvertForm(models, conversion.refused)
        self.progress = ConvertProgress()
        self.estimate = ConvertEstimate(self)
        self._stack = QStackedWidget()
        self._lay_out()
        self._connect()

    def show_model(self, model: Listed, wanted: ExportRequest | None = None) -> None:
        """Open with the choices for a model, or with the conversion that is at work.

        Args:
            model: The model.
            wanted: What to choose, if not what is usual.
        """
        now = self._conversion.snapshot
        if not now.phase.is_busy:
            is_other = self._model is None or self._model.name != model.name
            if is_other or wanted is not None or now.exported is not None:
                self._conversion.forget()
                self._model = model
                self.form.show_model(model, self._library, wanted)
                self._show_form()
            elif now.phase is Phase.NONE:
                self._show_form()
        self.show()
        self.raise_()
        self.activateWindow()

    @Slot(object)
    def set_library(self, snapshot: ShelfSnapshot) -> None:
        """Know the library as it is now."""
        if snapshot.models == self._library:
            return
        self._library = snapshot.models
        self.form.set_library(self._library)
        self._show_conversion(self._conversion.snapshot)

    def close_down(self) -> None:
        """Look at nothing more."""
        self.estimate.close()

    @Slot()
    def _on_start(self) -> None:
        assert self._model is not None
        self.banner.hide()
        try:
            request = self.form.request()
        except InvalidRequest as error:
            self._tell_fault(error)
            return
        self._conversion.begin(request, self._model)

    @Slot()
    def _on_resume(self) -> None:
        now = self._conversion.snapshot
        if now.request is not None and now.model is not None:
            self._conversion.begin(now.request, now.model)

    @Slot()
    def _on_settings(self) -> None:
        self._conversion.forget()
        self._show_form()

    @Slot()
    def _on_show_folder(self) -> None:
        if (request := self._conversion.snapshot.request) is not None:
            show_in_folder(Path(request.out))

    @Slot()
    def _on_controls(self) -> None:
        try:
            request = self.form.request()
        except InvalidRequest as error:
            self.form.show_estimate(error.reason)
            return
        if self._model is not None:
            self.estimate.ask(request, self._model.path)

    @Slot(object)
    def _on_used(self, row: Listed) -> None:
        self.used.emit(row)
        self.close()

    def _tell_fault(self, error: InvalidRequest) -> None:
        self.banner.show_message(BannerKind.ERROR, str(error))
        if (control := self.form.control_at_fault(error.field)) is not None:
            self.form.turn_to(control)

    @Slot(object)
    def _show_conversion(self, now: ConversionSnapshot) -> None:
        if now.phase is Phase.NONE or now.model is None:
            return
        self._model = self._model or now.model
        self.title.setText(title_of_phase(now, title_of(now.model)))
        self.setWindowTitle(self.title.text())
        self.about.hide()
        self.banner.hide()
        self.progress.show_snapshot(now, self._made(now))
        if self._stack.currentWidget() is not self.progress:
            self._form_height = self.height()
            self._stack.setCurrentWidget(self.progress)
            self.resize(self.width(), min(self._form_height, _PROGRESS_HEIGHT))
            self.progress.hide_button.setDefault(True)
            self.progress.hide_button.setFocus()

    def _made(self, now: ConversionSnapshot) -> Listed | None:
        """Find in the library what came out."""
        if now.exported is None:
            return None
        folder = now.exported.folder
        return next((row for row in self._library if row.path == folder), None)

    def _show_form(self) -> None:
        assert self._model is not None
        self.title.setText(self.tr("Convert {0}").format(title_of(self._model)))
        self.setWindowTitle(self.title.text())
        self.about.show()
        if self._stack.currentWidget() is not self.form:
            self._stack.setCurrentWidget(self.form)
            self.resize(self.width(), max(self._form_height, self.height()))
        self.form.start.setDefault(True)
        self.form.layout_choice.setFocus()
        self._on_controls()

    def _connect(self) -> None:
        self.form.start_requested.connect(self._on_start)
        self.form.close_requested.connect(self.close)
        self.form.changed.connect(self._on_controls)
        self.estimate.known.connect(self.form.show_estimate)
        self.progress.stop_requested.connect(self._conversion.stop)
        self.progress.resume_requested.connect(self._on_resume)
        self.progress.settings_requested.connect(self._on_settings)
        self.progress.show_requested.connect(self._on_show_folder)
        self.progress.use_requested.connect(self._on_used)
        self.progress.close_requested.connect(self.close)
        self._conversion.changed.connect(self._show_conversion)

    def _lay_out(self) -> None:
        head = QVBoxLayout()
        head.setContentsMargins(20, 18, 20, 4)
        head.setSpacing(4)
        head.addWidget(self.title)
        head.addWidget(self.about)
        self._stack.addWidget(self.form)
        self._stack.addWidget(self.progress)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.banner)
        column.addLayout(head)
        column.addWidget(self._stack, 1)
        self.resize(560, 760)
