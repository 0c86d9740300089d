import dataclasses
import multiprocessing
import os
import signal
import threading
import time

import pytest

from core.child_process import ChildEnded
from core.errors import DatasetInvalid, InvalidRequest, OutOfMemory
from core.events import (
    Finished,
    ImageReady,
    Loading,
    PreviewSettings,
    Step,
    Trained,
    TrainStep,
)
from core.request import DeviceName, TextToImage
from core.training.caption_request import CaptionRequest
from core.training.config import LoraTraining
from core.training.config_parts import DataSettings
from core.training.folder import Folder
from desktop.engine_process import ProcessEngine
from tests.desktop.fake_engine import FakeEngine

REQUEST = TextToImage(prompts=("a",), steps=3, width=64, height=64, seed=5, count=2)


class Telling(FakeEngine):
    """Says in which process and on which device it works, and refuses two prompts."""

    def __init__(self, device):
        super().__init__()
        self.device = device

    def train(self, config, *, resume=False):
        yield Loading(what=str(self.device))
        yield from super().train(config, resume=resume)

    def _run(self, request, preview):
        if request.prompts == ("bad",):
            raise InvalidRequest("prompts", "is bad.")
        if request.prompts == ("bug",):
            raise ZeroDivisionError("by nothing")
        if request.prompts == ("no pickle",):
            raise Particular("cuda", 11)
        if request.prompts == ("stuck",):
            time.sleep(60)
        if request.prompts == ("crash",):
            os._exit(3)
        if request.prompts == ("closed?",):
            yield Loading(what=f"{self.closed}")
            return
        yield Loading(what=f"{os.getpid()}")
        yield from super()._run(request, preview)


def make(device):
    return Telling(device)


class Particular(Exception):
    """As libraries make them: it cannot be made again from its message."""

    def __init__(self, device, code):
        super().__init__(f"{device} failed with {code}")


@pytest.fixture(scope="module")
def engine():
    engine = ProcessEngine(make)
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


def test_trainings_and_captions_are_the_childs_too(engine, tmp_path):
    out = tmp_path / "out"
    config = LoraTraining(out=str(out), data=DataSettings(folder=str(tmp_path)), steps=3)
    events = list(engine.train(config))
    assert [event.index for event in events if isinstance(event, TrainStep)] == [1, 2, 3]
    assert isinstance(events[-1], Trained)
    assert events[0] == Loading(what="auto")
    out = tmp_path / "other"
    config = dataclasses.replace(config, out=str(out))
    stream = engine.train(config, device=DeviceName.CPU)
    assert next(stream) == Loading(what="cpu")
    while not isinstance(next(stream), TrainStep):
        pass
    stream.close()
    assert Folder(out).steps() == (1,)
    going_on = list(engine.train(config, resume=True))
    assert [event.index for event in going_on if isinstance(event, TrainStep)] == [2, 3]
    with pytest.raises(DatasetInvalid):
        list(engine.caption(CaptionRequest(folder=tmp_path / "nowhere")))


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


def test_error_that_cannot_be_sent_arrives_as_words(engine):
    with pytest.raises(RuntimeError, match="Particular: cuda failed with 11"):
        events_of(engine, "no pickle")
    assert isinstance(events_of(engine)[-1], Finished)


def test_crash_is_not_called_want_of_memory_and_closing_its_run_begins_no_child(engine):
    request = TextToImage(prompts=("crash",), width=64, height=64)
    stream = engine.generate(request, preview=PreviewSettings())
    with pytest.raises(ChildEnded, match="exit code 3"):
        next(stream)
    children = multiprocessing.active_children()
    stream.close()
    assert multiprocessing.active_children() == children
    assert isinstance(events_of(engine)[-1], Finished)


def test_close_ends_a_child_at_work_at_once():
    engine = ProcessEngine(make)
    child = int(events_of(engine)[0].what)
    threading.Timer(0.5, engine.close).start()
    began = time.monotonic()
    with pytest.raises(ChildEnded):
        events_of(engine, "stuck")
    assert time.monotonic() - began < 20
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    with pytest.raises(ChildEnded, match="closed"):
        events_of(engine)
