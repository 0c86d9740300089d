from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

from core.errors import ModelInvalid, PartNotLoaded
from core.events import Loading
from core.models.load_exported import in_background


def result_of(work: Generator[Loading, None, Any]) -> tuple[list[Loading], Any]:
    events = []
    while True:
        try:
            events.append(next(work))
        except StopIteration as finished:
            return events, finished.value


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_what_takes_long_says_how_long_it_has_been() -> None:
    go_on = threading.Event()
    work = in_background(lambda: go_on.wait() and "made", "Unet", limit=60, period=0.01)
    events = [next(work) for _ in range(4)]
    assert [event.what for event in events] == ["Unet"] * 4
    assert events[0].seconds == 0
    assert 0 < events[1].seconds < events[2].seconds < events[3].seconds
    go_on.set()
    assert result_of(work)[1] == "made"


def test_what_takes_too_long_is_given_up() -> None:
    go_on = threading.Event()
    work = in_background(go_on.wait, "Unet (cpu-ane)", limit=0.03, period=0.01)
    with pytest.raises(PartNotLoaded, match=r"Unet \(cpu-ane\) was not ready after 0 minutes"):
        list(work)
    go_on.set()


def test_waiting_can_be_stopped_at_any_time() -> None:
    go_on = threading.Event()
    work = in_background(go_on.wait, "Unet", limit=60, period=0.01)
    next(work)
    work.close()
    go_on.set()


@pytest.mark.parametrize(
    "error", [Exception("no plan"), RuntimeError("no plan"), OSError("no plan")]
)
def test_what_fails_says_why_in_a_sentence(error: BaseException) -> None:
    with pytest.raises(PartNotLoaded, match=r"Unet cannot be loaded \(no plan\)"):
        list(in_background(raising(error), "Unet", limit=60, period=0.01))


def test_an_error_that_explains_itself_is_told_as_it_is() -> None:
    with pytest.raises(ModelInvalid, match=r"^it is damaged$"):
        list(in_background(raising(ModelInvalid("it is damaged")), "Unet", limit=60, period=0.01))
