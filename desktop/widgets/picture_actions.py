"""What can be done with a finished picture: buttons, menu and shortcuts, one of each."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QFile, QObject, QProcess, QUrl, Signal
from PySide6.QtGui import QAction, QDesktopServices, QGuiApplication, QKeySequence
from PySide6.QtWidgets import QFileDialog, QMenu, QMessageBox, QWidget

from core.errors import CoreError, InvalidRequest
from core.files import replace_file
from core.images.formats import PictureFormat
from core.images.writing import converted
from core.paths import exists
from desktop.images import read
from desktop.widgets.icon_button import IconButton


class PictureActions(QObject):
    """The actions on the current picture.

    Signals:
        start_requested(Path): Use it as the start picture.
        enlarge_requested(Path): Make it twice as large, with more detail.
        reuse_requested(Path): Bring back the settings it was made with.
        removed(Path): It went to the trash.
        failed(str): A sentence on what did not work.
    """

    start_requested = Signal(object)
    enlarge_requested = Signal(object)
    reuse_requested = Signal(object)
    removed = Signal(object)
    failed = Signal(str)

    def __init__(self, window: QWidget) -> None:
        """Make the actions; dialogs open above ``window``."""
        super().__init__(window)
        self._window = window
        self._path: Path | None = None
        self.start = self._action(self.tr("Use as Start Picture"), "Ctrl+I")
        self.enlarge = self._action(self.tr("Make Twice as Large"), "Ctrl+U")
        self.reuse = self._action(self.tr("Reuse Settings"), "Ctrl+R")
        self.copy = self._action(self.tr("Copy Picture"), "Ctrl+Shift+C")
        self.save = self._action(self.tr("Save As…"), QKeySequence.StandardKey.Save)
        self.show = self._action(self.tr("Show in Folder"), "Ctrl+Shift+R")
        self.trash = self._action(self.tr("Move to Trash"), "")
        self._on_trigger(self.start, self.start_requested.emit)
        self._on_trigger(self.enlarge, self.enlarge_requested.emit)
        self._on_trigger(self.reuse, self.reuse_requested.emit)
        self._on_trigger(self.copy, self._copy)
        self._on_trigger(self.save, self._save)
        self._on_trigger(self.show, show_in_folder)
        self._on_trigger(self.trash, self.move_to_trash)
        self._icons = {
            self.start: "start-picture",
            self.enlarge: "kind-upscaler",
            self.reuse: "reuse",
            self.copy: "copy",
            self.save: "save",
            self.show: "folder",
            self.trash: "trash",
        }
        self.set_path(None)

    @property
    def path(self) -> Path | None:
        """The current picture."""
        return self._path

    def set_path(self, path: Path | None) -> None:
        """Make ``path`` the current picture, or none."""
        self._path = path
        for action in self._icons:
            action.setEnabled(path is not None)

    def buttons(self) -> list[IconButton]:
        """Give a button for each action; they are hidden while there is no picture."""
        return [self._button(action, icon) for action, icon in self._icons.items()]

    def fill(self, menu: QMenu) -> None:
        """Add the actions to a menu."""
        menu.addActions([self.start, self.enlarge, self.reuse])
        menu.addSeparator()
        menu.addActions([self.copy, self.save, self.show])
        menu.addSeparator()
        menu.addAction(self.trash)

    def move_to_trash(self, path: Path) -> None:
        """Move a picture to the desktop's trash, from where it can be brought back."""
        moved, _ = QFile.moveToTrash(str(path))
        if moved:
            self.removed.emit(path)
        else:
            self.failed.emit(
                self.tr("{0} could not be moved to the trash; delete it in its folder.").format(
                    path.name
                )
            )

    def _action(self, text: str, keys: str | QKeySequence.StandardKey) -> QAction:
        action = QAction(text, self._window)
        action.setShortcut(QKeySequence(keys))
        return action

    def _on_trigger(self, action: QAction, act: Callable[[Path], object]) -> None:
        """Let ``action`` act on the current picture."""

        def triggered() -> None:
            if self._path is not None:
                act(self._path)

        action.triggered.connect(triggered)

    def _button(self, action: QAction, icon: str) -> IconButton:
        keys = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
        button = IconButton(icon, action.text())
        if keys:
            button.setToolTip(f"{action.text()}  ({keys})")
        button.clicked.connect(action.trigger)
        button.setVisible(action.isEnabled())
        action.enabledChanged.connect(button.setVisible)
        return button

    def _copy(self, path: Path) -> None:
        image = read(path)
        if image.isNull():
            self.failed.emit(self.tr("{0} cannot be read any more.").format(path.name))
            return
        # A QMimeData made in Python would be deleted by Qt after the interpreter is gone: a crash.
        QGuiApplication.clipboard().setImage(image)

    def _save(self, path: Path) -> None:
        kinds = {
            self.tr("PNG (*.png)"): PictureFormat.PNG,
            self.tr("JPEG (*.jpg *.jpeg)"): PictureFormat.JPEG,
            self.tr("WebP (*.webp)"): PictureFormat.WEBP,
        }
        name, chosen = QFileDialog.getSaveFileName(
            self._window,
            self.tr("Save Picture As"),
            path.name,
            ";;".join(kinds),
            next(text for text, kind in kinds.items() if kind is _kind_of(path)),
        )
        if not name:
            return
        target = Path(name)
        if PictureFormat.of_suffix(target.suffix) is None:
            # The dialog has asked about the name as it was typed, not about this one.
            target = target.with_name(target.name + kinds.get(chosen, _kind_of(path)).suffix)
            if exists(target) and not self._is_replacing_meant(target):
                return
        self.save_to(path, target)

    def _is_replacing_meant(self, target: Path) -> bool:
        box = QMessageBox(self._window)
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle(self.tr("Save Picture As"))
        box.setText(self.tr("Replace {0}?").format(target.name))
        box.setInformativeText(self.tr("There is such a file in {0}.").format(target.parent))
        yes = box.addButton(self.tr("Replace"), QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.exec()
        return box.clickedButton() is yes

    def save_to(self, path: Path, target: Path) -> None:
        """Save the picture elsewhere with its settings: the same file, or another kind by name."""
        kind = _kind_of(target)
        try:
            data = path.read_bytes() if kind is _kind_of(path) else converted(path, kind)
            replace_file(target, data)
        except (OSError, InvalidRequest):
            self.failed.emit(self.tr("{0} cannot be read any more.").format(path.name))
        except CoreError as error:
            self.failed.emit(str(error))


def _kind_of(path: Path) -> PictureFormat:
    """Tell the kind of a picture file by its name; one of another name is a PNG."""
    return PictureFormat.of_suffix(path.suffix) or PictureFormat.PNG


def show_in_folder(path: Path) -> None:
    """Open the desktop's file manager at a file."""
    if sys.platform == "darwin":
        QProcess.startDetached("open", ["-R", str(path)])
    elif sys.platform == "win32":
        QProcess.startDetached("explorer", ["/select,", str(path)])
    else:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(path.parent)))
