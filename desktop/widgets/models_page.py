"""The Models page: what there is, what may be had, and how both come into the library."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QPoint, Qt, Signal, Slot
from PySide6.QtGui import (
    QDragEnterEvent,
    QDragLeaveEvent,
    QDropEvent,
    QShowEvent,
)
from PySide6.QtWidgets import (
    QApplication,
    QFileDialog,
    QMenu,
    QMessageBox,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from core.coreml_folder import ExportFormat
from core.errors import CoreError, NeedsExport
from core.models.library import Library
from core.models.listing import Listed
from core.paths import Profile
from core.request import Request
from desktop.conversion import Conversion, ConversionSnapshot, Phase
from desktop.convert_again import export_for
from desktop.convert_words import unconvertible
from desktop.drops import dropped_paths
from desktop.model_facts import removal_question, title_of
from desktop.settings import Placing
from desktop.shelf import Shelf
from desktop.shelf_messages import Message, MessageKind
from desktop.shelf_snapshot import Offer, ShelfSnapshot
from desktop.widgets.banner import Banner, BannerKind
from desktop.widgets.convert_dialog import ConvertDialog
from desktop.widgets.drop_hint import DropHint
from desktop.widgets.model_details import ModelDetails
from desktop.widgets.models_panel import ModelsPanel
from desktop.widgets.picture_actions import show_in_folder
from desktop.widgets.work_bar import WorkBar


class ModelsPage(QWidget):
    """Where models are added, downloaded, checked, put to use and removed.

    Signals:
        used(Listed): The person wants it on the Create page.
        failed(str): A sentence on why a model cannot be converted again.
    """

    used = Signal(object)
    failed = Signal(str)

    def __init__(self, profile: Profile, shelf: Shelf, conversion: Conversion) -> None:
        """Build the page around the library."""
        super().__init__()
        self._profile = profile
        self._shelf = shelf
        self._conversion = conversion
        self._phase = Phase.NONE
        self.convert_dialog: ConvertDialog | None = None
        self.panel = ModelsPanel()
        self.details = ModelDetails()
        self.banner = Banner()
        self.work_bar = WorkBar()
        self.drop_hint = DropHint(self)
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        right = QWidget()
        column = QVBoxLayout(right)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.banner)
        column.addWidget(self.details, 1)
        column.addWidget(self.work_bar)
        self.splitter.addWidget(self.panel)
        self.splitter.addWidget(right)
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setHandleWidth(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.splitter)
        self.setAcceptDrops(True)
        self._connect()
        self._no_converter = ""
        if conversion.refused.keys() == set(ExportFormat):
            self._no_converter = conversion.refused[ExportFormat.COREML]
        self.details.set_no_converter(self._no_converter)
        self._on_changed(shelf.snapshot)

    @Slot(object)
    def add(self, paths: tuple[Path, ...]) -> None:
        """Add files and folders, kept as the person has chosen."""
        self.banner.hide()
        self._shelf.add(paths, copy=self.panel.placing.value() is Placing.COPY)

    @Slot(object)
    def convert(self, row: Listed) -> None:
        """Open the dialogue that converts a model, or the conversion that is at work."""
        self._dialog().show_model(row)

    @Slot(object, object)
    def convert_again(self, refused: Request, lack: NeedsExport) -> None:
        """Open the dialogue with what an exported model was made of, and with what it lacked.

        Args:
            refused: What it could not make.
            lack: Why.
        """
        models, finder = self._shelf.snapshot.models, Library(self._profile).finder
        try:
            row, wanted = export_for(refused, lack, models, finder)
        except CoreError as error:
            self.failed.emit(str(error))
            return
        if reason := unconvertible(row, self._no_converter):
            text = self.tr("{0} cannot be converted again: {1}")
            self.failed.emit(text.format(title_of(row), reason))
        else:
            self._dialog().show_model(row, wanted)

    def close_down(self) -> None:
        """Look at nothing more."""
        if self.convert_dialog is not None:
            self.convert_dialog.close_down()

    def showEvent(self, event: QShowEvent) -> None:
        """Read anew what there is: another program may have added to it."""
        super().showEvent(event)
        self.panel.list.setFocus()
        self._shelf.refresh()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take files and folders."""
        if dropped_paths(event.mimeData()):
            event.acceptProposedAction()
            text = self.tr("Drop to add; the files are used where they lie")
            if self.panel.placing.value() is Placing.COPY:
                text = self.tr("Drop to copy into the library")
            self.drop_hint.tell(text)

    def dragLeaveEvent(self, _event: QDragLeaveEvent) -> None:
        """Take the hint away."""
        self.drop_hint.hide()

    def dropEvent(self, event: QDropEvent) -> None:
        """Add what was dropped."""
        self.drop_hint.hide()
        event.acceptProposedAction()
        self.add(dropped_paths(event.mimeData()))

    def _connect(self) -> None:
        panel, details, shelf = self.panel, self.details, self._shelf
        panel.add_requested.connect(self.add)
        panel.list.turned_to.connect(details.show_row)
        panel.list.entered_row.connect(self._on_entered)
        panel.list.menu_requested.connect(self._show_menu)
        panel.list.delete_requested.connect(self._on_delete)
        panel.rows.modelReset.connect(self._on_rows)
        details.use_requested.connect(self._use)
        details.show_requested.connect(lambda row: show_in_folder(row.path))
        details.convert_requested.connect(self.convert)
        details.verify_requested.connect(lambda row: self._shelf.verify(row.name))
        details.find_requested.connect(self._look_for)
        details.remove_requested.connect(self._remove)
        details.download_requested.connect(self._download)
        details.stop_requested.connect(lambda offer: shelf.stop_download(offer.model.id))
        details.forget_requested.connect(lambda offer: shelf.forget_download(offer.model.id))
        self.work_bar.stop_requested.connect(shelf.stop_work)
        self.work_bar.show_requested.connect(self._show_conversion)
        self._conversion.changed.connect(self._on_conversion)
        shelf.changed.connect(self._on_changed)
        shelf.told.connect(self._on_told)
        shelf.added.connect(self._on_added)

    @Slot(object)
    def _on_changed(self, snapshot: ShelfSnapshot) -> None:
        self.panel.rows.set_snapshot(snapshot)
        self.work_bar.show_snapshot(snapshot, self._conversion.snapshot)
        current = self.panel.list.current()
        if current is not None and current != self.details.row:
            self.details.show_row(current)

    @Slot(object)
    def _on_conversion(self, conversion: ConversionSnapshot) -> None:
        """Say how far it is, and put what came out into the library."""
        self.work_bar.show_snapshot(self._shelf.snapshot, conversion)
        before, self._phase = self._phase, conversion.phase
        if not before.is_busy or self._phase.is_busy:
            return
        QApplication.alert(self.window())
        if conversion.exported is not None:
            self._shelf.add((conversion.exported.folder,), copy=False, own=True)
        if self._phase is not Phase.FAILED:
            return
        if conversion.is_bug:
            self.banner.show_fault(conversion.message, self._profile.logs)
        elif not self._dialog().isVisible():
            text, show = self.tr("Show"), self._show_conversion
            self.banner.show_message(BannerKind.ERROR, conversion.message, text, show)

    @Slot()
    def _show_conversion(self) -> None:
        if (model := self._conversion.snapshot.model) is not None:
            self.convert(model)

    def _dialog(self) -> ConvertDialog:
        """Give the dialogue, which is built when it is first wanted."""
        if self.convert_dialog is None:
            self.convert_dialog = ConvertDialog(self._conversion, self._profile.models, self)
            self.convert_dialog.set_library(self._shelf.snapshot)
            self._shelf.changed.connect(self.convert_dialog.set_library)
            self.convert_dialog.used.connect(self._use)
        return self.convert_dialog

    @Slot()
    def _on_rows(self) -> None:
        if not self.panel.rows.rows:
            self.details.show_row(None)

    @Slot(str)
    def _on_added(self, name: str) -> None:
        self.panel.show_all()
        self.panel.list.turn_to(f"model {name}")

    @Slot(object)
    def _on_told(self, message: Message) -> None:
        match message.kind:
            case MessageKind.NOTICE:
                self.banner.show_message(BannerKind.NOTICE, message.text)
            case MessageKind.ERROR:
                self.banner.show_message(BannerKind.ERROR, message.text)
            case MessageKind.FAULT:
                self.banner.show_fault(message.text, self._profile.logs)

    @Slot()
    def _on_entered(self) -> None:
        """Do by a double click or Return what the strong button does."""
        for button in (self.details.use, self.details.download):
            if button.isVisibleTo(self.details) and button.isEnabled():
                button.click()

    @Slot()
    def _on_delete(self) -> None:
        if self.details.remove.isVisibleTo(self.details):
            self.details.remove.click()

    @Slot(QPoint)
    def _show_menu(self, place: QPoint) -> None:
        menu = QMenu(self)
        self.details.fill(menu)
        menu.aboutToHide.connect(menu.deleteLater)
        menu.popup(place)

    @Slot(object)
    def _use(self, row: Listed) -> None:
        self.banner.hide()
        self.used.emit(row)

    @Slot(object)
    def _download(self, offer: Offer) -> None:
        self.banner.hide()
        self._shelf.download(offer.model.id)

    @Slot(object)
    def _look_for(self, row: Listed) -> None:
        folder = QFileDialog.getExistingDirectory(
            self, self.tr("Look for {0} in").format(title_of(row))
        )
        if folder:
            self._shelf.verify(row.name, (Path(folder),))

    @Slot(object)
    def _remove(self, row: Listed) -> None:
        if self._is_removal_meant(row):
            self.banner.hide()
            self._shelf.remove(row.name)

    def _is_removal_meant(self, row: Listed) -> bool:
        box = QMessageBox(self)
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle(self.tr("Remove a Model"))
        box.setText(self.tr("Remove {0} from the library?").format(title_of(row)))
        box.setInformativeText(removal_question(row))
        text = self.tr("Delete") if row.owned else self.tr("Remove")
        yes = box.addButton(text, QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.exec()
        return box.clickedButton() is yes
