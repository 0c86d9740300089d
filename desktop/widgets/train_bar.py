"""The line below the Train page: how far the learning is, or what goes on with the pictures."""

from __future__ import annotations

from PySide6.QtCore import Signal

from core.events import Prepared
from desktop.model_facts import DOT
from desktop.picture_folder import FolderSnapshot
from desktop.training import Phase, TrainingSnapshot
from desktop.training_words import learning_text
from desktop.widgets.icon_button import IconButton
from desktop.widgets.status_line import StatusLine


class TrainBar(StatusLine):
    """Says what goes on.

    Signals:
        stop_requested(): No more captions are to be written.
    """

    stop_requested = Signal()

    def __init__(self) -> None:
        """Start idle."""
        super().__init__()
        self.stop = IconButton("stop", self.tr("Write no more captions; those written are kept"))
        self.stop.clicked.connect(self.stop_requested)
        self.row.addWidget(self.stop)
        self.stop.hide()

    def show_all(
        self, training: TrainingSnapshot, folder: FolderSnapshot, captioning: str | Prepared | None
    ) -> None:
        """Say what is most worth knowing.

        Args:
            training: As it stands.
            folder: As it stands.
            captioning: How far the writing of captions is, in words or numbers, or None.
        """
        self.stop.setVisible(captioning is not None)
        if training.phase is Phase.RUNNING or training.phase is Phase.ENDING:
            self._show_training(training)
        elif captioning is not None:
            self._show_captioning(captioning)
        elif training.phase is Phase.WAITING:
            self.show_busy(self.tr("Waits until the jobs before it are done"))
        elif folder.work is not None:
            text = self.tr("Looking through the pictures: {0} of {1}")
            if folder.work.what == "captions":
                text = self.tr("Writing captions: {0} of {1}")
            work = folder.work
            self.show_work(work.index / work.total, text.format(work.index, work.total))
        elif folder.is_reading:
            self.show_busy(self.tr("Looking through the pictures"))
        elif training.phase is Phase.PAUSED:
            self.show_work(self._share(training), self.tr("Paused"))
        else:
            self.show_idle(self._idle(folder))

    def _show_training(self, training: TrainingSnapshot) -> None:
        total = training.config.steps if training.config is not None else 1
        if training.phase is Phase.ENDING:
            self.show_busy(self.tr("Saving what it has learned, to go on from here"))
            return
        text = learning_text(
            training.step,
            total,
            training.steps_per_second,
            training.seconds_left,
            training.learning_rate,
        )
        if not training.doing:
            self.show_work(self._share(training), text)
        elif training.steps_per_second > 0:
            self.show_work(self._share(training), DOT.join((training.doing, text)))
        else:
            self.show_work(training.share, training.doing)

    def _share(self, training: TrainingSnapshot) -> float:
        return training.step / training.config.steps if training.config is not None else 0.0

    def _show_captioning(self, captioning: str | Prepared) -> None:
        if isinstance(captioning, str):
            self.show_busy(captioning)
            return
        text = self.tr("Writing captions: {0} of {1}").format(captioning.index, captioning.total)
        self.show_work(captioning.index / captioning.total, text)

    def _idle(self, folder: FolderSnapshot) -> str:
        count = len(folder.pictures)
        if not count:
            return self.tr("No pictures to learn from yet")
        bare = sum(not picture.caption for picture in folder.pictures)
        text = self.tr("1 picture") if count == 1 else self.tr("{0} pictures").format(count)
        if bare:
            text = DOT.join((text, self.tr("{0} without a caption").format(bare)))
        return text
