import os
import signal

import pytest

from core.errors import InvalidRequest, OutOfMemory
from core.events import Finished, ImageReady, Loading, PreviewSettings, Step
from core.request import TextToImage
from desktop.engine_process import ProcessEngine
from tests.desktop.fake_engine import FakeEngine

REQUEST = TextToImage(prompts=("a",), steps=3, width=64, height=64, seed=5, count=2)


class Telling(FakeEngine):
    """Says in which process it works, and refuses two prompts."""

    def _run(self, request, preview):
        if request.prompts == ("bad",):
            raise InvalidRequest("prompts", "is bad.")
        if request.prompts == ("bug",):
            raise ZeroDivisionError("by nothing")
        if request.prompts == ("closed?",):
            yield Loading(what=f"{self.closed}")
            return
        yield Loading(what=f"{os.getpid()}")
        yield from super()._run(request, preview)


@pytest.fixture(scope="module")
def engine():
    engine = ProcessEngine(Telling)
    yield engine
    engine.close()


def events_of(engine, prompt="a"):
    request = TextToImage(prompts=(prompt,), steps=3, width=64, height=64, seed=5, count=2)
    return list(engine.generate(request, preview=PreviewSettings()))


def test_events_are_the_engines_own_made_in_another_process(engine):
    here = list(FakeEngine().generate(REQUEST, preview=PreviewSettings()))
    first, *there = events_of(engine)
    assert there == here
    assert int(first.what) != os.getpid()
    for mine, other in zip(here, there, strict=True):
        if isinstance(mine, ImageReady):
            assert (mine.pixels == other.pixels).all()
        if isinstance(mine, Step):
            assert (mine.previews[0].pixels == other.previews[0].pixels).all()


def test_errors_keep_their_kind(engine):
    with pytest.raises(InvalidRequest) as caught:
        events_of(engine, "bad")
    assert caught.value.field == "prompts"
    with pytest.raises(ZeroDivisionError) as bug:
        events_of(engine, "bug")
    assert "Traceback" in str(bug.value.__cause__)
    assert isinstance(events_of(engine)[-1], Finished)


def test_closing_a_stream_closes_the_run(engine):
    # The count is of the runs closed before the one that tells it.
    before = int(events_of(engine, "closed?")[0].what)
    stream = engine.generate(REQUEST, preview=PreviewSettings())
    assert isinstance(next(stream), Loading)
    stream.close()
    stream.close()
    assert list(stream) == []
    assert int(events_of(engine, "closed?")[0].what) == before + 2


def test_warm_up(engine):
    assert list(engine.warm_up("starter")) == [Loading(what="the model starter")]


def test_child_that_the_system_ends_is_said_and_replaced(engine):
    child = int(events_of(engine)[0].what)
    stream = engine.generate(REQUEST, preview=PreviewSettings())
    next(stream)
    os.kill(child, signal.SIGTERM)
    with pytest.raises(OutOfMemory, match="ended by the system"):
        list(stream)
    assert int(events_of(engine)[0].what) != child
