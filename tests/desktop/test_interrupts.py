import signal

import pytest

from desktop.interrupts import Interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_reaches_a_window_that_waits(qtbot, number):
    before = signal.getsignal(number)
    calls = []
    interrupts = Interrupts(lambda: calls.append(number))
    signal.raise_signal(number)
    qtbot.waitUntil(lambda: calls == [number])
    interrupts.close()
    assert signal.getsignal(number) is before
