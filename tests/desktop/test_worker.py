import threading
import time

import numpy as np
import pytest
from PySide6.QtCore import QCoreApplication

from core.events import ImageReady, Loading, PreviewSettings, Saved, Step, Trained
from core.images import writing
from core.request import TextToImage
from core.training.config import LoraTraining
from core.training.config_parts import DataSettings
from core.training.folder import Folder
from desktop.studio import Pictures, Teaching
from desktop.worker import Cancelled, Done, EngineWorker, Failed, Job
from tests.desktop.fake_engine import FakeEngine


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def worker(engine, qapp):
    worker = EngineWorker(lambda: engine)
    worker.start()
    yield worker
    engine.gate.set()
    worker.close()
    assert worker.wait(8000)


def job(tmp_path, number=1, **changes):
    given = {"prompts": ("a",), "steps": 5, "width": 64, "height": 64} | changes
    return Job(number, Pictures(TextToImage(**given), PreviewSettings()), tmp_path)


def collect(worker):
    events, ended = [], []
    worker.job_event.connect(lambda number, event: events.append((number, event)))
    worker.job_ended.connect(lambda number, outcome: ended.append((number, outcome)))
    return events, ended


def test_events_arrive_in_order_on_the_windows_thread(worker, qtbot, tmp_path):
    threads = set()
    worker.job_event.connect(lambda *_: threads.add(threading.get_ident()))
    events, ended = collect(worker)
    worker.submit(job(tmp_path, count=2))
    qtbot.waitUntil(lambda: ended == [(1, Done())])
    kinds = [type(event) for _, event in events]
    assert kinds[0] is Loading
    assert kinds.index(ImageReady) < kinds.index(Saved)
    assert kinds.count(Saved) == 2
    steps = [event.index for _, event in events if isinstance(event, Step)]
    assert steps == sorted(steps)
    assert steps[-1] == 5
    assert threads == {threading.get_ident()}


def test_steps_are_dropped_not_queued_while_the_window_is_busy(worker, qtbot, tmp_path):
    events, ended = collect(worker)
    worker.submit(job(tmp_path, steps=300))
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob("*.png")) and time.monotonic() < deadline:
        time.sleep(0.01)  # The window's thread does nothing else.
    qtbot.waitUntil(lambda: bool(ended))
    steps = [event for _, event in events if isinstance(event, Step)]
    assert [step.index for step in steps] == [300]
    assert len(steps[0].previews) == 1


