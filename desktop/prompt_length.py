"""How long a prompt is for the model that reads it, in words for the window."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from desktop.later import Later

if TYPE_CHECKING:
    from core.sampling.token_count import TokenCounter


class PromptLength(QObject):
    """Counts beside the window's thread, as a model's vocabulary has to be read for it.

    Signals:
        known(str): How long the prompt asked about last is, or an empty text.
    """

    known = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without a prompt."""
        super().__init__(parent)
        self._asked = (Path(), "")
        self._later = Later(self)

    def ask(self, model: Path, prompt: str) -> None:
        """Tell soon how long a prompt is.

        Args:
            model: The model's folder or file.
            prompt: The prompt.
        """
        if (model, prompt) != self._asked:
            self._asked = (model, prompt)
            self._later.after_a_pause(lambda: self.known.emit(self._text(model, prompt)))

    def close(self) -> None:
        """Count nothing more."""
        self._later.close()

    def _text(self, model: Path, prompt: str) -> str:
        try:
            length = _counter(model).count(prompt)
        except (OSError, ValueError):
            return ""  # What is wrong with the model is said when it is used.
        if not length.tokens:
            return ""
        tokens = self.tr("{0} tokens").format(length.tokens)
        if length.tokens == 1:
            tokens = self.tr("1 token")
        if length.blocks == 1:
            return tokens
        return self.tr("{0}, {1} blocks").format(tokens, length.blocks)


@lru_cache(maxsize=2)
def _counter(model: Path) -> TokenCounter:
    # Imported here, beside the window's thread, which would stand still meanwhile.
    from core.sampling.token_count import TokenCounter

    return TokenCounter(model)
