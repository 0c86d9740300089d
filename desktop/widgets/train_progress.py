"""A training as it goes on: the curve, what is being drawn, the samples and the log."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Slot
from PySide6.QtGui import QImage, QPainter, QPainterPath, QPaintEvent, QPalette
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from desktop.images import shown_file
from desktop.theme import mark
from desktop.thumbnails import Thumbnails
from desktop.training import Training, TrainingSnapshot
from desktop.training_folder import Shot
from desktop.widgets.fold import Fold
from desktop.widgets.loss_chart import LossChart
from desktop.widgets.sample_table import SampleGrid, SampleTable
from desktop.widgets.sample_viewer import SampleViewer
from desktop.widgets.train_outcome import TrainOutcome

_LIVE_SIDE = 196
_LOG_HEIGHT = 120


class TrainProgress(QWidget):
    """Follows a training."""

    def __init__(self, training: Training, thumbnails: Thumbnails) -> None:
        """Follow ``training``."""
        super().__init__()
        self._training = training
        self._lines: tuple[str, ...] = ()
        self.outcome = TrainOutcome()
        self.chart = LossChart()
        self.live = LivePicture()
        self.samples = SampleGrid(thumbnails)
        self.table = SampleTable(self.samples)
        self.viewer = SampleViewer()
        self.no_samples = QLabel()
        mark(self.no_samples, "quiet")
        self.no_samples.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.no_samples.setWordWrap(True)
        self.log = QPlainTextEdit()
        self.log.setReadOnly(True)
        self.log.setAccessibleName(self.tr("Log"))
        self.log.setFixedHeight(_LOG_HEIGHT)
        self.log_fold = Fold(self.tr("Log"), self.log)
        self._stack = QStackedWidget()
        self._lay_out()
        self.table.chosen.connect(self._view)
        self.viewer.turned.connect(self._turn)
        self.viewer.closed.connect(self._close_viewer)
        training.changed.connect(self.show_snapshot)
        training.shown.connect(self.live.show_picture)
        self.show_snapshot(training.snapshot)

    @Slot(object)
    def show_snapshot(self, training: TrainingSnapshot) -> None:
        """Show a training as it stands."""
        config = training.config
        self.outcome.show_snapshot(training)
        self.chart.show_curve(self._training.curve, config.steps if config is not None else 1)
        prompts = config.samples.prompts if config is not None else ()
        self.samples.show(prompts, training.shots)
        if self.viewer.shot is not None and self.viewer.shot not in training.shots:
            self._stack.setCurrentIndex(0)
        self.table.setVisible(bool(training.shots))
        self.no_samples.setVisible(not training.shots)
        self.no_samples.setText(
            self.tr("Samples appear here as they are drawn.")
            if prompts
            else self.tr("This training draws no samples: it was given no sample prompts.")
        )
        if not training.phase.is_busy:
            last = training.shots[-1] if training.shots else None
            self.live.show_picture(shown_file(last.path) if last is not None else QImage())
        self._show_lines(training.lines)

    @Slot(object)
    def _view(self, shot: Shot) -> None:
        config = self._training.snapshot.config
        prompt = config.samples.prompts[shot.prompt] if config is not None else ""
        step = self.tr("Step {0}").format(shot.step) if shot.step else self.tr("Before")
        if self.viewer.show_shot(shot, f"{step}  ·  {prompt}"):
            self._stack.setCurrentWidget(self.viewer)
            self.viewer.setFocus()
            for button, across in ((self.viewer.earlier, -1), (self.viewer.later, 1)):
                button.setEnabled(self._neighbour(shot, across, 0) is not None)

    def _neighbour(self, shot: Shot, across: int, down: int) -> Shot | None:
        return self.samples.neighbour(shot, across, down)

    @Slot(int, int)
    def _turn(self, across: int, down: int) -> None:
        shot = self.viewer.shot
        if shot is not None and (found := self._neighbour(shot, across, down)) is not None:
            self._view(found)

    @Slot()
    def _close_viewer(self) -> None:
        self._stack.setCurrentIndex(0)
        if self.viewer.shot is not None:
            self.table.setCurrentIndex(self.samples.place(self.viewer.shot))
        self.table.setFocus()

    def _show_lines(self, lines: tuple[str, ...]) -> None:
        """Add what is new to the log, or write it anew if it is of another training."""
        known = len(self._lines)
        if lines[:known] == self._lines:
            for line in lines[known:]:
                self.log.appendPlainText(line)
        else:
            self.log.setPlainText("\n".join(lines))
            bar = self.log.verticalScrollBar()
            bar.setValue(bar.maximum())
        self._lines = lines

    def _lay_out(self) -> None:
        above = QHBoxLayout()
        above.setSpacing(16)
        above.addWidget(self.chart, 1)
        above.addWidget(self.live, 0, Qt.AlignmentFlag.AlignTop)
        dashboard = QWidget()
        column = QVBoxLayout(dashboard)
        column.setContentsMargins(16, 4, 16, 8)
        column.setSpacing(10)
        column.addWidget(self.outcome)
        column.addLayout(above, 3)
        column.addWidget(self.table, 4)
        column.addWidget(self.no_samples, 4)
        column.addWidget(self.log_fold)
        self._stack.addWidget(dashboard)
        self._stack.addWidget(self.viewer)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._stack)


class LivePicture(QWidget):
    """The picture that is being drawn, or the one drawn last."""

    def __init__(self) -> None:
        """Start without a picture."""
        super().__init__()
        self._image = QImage()
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(self.tr("The latest picture"))
        self.setToolTip(self.tr("The sample that is being drawn, or the latest one"))

    @property
    def image(self) -> QImage:
        """What is shown; null before the first picture."""
        return self._image

    def sizeHint(self) -> QSize:
        """Want a square."""
        return QSize(_LIVE_SIDE, _LIVE_SIDE)

    @Slot(QImage)
    def show_picture(self, image: QImage) -> None:
        """Show a picture; a null one for none."""
        self._image = image
        self.setVisible(not image.isNull())
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Paint the picture with soft corners."""
        painter = QPainter(self)
        painter.setRenderHints(
            QPainter.RenderHint.SmoothPixmapTransform | QPainter.RenderHint.Antialiasing
        )
        size = self._image.size().scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatio)
        place = QRectF(QPointF(), size.toSizeF())
        place.moveCenter(QRectF(self.rect()).center())
        path = QPainterPath()
        path.addRoundedRect(place, 8, 8)
        painter.fillPath(path, self.palette().color(QPalette.ColorRole.Midlight))
        painter.setClipPath(path)
        painter.drawImage(place, self._image)
