"""Ctrl-C in the terminal and the system's request to end, turned into calls."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

from PySide6.QtCore import QObject, QSocketNotifier, Slot


class Interrupts(QObject):
    """Calls a function in the window's thread when a signal asks the process to end.

    Python runs its handlers between two lines of Python, and a window that waits for events runs
    none; the interpreter writes into a socket that Qt listens to.
    """

    def __init__(self, act: Callable[[], object], parent: QObject | None = None) -> None:
        """Call ``act`` on SIGINT and SIGTERM from now on; to be made in the main thread."""
        super().__init__(parent)
        self._act = act
        self._read, self._write = socket.socketpair()
        self._read.settimeout(0)
        self._write.settimeout(0)
        self._notifier = QSocketNotifier(self._read.fileno(), QSocketNotifier.Type.Read, self)
        self._notifier.activated.connect(self._on_signal)
        self._wakeup_before = signal.set_wakeup_fd(self._write.fileno(), warn_on_full_buffer=False)
        self._handlers_before = {
            number: signal.signal(number, lambda *_: None)
            for number in (signal.SIGINT, signal.SIGTERM)
        }

    def close(self) -> None:
        """Leave the signals to what handled them before."""
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        self._notifier.setEnabled(False)
        self._read.close()
        self._write.close()

    @Slot()
    def _on_signal(self) -> None:
        self._read.recv(64)
        self._act()
