"""What is known of one model, and what can be done with it."""

from __future__ import annotations

import re

from PySide6.QtCore import QEvent, Qt, Signal, SignalInstance
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import (
    QAbstractButton,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from core.models.listing import Listed
from core.models.verdict import Kind
from desktop.convert_words import unconvertible
from desktop.icons import tinted_pixmap
from desktop.model_facts import (
    Facts,
    facts_of,
    facts_of_offer,
    share,
    title_of,
    transfer_text,
    trouble,
    unusable,
)
from desktop.shelf_snapshot import Offer, TransferState
from desktop.theme import mark
from desktop.widgets.availability import set_unavailable
from desktop.widgets.icon_button import IconButton
from desktop.widgets.status_line import ShareBar

WIDEST = 760
MOST_FACTS = 11
NAMES_WIDTH = 96
LONGEST_WORD = 40


class ModelDetails(QScrollArea):
    """A page about one model, with its buttons.

    Signals:
        use_requested(Listed): It is to make the next pictures, or to be put into the prompt.
        show_requested(Listed): Its folder is wanted.
        convert_requested(Listed): It is to be written for Apple's processors.
        verify_requested(Listed): Its bytes are to be checked.
        find_requested(Listed): It is missing and to be looked for.
        remove_requested(Listed): It is to go.
        download_requested(Offer): It is wanted.
        stop_requested(Offer): Its download is to stop.
        forget_requested(Offer): What has arrived of it is to go.
    """

    use_requested = Signal(object)
    show_requested = Signal(object)
    convert_requested = Signal(object)
    verify_requested = Signal(object)
    find_requested = Signal(object)
    remove_requested = Signal(object)
    download_requested = Signal(object)
    stop_requested = Signal(object)
    forget_requested = Signal(object)

    def __init__(self) -> None:
        """Start without a model."""
        super().__init__()
        self._row: Listed | Offer | None = None
        self.title = QLabel()
        mark(self.title, "big")
        self.title.setWordWrap(True)
        self.about = QLabel()
        mark(self.about, "quiet")
        self.about.setWordWrap(True)
        self._sign = QLabel()
        self.trouble = QLabel()
        self.trouble.setWordWrap(True)
        self.use = self._button(self.tr("Use"), self.use_requested)
        mark(self.use, "primary")
        self.show_folder = IconButton("folder", self.tr("Show in Folder"))
        mark(self.show_folder, "framed")
        self.show_folder.setFixedSize(36, 36)
        self.show_folder.clicked.connect(lambda: self.show_requested.emit(self._row))
        self.convert = self._button(self.tr("Convert…"), self.convert_requested)
        self.convert.setAccessibleName(self.tr("Convert for the Neural Engine…"))
        self.convert.setToolTip(
            self.tr("Write it for the Neural Engine or the GPU of Macs, for this app and others")
        )
        self._cannot_convert = ""
        self.verify = self._button(self.tr("Verify"), self.verify_requested)
        self.verify.setToolTip(self.tr("Read every byte again and hold it against the hash kept"))
        self.look_for = self._button(self.tr("Look for It…"), self.find_requested)
        self.look_for.setToolTip(
            self.tr("Choose a folder to look through; it is known by its hash")
        )
        self.remove = self._button(self.tr("Remove…"), self.remove_requested)
        self.download = self._button(self.tr("Download"), self.download_requested)
        mark(self.download, "primary")
        self.stop = self._button(self.tr("Cancel"), self.stop_requested)
        self.stop.setToolTip(self.tr("Stop; what has arrived is kept"))
        self.forget = self._button(self.tr("Discard"), self.forget_requested)
        self.forget.setToolTip(self.tr("Delete what has arrived"))
        self.bar = ShareBar()
        self.progress = QLabel()
        mark(self.progress, "quiet")
        self.progress.setWordWrap(True)
        self._facts = [(QLabel(), QLabel()) for _ in range(MOST_FACTS)]
        self._lay_out()
        self.show_row(None)

    @property
    def row(self) -> Listed | Offer | None:
        """What is shown."""
        return self._row

    def buttons(self) -> tuple[QAbstractButton, ...]:
        """Give all buttons, in the order in which they stand."""
        return (
            *(self.use, self.download, self.stop, self.look_for),
            *(self.convert, self.verify, self.forget, self.remove, self.show_folder),
        )

    def set_no_converter(self, reason: str) -> None:
        """Know why no model can be converted on this system; empty if they can."""
        self._cannot_convert = reason
        self.show_row(self._row)

    def show_row(self, row: Listed | Offer | None) -> None:
        """Show a model, or nothing."""
        is_other = type(row) is not type(self._row) or (
            row is not None and self._row is not None and title_of(row) != title_of(self._row)
        )
        self._row = row
        self._inside.setVisible(row is not None)
        if is_other:
            self.verticalScrollBar().setValue(0)
        focused = next((b for b in self.buttons() if b.hasFocus()), None)
        if isinstance(row, Listed):
            self._show_listed(row)
        elif isinstance(row, Offer):
            self._show_offer(row)
        if focused is not None and not focused.isVisibleTo(self):
            # The keyboard stays on this page when a button gives way to another.
            next(b for b in self.buttons() if b.isVisibleTo(self)).setFocus()

    def fill(self, menu: QMenu) -> None:
        """Add to a menu what can be done now."""
        for button in self.buttons():
            if button.isVisibleTo(self):
                action = menu.addAction(button.accessibleName() or button.text(), button.click)
                action.setEnabled(button.isEnabled())

    def changeEvent(self, event: QEvent) -> None:
        """Draw the sign in the new colours."""
        super().changeEvent(event)
        if event.type() is QEvent.Type.PaletteChange:
            self._draw_sign()

    def _show_listed(self, row: Listed) -> None:
        self.title.setText(title_of(row))
        about = self.tr("The small model that ships with Stepwise.") if row.shipped else row.title
        self.about.setText(about)
        is_word = row.kind in (Kind.LORA, Kind.EMBEDDING)
        is_model = row.kind is Kind.MODEL
        self.use.setText(self.tr("Insert") if is_word else self.tr("Use"))
        tip = self.tr("Make the next pictures with it, at its good settings")
        if is_word:
            tip = self.tr("Put it into the prompt")
        self.use.setToolTip(tip)
        self.use.setProperty("ownToolTip", tip)
        set_unavailable(self.use, unusable(row))
        shown: set[QAbstractButton] = {self.show_folder, self.verify, self.remove}
        if is_word or is_model:
            shown.add(self.use)
        if is_model:
            shown.add(self.convert)
            set_unavailable(self.convert, unconvertible(row, self._cannot_convert))
        if row.missing and not row.shipped:
            shown.add(self.look_for)
            shown -= {self.use, self.convert, self.verify, self.show_folder}
        if row.shipped:
            shown -= {self.verify, self.remove}
        self._show_buttons(shown)
        self._show_progress("", None)
        self._show_trouble(trouble(row))
        self._show_facts(facts_of(row))

    def _show_offer(self, offer: Offer) -> None:
        self.title.setText(offer.model.title)
        self.about.setText(offer.model.what_for)
        transfer = offer.transfer
        if transfer is None:
            begun = offer.arrived > 0
            self.download.setText(self.tr("Resume") if begun else self.tr("Download"))
            self._show_buttons({self.download, self.forget} if begun else {self.download})
        else:
            self.stop.setEnabled(transfer.state is not TransferState.STOPPING)
            self._show_buttons({self.stop})
        done = None if transfer is None else share(transfer.progress)
        self._show_progress(transfer_text(offer), done)
        self._show_trouble(trouble(offer))
        self._show_facts(facts_of_offer(offer.model))

    def _show_buttons(self, shown: set[QAbstractButton]) -> None:
        for button in self.buttons():
            button.setVisible(button in shown)

    def _show_progress(self, text: str, done: float | None) -> None:
        self.progress.setText(text)
        # Without a value the bar is but an empty line, so that nothing moves when it begins.
        self.bar.show_share(done or 0)
        is_offer = isinstance(self._row, Offer)
        self.bar.setVisible(is_offer)
        self.progress.setVisible(is_offer)

    def _show_trouble(self, text: str) -> None:
        self.trouble.setText(text)
        self._trouble_box.setVisible(bool(text))
        mark(self._trouble_box, "grave", on=self._is_gone())
        self._draw_sign()

    def _show_facts(self, facts: Facts) -> None:
        assert len(facts) <= MOST_FACTS
        for number, (name, value) in enumerate(self._facts):
            there = number < len(facts)
            name.setVisible(there)
            value.setVisible(there)
            if there:
                name.setText(facts[number][0])
                _show_value(value, facts[number][1])

    def _button(self, text: str, signal: SignalInstance) -> QPushButton:
        button = QPushButton(text)
        button.clicked.connect(lambda: signal.emit(self._row))
        return button

    def _lay_out(self) -> None:
        box = QHBoxLayout()
        box.setContentsMargins(12, 9, 12, 9)
        box.setSpacing(10)
        box.addWidget(self._sign, 0, Qt.AlignmentFlag.AlignTop)
        box.addWidget(self.trouble, 1)
        self._trouble_box = QFrame()
        self._trouble_box.setObjectName("trouble")
        self._trouble_box.setLayout(box)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        for button in self.buttons():
            buttons.addWidget(button)
        buttons.addStretch(1)
        self._inside = QWidget()
        self._inside.setMaximumWidth(WIDEST)
        column = QVBoxLayout(self._inside)
        column.setContentsMargins(28, 28, 28, 24)
        column.setSpacing(6)
        column.addWidget(self.title)
        column.addWidget(self.about)
        column.addSpacing(10)
        column.addWidget(self._trouble_box)
        column.addSpacing(8)
        column.addLayout(buttons)
        column.addSpacing(6)
        column.addWidget(self.bar)
        column.addWidget(self.progress)
        column.addSpacing(8)
        column.addLayout(self._facts_grid())
        column.addStretch(1)
        content = QWidget()
        content.setObjectName("details")
        row = QHBoxLayout(content)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._inside, 1)
        row.addStretch(0)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setWidget(content)

    def _facts_grid(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(20)
        grid.setVerticalSpacing(8)
        grid.setColumnMinimumWidth(0, NAMES_WIDTH)
        grid.setColumnStretch(1, 1)
        for number, (name, value) in enumerate(self._facts):
            mark(name, "quiet")
            value.setWordWrap(True)
            value.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            grid.addWidget(name, number, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(value, number, 1)
        return grid

    def _is_gone(self) -> bool:
        return isinstance(self._row, Listed) and self._row.missing

    def _draw_sign(self) -> None:
        is_gone = self._is_gone()
        role = QPalette.ColorRole.BrightText if is_gone else QPalette.ColorRole.Link
        ratio = self.devicePixelRatioF()
        name = "warning" if is_gone else "info"
        self._sign.setPixmap(tinted_pixmap(name, self.palette().color(role), 18, ratio))


def _show_value(label: QLabel, value: str) -> None:
    """Show a value; a path may be broken behind its slashes, and is then not to be copied."""
    is_path = len(value) > LONGEST_WORD and " " not in value
    label.setText(re.sub(r"([/\\])", "\\1\u200b", value) if is_path else value)
    label.setTextInteractionFlags(
        Qt.TextInteractionFlag.NoTextInteraction
        if is_path
        else Qt.TextInteractionFlag.TextSelectableByMouse
    )
