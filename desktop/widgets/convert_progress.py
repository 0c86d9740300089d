"""A conversion as it goes on, part by part, and what became of it."""

from __future__ import annotations

import sys

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from core.models.copying import format_size
from core.models.listing import Listed
from desktop.conversion import ConversionSnapshot, Phase
from desktop.convert_words import doing_text, part_name, stage_name, written_text
from desktop.icons import tinted_pixmap
from desktop.model_facts import unusable
from desktop.progress import duration
from desktop.theme import mark
from desktop.widgets.availability import set_unavailable
from desktop.widgets.elided_label import ElidedLabel
from desktop.widgets.icon_button import IconButton
from desktop.widgets.status_line import ShareBar

_SIGN = 16
_AT_WORK = "chevron-right"


class ConvertProgress(QWidget):
    """Follows a conversion.

    Signals:
        stop_requested(): It is to end; finished parts stay.
        resume_requested(): It is to go on.
        settings_requested(): The person wants to see the choices again.
        use_requested(Listed): What came out is to make pictures.
        show_requested(): Its folder is wanted.
        close_requested(): The person has seen enough.
    """

    stop_requested = Signal()
    resume_requested = Signal()
    settings_requested = Signal()
    use_requested = Signal(object)
    show_requested = Signal()
    close_requested = Signal()

    def __init__(self) -> None:
        """Start without a conversion."""
        super().__init__()
        self._row: Listed | None = None
        self._snapshot = ConversionSnapshot()
        self.bar = ShareBar()
        self.doing = QLabel()
        self.doing.setWordWrap(True)
        self.outcome = QFrame()
        self.outcome.setObjectName("trouble")
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._sign = QLabel()
        self.parts = PartTable()
        self.needs = QLabel()
        self.notices = QLabel()
        self.place = ElidedLabel(Qt.TextElideMode.ElideMiddle)
        for label in (self.needs, self.notices):
            label.setWordWrap(True)
        for label in (self.needs, self.place):
            mark(label, "quiet")
        self.use = QPushButton(self.tr("Use It Now"))
        self.use.setToolTip(self.tr("Make the next pictures with it"))
        mark(self.use, "primary")
        self.resume = QPushButton()
        mark(self.resume, "primary")
        self.settings = QPushButton(self.tr("Change Settings"))
        self.stop = QPushButton(self.tr("Cancel"))
        self.stop.setToolTip(self.tr("Finished parts are kept, and it goes on from there later"))
        self.hide_button = QPushButton()
        self.folder = IconButton("folder", self.tr("Show in Folder"))
        self._lay_out()
        self.use.clicked.connect(lambda: self.use_requested.emit(self._row))
        self.resume.clicked.connect(self.resume_requested)
        self.settings.clicked.connect(self.settings_requested)
        self.stop.clicked.connect(self.stop_requested)
        self.hide_button.clicked.connect(self.close_requested)
        self.folder.clicked.connect(self.show_requested)

    def show_snapshot(self, now: ConversionSnapshot, row: Listed | None) -> None:
        """Show a conversion as it stands.

        Args:
            now: The conversion.
            row: What came out, once the library has it.
        """
        self._snapshot, self._row = now, row
        is_busy = now.phase.is_busy
        self.doing.setText(doing_text(now))
        self.doing.setVisible(is_busy)
        self.bar.show_share(now.share)
        self.bar.setVisible(is_busy)
        self.parts.show_snapshot(now)
        self.needs.setText(self._needs(now))
        self.needs.setVisible(is_busy and now.needs is not None)
        self.notices.setText("\n".join(now.notices))
        self.notices.setVisible(bool(now.notices))
        self.place.set_text(now.request.out if now.request is not None else "")
        text = self._outcome(now)
        self.words.setText(text)
        self.outcome.setVisible(bool(text))
        mark(self.outcome, "grave", on=now.phase is Phase.FAILED)
        self._draw_sign()
        self._show_buttons(now.phase)

    def changeEvent(self, event: QEvent) -> None:
        """Draw the sign in the new colours."""
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            self._draw_sign()

    def _show_buttons(self, phase: Phase) -> None:
        is_over = phase is Phase.FINISHED
        is_resumable = phase in (Phase.STOPPED, Phase.FAILED)
        focused = self.focusWidget()
        shown = {
            self.use: is_over,
            self.resume: is_resumable,
            self.settings: is_resumable,
            self.stop: phase.is_busy,
            self.hide_button: True,
        }
        self.resume.setText(self.tr("Go On") if phase is Phase.STOPPED else self.tr("Try Again"))
        self.hide_button.setText(self.tr("Hide") if phase.is_busy else self.tr("Close"))
        self.hide_button.setToolTip(
            self.tr("It goes on; the Models page shows how far it is") if phase.is_busy else ""
        )
        self.stop.setEnabled(phase is Phase.RUNNING)
        reason = self.tr("It is being added to the library.") if self._row is None else ""
        set_unavailable(self.use, unusable(self._row) if self._row is not None else reason)
        for button, is_shown in shown.items():
            button.setVisible(is_shown)
        if focused is not None and not focused.isVisibleTo(self):
            # The keyboard stays here when a button gives way to another.
            next(one for one, is_shown in shown.items() if is_shown and one.isEnabled()).setFocus()

    def _outcome(self, now: ConversionSnapshot) -> str:
        done = len(now.written)
        kept = self.tr("Nothing is finished yet.")
        if done:
            kept = self.tr("{0} of {1} parts are finished and kept.").format(
                done, done + len(now.waiting) + (now.at_work is not None)
            )
        match now.phase:
            case Phase.STOPPED:
                return self.tr(
                    "Stopped. {0} It goes on from there, now or when you convert this model again."
                ).format(kept)
            case Phase.FAILED:
                message = now.message
                if now.is_bug:
                    message = self.tr(
                        "Stepwise met a fault of its own ({0}). The log tells more."
                    ).format(message)
                return f"{message}\n{kept}" if done else message
            case Phase.FINISHED if now.exported is not None:
                return self._made(now)
            case _:
                return ""

    def _needs(self, now: ConversionSnapshot) -> str:
        needs = now.needs
        if needs is None:
            return ""
        text = self.tr("It takes about {0} of disk space and {1} of memory; {2} and {3} are free.")
        return text.format(
            format_size(needs.disk),
            format_size(needs.memory),
            format_size(needs.free_disk),
            format_size(needs.free_memory),
        )

    def _made(self, now: ConversionSnapshot) -> str:
        assert now.exported is not None
        size = format_size(sum(part.record.bytes for part in now.written))
        text = self.tr("Done in {0}: {1}, for macOS {2} and later.").format(
            duration(now.exported.seconds),
            size,
            now.exported.manifest.target.removeprefix("macOS"),
        )
        if sys.platform != "darwin":
            text += " " + self.tr("Running it needs a Mac: copy the folder there and add it.")
        return text

    def _lay_out(self) -> None:
        box = QHBoxLayout(self.outcome)
        box.setContentsMargins(12, 9, 12, 9)
        box.setSpacing(10)
        box.addWidget(self._sign, 0, Qt.AlignmentFlag.AlignTop)
        box.addWidget(self.words, 1)
        inside = QWidget()
        inside.setObjectName("panel")
        column = QVBoxLayout(inside)
        column.setContentsMargins(20, 12, 20, 12)
        column.setSpacing(10)
        column.addWidget(self.outcome)
        column.addWidget(self.bar)
        column.addWidget(self.doing)
        column.addWidget(self.parts)
        column.addWidget(self.notices)
        column.addWidget(self.needs)
        column.addStretch(1)
        scroll = QScrollArea()
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setWidget(inside)
        place = QHBoxLayout()
        place.setContentsMargins(20, 0, 14, 0)
        place.addWidget(self.place, 1)
        place.addWidget(self.folder)
        footer = QWidget()
        footer.setObjectName("convertFooter")
        buttons = QHBoxLayout(footer)
        buttons.setContentsMargins(20, 10, 20, 14)
        buttons.setSpacing(8)
        for button in (self.use, self.resume, self.settings, self.stop):
            buttons.addWidget(button)
        buttons.addStretch(1)
        buttons.addWidget(self.hide_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(scroll, 1)
        layout.addLayout(place)
        layout.addWidget(footer)

    def _draw_sign(self) -> None:
        is_grave = self._snapshot.phase is Phase.FAILED
        role = QPalette.ColorRole.BrightText if is_grave else QPalette.ColorRole.Link
        name = "warning" if is_grave else "info"
        colour, ratio = self.palette().color(role), self.devicePixelRatioF()
        self._sign.setPixmap(tinted_pixmap(name, colour, 18, ratio))


class PartTable(QWidget):
    """The parts of a conversion: those that are done, the one at work, and those that wait."""

    def __init__(self) -> None:
        """Start without parts."""
        super().__init__()
        self._rows: list[tuple[QLabel, QLabel, ElidedLabel]] = []
        self._signs: list[str] = []
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 4, 0, 4)
        self._grid.setHorizontalSpacing(10)
        self._grid.setVerticalSpacing(8)
        self._grid.setColumnMinimumWidth(0, _SIGN)
        self._grid.setColumnStretch(2, 1)
        self.setToolTip(
            self.tr(
                "How close a part comes to torch in half precision: from about 60 dB on, pictures "
                "can hardly be told apart"
            )
        )

    @property
    def texts(self) -> tuple[tuple[str, str], ...]:
        """The parts and how they stand."""
        shown = self._rows[: len(self._signs)]
        return tuple((name.text(), state.accessibleName()) for _, name, state in shown)

    def show_snapshot(self, now: ConversionSnapshot) -> None:
        """Show the parts as they stand."""
        lines = [(part.record.name, written_text(part), "check") for part in now.written]
        if (step := now.at_work) is not None:
            state = stage_name(step.stage) if now.phase.is_busy else self.tr("not finished")
            lines.append((step.part, state, _AT_WORK))
        lines += [(name, self.tr("waits"), "") for name in now.waiting]
        while len(self._rows) < len(lines):
            self._add()
        self._signs = [sign for _, _, sign in lines]
        for number, row in enumerate(self._rows):
            for widget in row:
                widget.setVisible(number < len(lines))
            if number < len(lines):
                name, state, sign = lines[number]
                row[1].setText(part_name(name))
                mark(row[1], "quiet", on=not sign)
                row[2].set_text(state)
                mark(row[2], "quiet", on=sign != _AT_WORK)
        self._draw_signs()

    def changeEvent(self, event: QEvent) -> None:
        """Draw the signs in the new colours."""
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            self._draw_signs()

    def _add(self) -> None:
        sign, name, state = QLabel(), QLabel(), ElidedLabel()
        sign.setFixedSize(_SIGN, _SIGN)
        state.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        at = len(self._rows)
        for column, widget in enumerate((sign, name, state)):
            self._grid.addWidget(widget, at, column)
        self._rows.append((sign, name, state))

    def _draw_signs(self) -> None:
        colour, ratio = self.palette().color(QPalette.ColorRole.Link), self.devicePixelRatioF()
        for sign, (label, _, _) in zip(self._signs, self._rows, strict=False):
            if sign:
                label.setPixmap(tinted_pixmap(sign, colour, _SIGN, ratio))
            else:
                label.clear()
