import os
import time

import pytest

from core.child_process import ChildEnded, ChildProcess
from core.errors import OutOfMemory

GONE = OutOfMemory("It was ended by the system.")


class Slow:
    """Counts, half a second a number."""

    def count(self):
        try:
            yield os.getpid()
            for number in range(3):
                time.sleep(0.5)
                yield number
        finally:
            self.closed = True


def count(slow):
    return slow.count()


def was_closed(slow):
    yield slow.closed


@pytest.fixture
def child():
    child = ChildProcess(Slow, killed=GONE)
    yield child
    child.close()


def test_waiting_for_an_event_goes_on_in_pieces(child):
    events = child.stream(count)
    assert next(events) != os.getpid()
    waited = 0
    while not events.is_ready(0.05):
        waited += 1
    assert waited > 2
    assert events.is_ready(0)
    assert list(events) == [0, 1, 2]


def test_run_is_closed_after_the_event_that_was_waited_for(child):
    events = child.stream(count)
    next(events)
    assert not events.is_ready(0)
    events.close()
    assert list(child.stream(was_closed)) == [True]


def test_child_that_ends_while_it_is_waited_for_is_told_by_the_next_event(child):
    events = child.stream(count)
    pid = next(events)
    assert not events.is_ready(0)
    os.kill(pid, 9)
    assert events.is_ready(5)
    with pytest.raises(OutOfMemory, match="ended by the system"):
        next(events)
    events.close()
    assert list(events) == []


def test_closed_child_stays_closed(child):
    events = child.stream(count)
    next(events)
    child.close()
    with pytest.raises(ChildEnded):
        next(events)
