"""Work that waits until a person pauses."""

from __future__ import annotations

import threading

from desktop.later import Later


def test_of_what_waits_only_the_last_is_done_and_nothing_else_is_lost(qtbot):
    later, gate, done = Later(), threading.Event(), []
    later.now(lambda: gate.wait(10))
    later.now(lambda: done.append("note"))
    for number in range(3):
        later.after_a_pause(lambda number=number: done.append(number))
    # Long enough for the pause to be over while the first piece is still at work.
    qtbot.wait(600)
    assert done == []
    gate.set()
    qtbot.waitUntil(lambda: len(done) == 2)
    assert done == ["note", 2]
    later.again()
    qtbot.waitUntil(lambda: done == ["note", 2, 2])
    later.close()


def test_a_closed_one_does_nothing_more(qtbot):
    later, done = Later(), []
    later.after_a_pause(lambda: done.append(1))
    later.close()
    qtbot.wait(400)
    assert done == []
