"""The Create page: controls, canvas, results, and how they hang together."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl, Slot
from PySide6.QtGui import (
    QDesktopServices,
    QDragEnterEvent,
    QDragLeaveEvent,
    QDropEvent,
    QGuiApplication,
    QKeyEvent,
)
from PySide6.QtWidgets import QFileDialog, QMenu, QSplitter, QVBoxLayout, QWidget

from core.errors import CoreError
from core.events import Event, Loading, Notice, PreviewSettings, Saved, Step
from core.paths import Profile
from core.request import Request
from desktop.drops import SUFFIXES, has_picture, kept_picture
from desktop.jobs import JobQueue, JobSnapshot, JobState, QueueSnapshot
from desktop.live import LiveRun
from desktop.progress import Progress
from desktop.recall import recall
from desktop.thumbnails import Thumbnails
from desktop.widgets.banner import Banner, BannerKind
from desktop.widgets.create_panel import CreatePanel
from desktop.widgets.picture_actions import PictureActions
from desktop.widgets.run_bar import RunBar
from desktop.widgets.stage import Stage
from desktop.widgets.strip import PictureList, Strip, pictures_in


class CreatePage(QWidget):
    """Where prompts become pictures."""

    def __init__(self, profile: Profile, panel: CreatePanel, jobs: JobQueue) -> None:
        """Build the page around the controls and the queue."""
        super().__init__()
        self._profile = profile
        self._jobs = jobs
        self._live: LiveRun | None = None
        self._running_id = 0
        self._follows = False
        self.panel = panel
        self.banner = Banner()
        self.stage = Stage()
        self.run_bar = RunBar()
        self.picture = PictureActions(self)
        self.thumbnails = Thumbnails(self)
        self.pictures = PictureList(pictures_in(profile.pictures), self.thumbnails)
        self.strip = Strip(self.pictures)
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self.setAcceptDrops(True)
        self._lay_out()
        self._connect()
        self._view_newest()

    @Slot()
    def generate(self) -> None:
        """Put what the controls say at the end of the queue."""
        self.banner.hide()
        try:
            request = self.panel.take_request()
        except CoreError as error:
            self.show_error(str(error))
            return
        self._enqueue(request)

    @Slot()
    def stop(self) -> None:
        """End the run after its present step."""
        self._jobs.stop()

    @Slot(str)
    def show_error(self, message: str) -> None:
        """Say in the banner what went wrong."""
        self.banner.show_message(BannerKind.ERROR, message)

    @Slot(str)
    def show_busy(self, text: str) -> None:
        """Say what is being made ready, unless a run says more; an empty text ends it."""
        if self._jobs.snapshot.running:
            return
        if text:
            self.run_bar.show_busy(text)
        else:
            path = self.picture.path
            self.run_bar.show_idle(self._describe(path) if path else "")

    @Slot(object)
    def view(self, path: Path) -> None:
        """Show a picture of the strip."""
        self._follows = False
        if not self.stage.show_file(path):
            self._lost(path)
            return
        self.picture.set_path(path)
        self.strip.show_current(path)
        self._offer_way_back()
        if not self._jobs.snapshot.running:
            self.run_bar.show_idle(self._describe(path))

    @Slot()
    def follow(self) -> None:
        """Turn back to the run."""
        if self._live:
            self._follows = True
            self.stage.show_run(self._live)
            self.picture.set_path(None)
            self.strip.show_current(None)
            self._offer_way_back()

    @Slot()
    def choose_start(self) -> None:
        """Ask for a start picture."""
        endings = " ".join(f"*{suffix}" for suffix in sorted(SUFFIXES))
        name, _ = QFileDialog.getOpenFileName(
            self, self.tr("Choose a Start Picture"), "", self.tr("Pictures ({0})").format(endings)
        )
        if name:
            self.panel.start.set_path(name)

    @Slot(object)
    def start_from(self, source: Path | QMimeData) -> None:
        """Start from a picture: a file, or what was dropped or pasted."""
        folder = self._profile.root / "pasted"
        try:
            path = source if isinstance(source, Path) else kept_picture(source, folder)
        except CoreError as error:
            self.show_error(str(error))
            return
        if path is None:
            return
        self.panel.start.set_path(str(path))
        if not self.panel.start.path:
            message = self.tr("{0} is not a picture that can be read; choose a PNG or JPEG.")
            self.show_error(message.format(path.name))

    @Slot()
    def paste(self) -> None:
        """Start from the picture on the clipboard."""
        self.start_from(QGuiApplication.clipboard().mimeData())

    @Slot(object)
    def reuse(self, path: Path) -> None:
        """Bring back the settings that a picture was made with."""
        recalled = recall(path)
        if recalled is None:
            message = self.tr("{0} carries no settings that can be used.").format(path.name)
            self.banner.show_message(BannerKind.NOTICE, message)
            return
        values = recalled.settings(self.panel.values())
        self.panel.set_values(values)
        if values.start_image and not self.panel.start.path:
            message = self.tr("The start picture {0} is gone; the rest is set.")
            self.banner.show_message(BannerKind.NOTICE, message.format(values.start_image))

    def close_down(self) -> None:
        """Read no more thumbnails."""
        self.thumbnails.close()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take pictures, but not the one that is shown here."""
        if has_picture(event.mimeData()) and event.source() is not self.stage.canvas:
            event.acceptProposedAction()
            self.stage.canvas.set_drop_hint(shown=True)

    def dragLeaveEvent(self, _event: QDragLeaveEvent) -> None:
        """Take the hint away."""
        self.stage.canvas.set_drop_hint(shown=False)

    def dropEvent(self, event: QDropEvent) -> None:
        """Start from what was dropped."""
        self.stage.canvas.set_drop_hint(shown=False)
        event.acceptProposedAction()
        self.start_from(event.mimeData())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Turn to the next picture by the arrow keys wherever they mean nothing else."""
        steps = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
        if event.key() in steps:
            self.strip.step(steps[Qt.Key(event.key())])
        else:
            super().keyPressEvent(event)

    def _lay_out(self) -> None:
        for button in self.picture.buttons():
            self.run_bar.buttons.addWidget(button)
        right = QWidget()
        column = QVBoxLayout(right)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.banner)
        column.addWidget(self.stage, 1)
        column.addWidget(self.run_bar)
        column.addWidget(self.strip)
        self.splitter.addWidget(self.panel)
        self.splitter.addWidget(right)
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setHandleWidth(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.splitter)
        self.strip.setVisible(bool(self.pictures.paths))

    def _connect(self) -> None:
        self.panel.generate_requested.connect(self.generate)
        self.panel.stop_requested.connect(self.stop)
        self.panel.start.choose_requested.connect(self.choose_start)
        self.panel.start.dropped.connect(self.start_from)
        self.panel.prompt.picture_pasted.connect(self.start_from)
        self.panel.negative.picture_pasted.connect(self.start_from)
        self.stage.empty.chosen.connect(self._on_example)
        self.stage.canvas.activated.connect(self.view)
        self.stage.canvas.menu_requested.connect(self._show_menu)
        self.stage.way_back.clicked.connect(self.follow)
        self.strip.chosen.connect(self.view)
        self.strip.menu_requested.connect(self._show_menu)
        self.strip.delete_requested.connect(self.picture.move_to_trash)
        self.run_bar.clear_requested.connect(self._jobs.clear_waiting)
        self.picture.start_requested.connect(self.start_from)
        self.picture.reuse_requested.connect(self.reuse)
        self.picture.removed.connect(self._on_removed)
        self.picture.failed.connect(self.show_error)
        self._jobs.changed.connect(self._on_jobs)
        self._jobs.progressed.connect(self._on_progress)
        self._jobs.ended.connect(self._on_ended)

    def _enqueue(self, request: Request) -> None:
        self._follows = True
        preview = PreviewSettings(decoder=self.panel.values().preview)
        self._jobs.enqueue(request, preview)

    @Slot(str)
    def _on_example(self, prompt: str) -> None:
        self.panel.prompt.setPlainText(prompt)
        self.generate()

    @Slot(object)
    def _on_jobs(self, snapshot: QueueSnapshot) -> None:
        running = snapshot.running
        self.panel.set_running(running=running is not None, waiting=snapshot.waiting)
        self.run_bar.show_waiting(snapshot.waiting)
        if running and running.id != self._running_id:
            self._running_id = running.id
            self._live = LiveRun(running.request)
            self.run_bar.show_busy(self.tr("Starting"))
            if self._follows:
                self.follow()
        self._offer_way_back()

    @Slot(int, object)
    def _on_progress(self, _job_id: int, event: Event) -> None:
        if isinstance(event, Loading):
            self.run_bar.show_busy(self.tr("Loading {0}").format(event.what))
        elif isinstance(event, Step):
            self.run_bar.show_progress(Progress.of(event))
        elif isinstance(event, Saved):
            self.pictures.add(event.path)
            self.strip.show()
        elif isinstance(event, Notice):
            self.banner.show_message(BannerKind.NOTICE, event.message)
        if self._live and self._live.take(event) and self._follows:
            self.stage.show_run(self._live)

    @Slot(object)
    def _on_ended(self, job: JobSnapshot) -> None:
        if job.state is JobState.FAILED:
            self._show_failure(job)
        snapshot = self._jobs.snapshot
        if job.id != self._running_id or snapshot.running or snapshot.waiting:
            return
        text = self.tr("Stopped") if job.state is JobState.CANCELLED else ""
        self.run_bar.show_idle(text)
        if not self._follows:
            if path := self.picture.path:
                self.run_bar.show_idle(self._describe(path))
        elif len(job.saved) == 1:
            self.view(job.saved[0])
        elif job.saved and self._live:
            self.stage.show_run(self._live, finished_only=True)
            made = self.tr("{0} pictures; click one to see it large")
            self.run_bar.show_idle(made.format(len(job.saved)))
        elif job.state is JobState.FAILED:
            self._view_newest()

    def _show_failure(self, job: JobSnapshot) -> None:
        if job.is_bug:
            message = self.tr("Stepwise met a fault of its own ({0}). The log tells more.")
            logs = QUrl.fromLocalFile(str(self._profile.logs))
            self.banner.show_message(
                BannerKind.ERROR,
                message.format(job.message),
                self.tr("Open Log"),
                lambda: QDesktopServices.openUrl(logs),
            )
        else:
            self.banner.show_message(
                BannerKind.ERROR,
                job.message,
                self.tr("Try Again"),
                lambda: self._enqueue(job.request),
            )

    @Slot(object)
    def _on_removed(self, path: Path) -> None:
        row = self.pictures.paths.index(path) if path in self.pictures.paths else 0
        self.pictures.remove(path)
        self.strip.setVisible(bool(self.pictures.paths))
        if self.picture.path == path:
            left = self.pictures.paths[row : row + 1] or self.pictures.paths[-1:]
            self.view(left[0]) if left else self._view_newest()

    @Slot(object, QPoint)
    def _show_menu(self, path: Path, place: QPoint) -> None:
        self.view(path)
        menu = QMenu(self)
        self.picture.fill(menu)
        menu.aboutToHide.connect(menu.deleteLater)
        menu.popup(place)

    def _view_newest(self) -> None:
        if self.pictures.paths:
            self.view(self.pictures.paths[0])
        else:
            self.picture.set_path(None)
            self.stage.show_invitation()
            self.run_bar.show_idle("")

    def _lost(self, path: Path) -> None:
        self.pictures.remove(path)
        self.strip.setVisible(bool(self.pictures.paths))
        message = self.tr("{0} is gone or no longer a picture; it was taken off the strip.")
        self.banner.show_message(BannerKind.NOTICE, message.format(path.name))

    def _offer_way_back(self) -> None:
        text = ""
        if self._live and not self._follows:
            if self._jobs.snapshot.running:
                text = self.tr("Back to the run")
            elif len(self._live.finished()) > 1:
                text = self.tr("Back to all pictures of the run")
        self.stage.offer_way_back(text)

    def _describe(self, path: Path) -> str:
        recalled = recall(path)
        return recalled.description() if recalled else path.name
