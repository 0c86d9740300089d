"""What became of a training that does not go on now, and what to do with it."""

from __future__ import annotations

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout

from core.training.config import TrainConfig
from core.training.config_parts import MOST_STEPS
from desktop.icons import tinted_pixmap
from desktop.theme import mark
from desktop.training import Phase, TrainingSnapshot
from desktop.widgets.icon_button import IconButton
from desktop.widgets.slider_spin import CalmSpin

_MORE_WIDTH = 92


class TrainOutcome(QFrame):
    """A card above the curve.

    Signals:
        use_requested(): What was learned is to be put to use on the Create page.
        resume_requested(): The training is to go on.
        more_requested(int): It is to learn so many steps more.
        show_requested(): The folder of the training is wanted.
    """

    use_requested = Signal()
    resume_requested = Signal()
    more_requested = Signal(int)
    show_requested = Signal()

    def __init__(self) -> None:
        """Start hidden."""
        super().__init__()
        self.setObjectName("trouble")
        self._grave = False
        self._sign = QLabel()
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        font = self.title.font()
        font.setBold(True)
        self.title.setFont(font)
        self.use = QPushButton()
        mark(self.use, "primary")
        self.use.clicked.connect(self.use_requested)
        self.resume = QPushButton(self.tr("Resume"))
        self.resume.clicked.connect(self.resume_requested)
        self._config: TrainConfig | None = None
        self.more = CalmSpin()
        self.more.setDecimals(0)
        self.more.setPrefix("+ ")
        self.more.setFixedWidth(_MORE_WIDTH)
        self.more.setAccessibleName(self.tr("Steps more"))
        self.more.setToolTip(self.tr("How many steps more it learns"))
        self.learn_on = QPushButton(self.tr("Learn On"))
        self.learn_on.setToolTip(self.tr("Go on where it ended, as if it had not"))
        self.learn_on.clicked.connect(lambda: self.more_requested.emit(int(self.more.value())))
        self.folder = IconButton("folder", self.tr("Show the training's folder"))
        self.folder.clicked.connect(self.show_requested)
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(self.title)
        words.addWidget(self.text)
        # Below the words: a narrow window has no room beside them.
        buttons = QHBoxLayout()
        buttons.setContentsMargins(0, 6, 0, 0)
        buttons.setSpacing(8)
        for widget in (self.use, self.resume, self.more, self.learn_on):
            buttons.addWidget(widget)
        buttons.addStretch(1)
        words.addLayout(buttons)
        row = QHBoxLayout(self)
        row.setContentsMargins(14, 10, 10, 10)
        row.setSpacing(10)
        row.addWidget(self._sign, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(words, 1)
        row.addWidget(self.folder, 0, Qt.AlignmentFlag.AlignTop)
        self.hide()

    def show_snapshot(self, training: TrainingSnapshot) -> None:
        """Say how it stands; nothing while it goes on."""
        config = training.config
        is_shown = config is not None and not training.phase.is_busy
        self.setVisible(is_shown)
        if config is None or not is_shown:
            return
        text = self._text(training)
        self.title.setText(self._title(training, config.steps))
        self.text.setText(text)
        self.setAccessibleName(f"{self.title.text()} {text}")
        is_over = training.phase is Phase.FINISHED
        self.use.setText(self.tr("Use It Now") if is_over else self.tr("Use It as It Is"))
        self.use.setVisible(training.usable is not None)
        self.use.setToolTip(self.tr("Make pictures with what has been learned"))
        self.resume.setText(self.tr("Resume") if training.saved else self.tr("Try Again"))
        self.resume.setVisible(training.phase in (Phase.STOPPED, Phase.FAILED))
        for widget in (self.more, self.learn_on):
            widget.setVisible(is_over and training.saved > 0)
        if config != self._config:
            self._config = config
            self.more.setRange(1, MOST_STEPS - config.steps)
            self.more.setValue(max(config.steps // 2, 1))
        self._grave = training.phase is Phase.FAILED or (
            training.made is not None and not training.made.is_sound
        )
        mark(self, "grave", on=self._grave)
        self._draw_sign()

    def changeEvent(self, event: QEvent) -> None:
        """Draw the sign in the new colours."""
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            self._draw_sign()

    def _title(self, training: TrainingSnapshot, steps: int) -> str:
        match training.phase:
            case Phase.FINISHED if training.made is not None and not training.made.is_sound:
                return self.tr("Learned, and the check found something wrong")
            case Phase.FINISHED:
                return self.tr("Learned")
            case Phase.PAUSED:
                return self.tr("Paused after step {0} of {1}").format(training.step, steps)
            case Phase.STOPPED:
                return self.tr("Stopped after step {0} of {1}").format(training.step, steps)
            case _:
                if not training.step:
                    return self.tr("It did not get to its first step")
                return self.tr("Failed after step {0} of {1}").format(training.step, steps)

    def _text(self, training: TrainingSnapshot) -> str:
        usable, config = training.usable, training.config
        match training.phase:
            case Phase.FINISHED if training.made is not None:
                return f"{training.made.verdict}\n{training.made.path}"
            case Phase.FINISHED:
                return str(usable.path) if usable is not None else ""
            case Phase.PAUSED:
                return self.tr(
                    "The device is free: make pictures meanwhile. Resume goes on as if it had "
                    "never stopped, also after a restart."
                )
            case Phase.STOPPED:
                return self.tr("What it has learned is kept in {0}.").format(
                    config.out if config is not None else ""
                )
            case _:
                kept = self.tr("Nothing had been saved, so that it begins anew.")
                if training.saved:
                    kept = self.tr("What step {0} had learned is kept; it goes on from there.")
                return f"{training.message}\n{kept.format(training.saved)}".strip()

    def _draw_sign(self) -> None:
        role = QPalette.ColorRole.BrightText if self._grave else QPalette.ColorRole.Link
        name = "warning" if self._grave else "info"
        colour, ratio = self.palette().color(role), self.devicePixelRatioF()
        self._sign.setPixmap(tinted_pixmap(name, colour, 18, ratio))
