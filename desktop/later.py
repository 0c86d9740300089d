"""Work that waits until a person pauses, and is then done beside the window's thread."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject, QThreadPool, QTimer, Slot

_PAUSE_MS = 250
"""What is asked for again and again is done once it has been left alone for so long."""


class Later(QObject):
    """Does one piece of work after the other; of what waits for a pause only the last is done."""

    def __init__(self, parent: QObject | None = None) -> None:
        """Start without work."""
        super().__init__(parent)
        self._work: Callable[[], None] = lambda: None
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(1)
        self._timer = QTimer(self, singleShot=True, interval=_PAUSE_MS)
        self._timer.timeout.connect(self._begin)

    def after_a_pause(self, work: Callable[[], None]) -> None:
        """Do this instead of what still waits for a pause, once nobody has asked for a while."""
        self._work = work
        self._timer.start()

    def again(self) -> None:
        """Do what was asked for last once more, after a pause."""
        self._timer.start()

    def now(self, work: Callable[[], None]) -> None:
        """Do this next."""
        self._pool.start(work)

    def close(self) -> None:
        """Do nothing more, and wait for what is being done."""
        self._timer.stop()
        self._pool.clear()
        self._pool.waitForDone()

    @Slot()
    def _begin(self) -> None:
        # Behind what is to be done now, none of which may be lost.
        self._pool.start(self._work)
