"""The text of a prompt, in a field that grows with it."""

from __future__ import annotations

from PySide6.QtCore import QMimeData, Qt, Signal
from PySide6.QtGui import QResizeEvent, QTextCursor
from PySide6.QtWidgets import QPlainTextEdit

from desktop.drops import has_picture


class PromptBox(QPlainTextEdit):
    """A text field as tall as its text, between two bounds.

    Tab goes on to the next control. A picture pasted here is handed on, not lost.

    Signals:
        picture_pasted(QMimeData): A picture, or a picture file, was pasted.
    """

    picture_pasted = Signal(QMimeData)

    def __init__(self, name: str, hint: str, *, lines: tuple[int, int]) -> None:
        """Make the field.

        Args:
            name: What a screen reader calls it.
            hint: Shown while it is empty.
            lines: Least and largest height, in lines.
        """
        super().__init__()
        self._lines = lines
        self.setAccessibleName(name)
        self.setPlaceholderText(hint)
        self.setTabChangesFocus(True)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.document().setDocumentMargin(4)
        self.textChanged.connect(self._fit)
        self._fit()

    def set_text(self, text: str) -> None:
        """Put another text here, in a way that the person can undo."""
        if text != self.toPlainText():
            cursor = QTextCursor(self.document())
            cursor.select(QTextCursor.SelectionType.Document)
            cursor.insertText(text)

    def append_word(self, word: str) -> None:
        """Put a word at the end unless it stands here already, in a way that can be undone."""
        text = self.toPlainText()
        if word in text:
            return
        cursor = QTextCursor(self.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        # In a block of its own, so that undoing it leaves what was typed before.
        cursor.beginEditBlock()
        cursor.insertText(word if not text or text[-1].isspace() else f" {word}")
        cursor.endEditBlock()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Break the lines anew and fit the height to them."""
        super().resizeEvent(event)
        self._fit()

    def canInsertFromMimeData(self, source: QMimeData) -> bool:
        """Take text as text; pictures are taken by paste alone, a drop goes to the window."""
        return source.hasText() and not source.hasUrls()

    def insertFromMimeData(self, source: QMimeData) -> None:
        """Paste text here and hand pictures on."""
        if has_picture(source):
            self.picture_pasted.emit(source)
        else:
            super().insertFromMimeData(source)

    def _fit(self) -> None:
        least, most = self._lines
        lines = min(max(round(self.document().size().height()), least), most)
        frame = self.contentsMargins().top() + self.contentsMargins().bottom()
        margin = 2 * self.document().documentMargin()
        self.setFixedHeight(round(lines * self.fontMetrics().lineSpacing() + margin) + frame + 10)