def test_pictures_are_saved_though_the_window_never_looks(engine, qapp, tmp_path):
    worker = EngineWorker(lambda: engine)
    worker.start()
    worker.submit(job(tmp_path, count=3))
    deadline = time.monotonic() + 20
    while len(list(tmp_path.glob("*.png"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    worker.close()
    assert worker.wait(8000)
    assert len(list(tmp_path.glob("*.png"))) == 3


def test_cancelled_before_it_begins(worker, engine, qtbot, tmp_path):
    _events, ended = collect(worker)
    late = job(tmp_path)
    late.cancelled.set()
    worker.submit(late)
    qtbot.waitUntil(lambda: ended == [(1, Cancelled())])
    assert engine.requests == []


def test_cancel_is_of_one_job_alone(worker, engine, qtbot, tmp_path):
    engine.stop_at = 2
    engine.gate.clear()
    _events, ended = collect(worker)
    first, second = job(tmp_path, 1), job(tmp_path, 2)
    worker.submit(first)
    worker.submit(second)
    qtbot.waitUntil(lambda: engine.steps_done == 2)
    first.cancelled.set()
    engine.gate.set()
    qtbot.waitUntil(lambda: ended == [(1, Cancelled()), (2, Done())])
    assert engine.closed == 2


def test_engine_that_cannot_be_made_is_a_bug_and_tried_again(qtbot, tmp_path, caplog):
    engine = FakeEngine()
    makers = iter([ImportError("no torch")])

    def make():
        for error in makers:
            raise error
        return engine

    worker = EngineWorker(make)
    worker.start()
    _events, ended = collect(worker)
    worker.submit(job(tmp_path, 1))
    worker.submit(job(tmp_path, 2))
    qtbot.waitUntil(lambda: len(ended) == 2)
    assert ended == [(1, Failed("ImportError: no torch", is_bug=True)), (2, Done())]
    worker.close()
    assert worker.wait(8000)


def test_close_drops_what_waits(engine, qapp, tmp_path):
    engine.stop_at = 2
    engine.gate.clear()
    worker = EngineWorker(lambda: engine)
    worker.start()
    worker.submit(job(tmp_path, 1))
    worker.submit(job(tmp_path, 2))
    deadline = time.monotonic() + 10
    while engine.steps_done < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    worker.close()
    engine.gate.set()
    assert worker.wait(8000)
    QCoreApplication.processEvents()
    assert len(engine.requests) == 1
    assert engine.closed == 1
    assert list(tmp_path.glob("*.png")) == []


def test_a_picture_whose_steps_are_done_is_being_finished_until_it_is_on_disk(
    worker, engine, qtbot, tmp_path, monkeypatch
):
    seen = []
    save = writing.save_picture
    monkeypatch.setattr(
        writing, "save_picture", lambda *a: seen.append(worker.is_finishing) or save(*a)
    )
    engine.stop_at = 4
    engine.gate.clear()
    _events, ended = collect(worker)
    worker.submit(job(tmp_path, count=3))
    qtbot.waitUntil(lambda: engine.steps_done == 4)
    assert not worker.is_finishing
    engine.gate.set()
    qtbot.waitUntil(lambda: bool(ended))
    assert seen == [True] * 3
    assert not worker.is_finishing


def test_what_was_learned_is_being_finished_until_its_checkpoint_is_there(
    worker, engine, qtbot, tmp_path
):
    data = DataSettings(folder=str(tmp_path))
    config = LoraTraining(out=str(tmp_path / "out"), data=data, steps=50, save_every=0)
    task = Job(1, Teaching(config), tmp_path)
    engine.stop_at = 3
    engine.gate.clear()
    _events, ended = collect(worker)
    worker.submit(task)
    qtbot.waitUntil(lambda: engine.steps_done == 3)
    assert worker.is_finishing
    task.cancelled.set()
    engine.gate.set()
    qtbot.waitUntil(lambda: ended == [(1, Cancelled())])
    assert not worker.is_finishing
    assert Folder(tmp_path / "out").steps() == (4,)


def test_training_that_is_over_is_done_though_it_was_to_stop(worker, engine, qtbot, tmp_path):
    data = DataSettings(folder=str(tmp_path))
    config = LoraTraining(out=str(tmp_path / "out"), data=data, steps=2)
    task, train = Job(1, Teaching(config), tmp_path), engine.train

    def stopped(*given, **options):
        for event in train(*given, **options):
            if isinstance(event, Trained):
                task.cancelled.set()
            yield event

    engine.train = stopped
    _events, ended = collect(worker)
    worker.submit(task)
    qtbot.waitUntil(lambda: ended == [(1, Done())])


def test_saved_pixels_are_the_engines(worker, qtbot, tmp_path):
    events, ended = collect(worker)
    worker.submit(job(tmp_path, width=104, height=40))
    qtbot.waitUntil(lambda: bool(ended))
    saved = next(event for _, event in events if isinstance(event, Saved))
    from PIL import Image

    with Image.open(saved.path) as file:
        assert np.array_equal(np.asarray(file), saved.image.pixels)


@pytest.mark.parametrize("stops_at", [Step, ImageReady])
def test_a_batch_whose_steps_are_done_is_kept_whole(
    worker, engine, qtbot, tmp_path, monkeypatch, stops_at
):
    task, generate = job(tmp_path, count=4), engine.generate

    def stopped(*given, **options):
        for event in generate(*given, **options):
            if isinstance(event, stops_at) and getattr(event, "index", 5) == 5:
                task.cancelled.set()
            yield event

    monkeypatch.setattr(engine, "generate", stopped)
    events, ended = collect(worker)
    worker.submit(task)
    qtbot.waitUntil(lambda: ended == [(1, Cancelled())])
    assert len(list(tmp_path.glob("*.png"))) == 4
    assert [type(event) for _, event in events].count(Saved) == 4
    assert engine.closed == 1
