"""What becomes of prompts: the run on the canvas, the pictures made, and what to do with them."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QPoint, Signal, Slot
from PySide6.QtWidgets import QMenu, QVBoxLayout, QWidget

from core.events import Loading, MemoryEstimate, Notice, Saved, Step
from core.paths import Profile
from core.request import Request
from desktop.jobs import JobQueue, JobSnapshot, JobState, QueueSnapshot
from desktop.live import LiveRun
from desktop.progress import Progress, duration
from desktop.recall import recall
from desktop.studio import Pictures, WorkEvent
from desktop.thumbnails import Thumbnails
from desktop.widgets.banner import Banner, BannerKind
from desktop.widgets.picture_actions import PictureActions
from desktop.widgets.run_bar import RunBar
from desktop.widgets.stage import Stage
from desktop.widgets.strip import PictureList, Strip, pictures_in


class Results(QWidget):
    """Follows the run, or shows a picture of the strip while the run goes on.

    Signals:
        retry_requested(Request): A run that failed is to be tried again.
        export_requested(Request, NeedsExport): A run's exported model is to be exported again, with
            what it lacked.
        pause_requested(): The training that pictures wait for is to be paused.
    """

    retry_requested = Signal(object)
    export_requested = Signal(object, object)
    pause_requested = Signal()

    def __init__(self, profile: Profile, jobs: JobQueue) -> None:
        """Show the newest picture of the profile, or the invitation to make one."""
        super().__init__()
        self._profile = profile
        self._jobs = jobs
        self._live: LiveRun | None = None
        self._running_id = 0
        self._follows = False
        self._waits = False
        self.banner = Banner()
        self.stage = Stage()
        self.run_bar = RunBar()
        self.picture = PictureActions(self)
        self.thumbnails = Thumbnails(self)
        self.pictures = PictureList(pictures_in(profile.pictures), self.thumbnails)
        self.strip = Strip(self.pictures)
        self._lay_out()
        self._connect()
        self._view_newest()

    @Slot(str)
    def show_error(self, message: str) -> None:
        """Say in the banner what went wrong."""
        self.banner.show_message(BannerKind.ERROR, message)

    @Slot(str)
    def show_notice(self, message: str) -> None:
        """Say in the banner what to know."""
        self.banner.show_message(BannerKind.NOTICE, message)

    def show_busy(self, text: str) -> None:
        """Say what is being made ready, unless a run says more; an empty text ends it."""
        if self._jobs.snapshot.is_making:
            return
        if text:
            self.run_bar.show_busy(text)
        else:
            self._show_shown()

    def show_stopping(self) -> None:
        """Say that the run ends after its present step."""
        if self._jobs.snapshot.is_making:
            self.run_bar.show_busy(self.tr("Stopping after this step"))

    @Slot(object)
    def view(self, path: Path) -> None:
        """Show a picture of the strip."""
        if not self.stage.show_file(path):
            self._lost(path)
            return
        self._follows = False
        self.picture.set_path(path)
        self.strip.show_current(path)
        self._offer_way_back()
        if not self._jobs.snapshot.is_making:
            self._show_shown()

    @Slot()
    def follow(self) -> None:
        """Turn to the run, the coming one or the last; to its finished pictures if it is over."""
        self._follows = True
        over = not self._jobs.snapshot.is_making
        if self._live is None or (over and not self._live.finished()):
            return
        self.stage.show_run(self._live, finished_only=over)
        self.picture.set_path(None)
        self.strip.show_current(None)
        self._offer_way_back()
        if over:
            self._show_shown()

    def close_down(self) -> None:
        """Read no more thumbnails."""
        self.thumbnails.close()

    def _lay_out(self) -> None:
        for button in self.picture.buttons():
            self.run_bar.buttons.addWidget(button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.banner)
        column.addWidget(self.stage, 1)
        column.addWidget(self.run_bar)
        column.addWidget(self.strip)
        self.strip.setVisible(bool(self.pictures.paths))

    def _connect(self) -> None:
        self.stage.canvas.activated.connect(self.view)
        self.stage.canvas.menu_requested.connect(self._show_menu)
        self.stage.canvas.delete_requested.connect(self.picture.move_to_trash)
        self.stage.way_back.clicked.connect(self.follow)
        self.strip.chosen.connect(self.view)
        self.strip.menu_requested.connect(self._show_menu)
        self.strip.delete_requested.connect(self.picture.move_to_trash)
        self.run_bar.clear_requested.connect(self._jobs.clear_waiting)
        self.picture.removed.connect(self._on_removed)
        self.picture.failed.connect(self.show_error)
        self._jobs.changed.connect(self._on_jobs)
        self._jobs.progressed.connect(self._on_progress)
        self._jobs.ended.connect(self._on_ended)

    @Slot(object)
    def _on_jobs(self, snapshot: QueueSnapshot) -> None:
        running = snapshot.running
        self.run_bar.show_waiting(snapshot.waiting)
        self._tell_of_training(snapshot)
        if running and running.id != self._running_id and isinstance(running.work, Pictures):
            self._running_id = running.id
            self._live = LiveRun(running.work.request)
            self.run_bar.show_busy(self.tr("Starting"))
            if self._follows:
                self.follow()
        self._offer_way_back()

    @Slot(int, object)
    def _on_progress(self, job_id: int, event: WorkEvent) -> None:
        if job_id != self._running_id:
            return  # A training shows itself.
        if isinstance(event, Loading):
            what = self.tr("Loading {0}").format(event.what)
            self.run_bar.show_busy(
                f"{what} ({duration(event.seconds)})" if event.seconds >= 1 else what
            )
        elif isinstance(event, MemoryEstimate):
            self.run_bar.show_needed(event)
        elif isinstance(event, Step):
            self.run_bar.show_progress(Progress.of(event))
        elif isinstance(event, Saved):
            self.pictures.add(event.path)
            self.strip.show()
        elif isinstance(event, Notice):
            self.show_notice(event.message)
        if self._live and self._live.take(event) and self._follows:
            self.stage.show_run(self._live)

    @Slot(object)
    def _on_ended(self, job: JobSnapshot) -> None:
        if not isinstance(job.work, Pictures):
            return
        if job.state is JobState.FAILED:
            self._show_failure(job, job.work)
        snapshot = self._jobs.snapshot
        if job.id != self._running_id or snapshot.is_making or snapshot.waiting:
            return
        if not self._follows:
            self._show_shown()
        elif len(job.saved) == 1:
            self.view(job.saved[0])
        elif job.saved:
            self.follow()
        elif job.state is JobState.FAILED:
            self._view_newest()
        else:
            self.run_bar.show_idle(self.tr("Stopped"))

    def _show_failure(self, job: JobSnapshot, work: Pictures) -> None:
        if job.is_bug:
            self.banner.show_fault(job.message, self._profile.logs)
        elif job.lack is not None:
            self.banner.show_message(
                BannerKind.ERROR,
                job.message,
                self.tr("Convert Again…"),
                lambda: self.export_requested.emit(work.request, job.lack),
            )
        else:
            self.banner.show_message(
                BannerKind.ERROR,
                job.message,
                self.tr("Try Again"),
                lambda: self._retry(work.request),
            )

    def _retry(self, request: Request) -> None:
        self.retry_requested.emit(request)

    def _tell_of_training(self, snapshot: QueueSnapshot) -> None:
        """Say what pictures that wait are waiting for, if it is a training."""
        waits = snapshot.is_teaching and snapshot.waiting > 0
        if waits and not self._waits:
            self.banner.show_message(
                BannerKind.NOTICE,
                self.tr("A training has the engine; pictures wait until it is over or paused."),
                self.tr("Pause Training"),
                self.pause_requested.emit,
            )
        elif self._waits and not waits:
            self.banner.hide()
        self._waits = waits

    @Slot(object)
    def _on_removed(self, path: Path) -> None:
        row = self.pictures.paths.index(path) if path in self.pictures.paths else 0
        self._forget(path)
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
            self._show_shown()

    def _lost(self, path: Path) -> None:
        self._forget(path)
        message = self.tr("{0} is gone or no longer a picture; it was taken off the strip.")
        self.show_notice(message.format(path.name))

    def _forget(self, path: Path) -> None:
        """Show a picture no more whose file is gone."""
        self.pictures.remove(path)
        self.strip.setVisible(bool(self.pictures.paths))
        if self._live is not None:
            self._live.forget(path)
            if self._follows:
                self.follow()
        self._offer_way_back()

    def _offer_way_back(self) -> None:
        text = ""
        if self._live and not self._follows:
            if self._jobs.snapshot.is_making:
                text = self.tr("Back to the run")
            elif len(self._live.finished()) > 1:
                text = self.tr("Back to all pictures of the run")
        self.stage.offer_way_back(text)

    def _show_shown(self) -> None:
        """Say below the canvas what is on it."""
        made = len(self._live.finished()) if self._live and self._follows else 0
        text = self.tr("{0} pictures; click one to see it large").format(made) if made else ""
        if path := self.picture.path:
            recalled = recall(path)
            text = recalled.description() if recalled else path.name
        self.run_bar.show_idle(text)
