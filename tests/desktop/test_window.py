import dataclasses
import json
import logging
import threading

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import (
    QColor,
    QDragEnterEvent,
    QDropEvent,
    QGuiApplication,
    QImage,
    QImageReader,
    QTextCursor,
    QWheelEvent,
)
from PySide6.QtWidgets import QApplication, QFileDialog, QLineEdit, QMessageBox, QWidget

from core.errors import OutOfMemory
from core.events import ImageReady, PreviewSettings
from core.images.metadata import read_metadata
from core.images.writing import save_picture
from core.request import (
    ImageToImage,
    LoraUse,
    Precision,
    PreviewDecoder,
    SchedulerName,
    SecondPass,
    TextToImage,
    Upscale,
)
from desktop.colours import DARK
from desktop.jobs import JobState
from desktop.recall import Recalled
from desktop.settings import CreateSettings
from desktop.studio import Pictures
from desktop.theme import ThemeMode
from desktop.widgets.empty_state import EXAMPLES
from desktop.widgets.icon_button import IconButton
from desktop.widgets.shell import Page, Shell
from tests.desktop.fake_engine import disc, picture_file


def test_generate_by_keys_saves_the_picture_and_shows_it(session, qtbot):
    qtbot.keyClicks(session.panel.prompt, "a blue disc")
    session.control(Qt.Key.Key_Return)
    session.wait_idle()
    (file,) = session.files()
    recorded = read_metadata(file)
    assert recorded.request == session.engine.requests[0]
    assert recorded.request.prompts == ("a blue disc",)
    assert session.states() == [JobState.FINISHED]
    assert session.results.strip.current() == file
    assert session.results.picture.path == file
    (tile,) = session.results.stage.canvas.tiles
    assert tile.path == file
    assert "a blue disc" in session.results.run_bar.text.accessibleName()


def test_engine_runs_in_a_thread_of_its_own(session):
    session.generate()
    session.wait_idle()
    assert session.engine.thread not in (None, threading.get_ident())


def test_first_window_stands_at_the_models_defaults(session):
    values = session.panel.values()
    assert (values.width, values.height, values.steps) == (128, 128, 6)
    assert values.guidance_scale == 3.0


def test_the_prompts_length_is_told(session):
    session.set(prompt="a red disc")
    session.wait(lambda: session.panel.length.text() == "3 tokens")
    session.set(prompt="disc " * 96)
    session.wait(lambda: session.panel.length.text() == "96 tokens, 2 blocks")
    session.set(prompt="(disc:1.3)")
    session.wait(lambda: session.panel.length.text() == "1 token")
    session.set(prompt="")
    session.wait(lambda: not session.panel.length.text())


def test_canvas_shows_the_run_while_it_goes_on(session):
    session.hold_at(3)
    session.generate(count=4, steps=6)
    session.wait_step(3)
    tiles = session.results.stage.canvas.tiles
    assert len(tiles) == 4
    assert all(tile.image is not None and tile.path is None for tile in tiles)
    rects = session.results.stage.canvas.rects()
    assert len({(rect.x(), rect.y()) for rect in rects}) == 4
    text = session.results.run_bar.text.accessibleName()
    assert "Step 3 of 6" in text
    assert "it/s" in text
    assert "left" in text
    assert session.results.run_bar.bar.value() == 500
    needed = "Needs about 42.0 MB of memory; 21.6 GB are free"
    assert session.results.run_bar.toolTip() == needed


def test_previews_off_show_nothing_before_the_end(session):
    session.hold_at(3)
    session.generate(preview=PreviewDecoder.OFF, steps=6)
    session.wait_step(3)
    assert [tile.image for tile in session.results.stage.canvas.tiles] == [None]


def test_escape_stops_between_two_steps(session):
    session.hold_at(3)
    session.generate(steps=500)
    session.wait_step(3)
    session.press(Qt.Key.Key_Escape)
    session.engine.gate.set()
    session.wait_idle()
    assert session.states() == [JobState.CANCELLED]
    assert session.files() == []
    assert session.engine.closed == 1
    assert not session.results.banner.isVisible()


def test_stopped_run_keeps_its_finished_pictures(session):
    session.engine.batched = False
    session.engine.stop_at = 8
    session.engine.gate.clear()
    session.generate(count=3, steps=6)
    session.wait(lambda: len(session.files()) == 1)
    session.wait_step(2)
    session.panel.stop.click()
    session.engine.gate.set()
    session.wait_idle()
    assert len(session.files()) == 1
    assert session.jobs.snapshot.jobs[0].saved == tuple(session.files())


def test_queue_takes_more_while_running(session):
    session.hold_at(2)
    session.generate("one")
    session.wait_step(2)
    session.generate("two")
    session.generate("three")
    assert session.states() == [JobState.RUNNING, JobState.QUEUED, JobState.QUEUED]
    assert "(2)" in session.panel.generate.text()
    assert session.results.run_bar.waiting.text() == "2 waiting"
    session.engine.gate.set()
    session.wait_idle()
    assert [r.prompts[0] for r in session.engine.requests] == ["one", "two", "three"]
    assert len(session.files()) == 3
    assert session.panel.generate.text() == "Generate"


def test_stop_ends_the_running_job_and_the_next_one_follows(session):
    session.hold_at(2)
    session.generate("one", steps=50)
    session.generate("two", steps=4)
    session.wait_step(2)
    session.page.stop()
    session.engine.gate.set()
    session.wait_idle()
    assert session.states() == [JobState.CANCELLED, JobState.FINISHED]


def test_canvas_goes_on_to_the_next_run_of_the_queue(session):
    session.engine.step_seconds = 0.02
    session.hold_at(2)
    session.generate("one", steps=4)
    session.generate("two", steps=200)
    session.wait_step(2)
    session.engine.stop_at = 3
    assert "% - Stepwise" in session.window.windowTitle()
    session.engine.gate.set()
    session.wait(lambda: len(session.engine.requests) == 2)
    session.engine.gate.clear()
    session.wait(lambda: "of 200" in session.results.run_bar.text.accessibleName())
    assert session.results.stage.canvas.tiles[0].path is None
    session.engine.step_seconds = 0
    session.engine.gate.set()
    session.wait_idle()
    assert session.results.strip.current() == session.results.pictures.paths[0]
    assert session.window.windowTitle() == "Stepwise"


def test_waiting_jobs_can_be_dropped(session):
    session.hold_at(2)
    session.generate("one")
    session.generate("two")
    session.wait_step(2)
    session.results.run_bar.clear.click()
    session.engine.gate.set()
    session.wait_idle()
    assert session.states() == [JobState.FINISHED, JobState.CANCELLED]


def test_error_is_one_sentence_and_can_be_tried_again(session):
    session.engine.error = OutOfMemory("It needs 14 GB and 6 GB are free; make it smaller.")
    session.generate()
    session.wait_idle()
    banner = session.results.banner
    assert banner.isVisible()
    assert banner.message.text() == "It needs 14 GB and 6 GB are free; make it smaller."
    assert session.states() == [JobState.FAILED]
    banner.action.click()
    session.wait_idle()
    assert session.states() == [JobState.FAILED, JobState.FINISHED]
    assert not banner.isVisible()
    assert session.engine.requests[0] == session.engine.requests[1]


def test_bug_is_logged_and_called_one(session, caplog):
    session.engine.error = ZeroDivisionError("by nothing")
    with caplog.at_level(logging.ERROR):
        session.generate()
        session.wait_idle()
    assert "fault of its own" in session.results.banner.message.text()
    assert "ZeroDivisionError" in caplog.text
    assert "Traceback" in caplog.text
    session.results.banner.dismiss.click()
    assert not session.results.banner.isVisible()
    session.generate()
    session.wait_idle()
    assert session.states()[-1] is JobState.FINISHED


def test_pictures_folder_that_cannot_be_written_is_said(session):
    session.profile.root.mkdir(exist_ok=True)
    session.profile.pictures.write_text("a file where the folder should be")
    session.generate()
    session.wait_idle()
    assert str(session.profile.pictures) in session.results.banner.message.text()


def test_wrong_setting_is_said_and_nothing_runs(session):
    session.generate(steps=2, strength=0.2, start_image=str(_start(session)))
    assert "strength" in session.results.banner.message.text()
    assert session.engine.requests == []


def test_notice_is_shown(session):
    session.engine.notice = "The VAE gave NaN in fp16 and was run again in fp32."
    session.generate()
    session.wait_idle()
    assert session.results.banner.message.text() == session.engine.notice


def test_closing_while_running_keeps_what_is_finished(session):
    session.engine.batched = False
    session.engine.stop_at = 8
    session.engine.gate.clear()
    session.generate(count=3, steps=6)
    session.generate("never begun")
    session.wait_step(2)
    session.wait(lambda: len(session.files()) == 1)
    session.close()
    assert session.engine.closed == 1
    assert len(session.engine.requests) == 1
    assert len(session.files()) == 1
    assert session.jobs.enqueue(Pictures(session.engine.requests[0], PreviewSettings())) is None


def test_settings_come_back(open_window):
    first = open_window()
    first.set(
        prompt="a green star",
        negative_prompt="mud",
        steps=13,
        guidance_scale=4.25,
        guidance_rescale=0.7,
        guidance_start=0.1,
        guidance_end=0.9,
        scheduler=SchedulerName.UNIPC,
        width=96,
        height=160,
        seed=4_000_000_000,
        seed_locked=True,
        count=3,
        strength=0.35,
        preview=PreviewDecoder.FULL,
    )
    first.panel.fold.set_open(shown=True)
    before = first.panel.values()
    first.window.resize(760, 610)
    first.close()
    second = open_window()
    assert second.panel.values() == before
    assert second.panel.fold.is_open()
    assert (second.window.width(), second.window.height()) == (760, 610)


def test_newest_picture_is_shown_on_opening(open_window):
    first = open_window()
    first.generate()
    first.wait_idle()
    first.close()
    second = open_window()
    assert second.results.strip.current() == first.files()[0]
    second.wait(lambda: second.results.thumbnails.get(first.files()[0]) is not None)


def test_seed_is_new_for_every_run_until_locked(session):
    session.generate()
    session.wait_idle()
    session.page.generate()
    session.wait_idle()
    first, second = session.engine.requests
    assert first.seed != second.seed
    assert session.panel.seed.seed == second.seed
    session.panel.seed.lock.click()
    session.page.generate()
    session.wait_idle()
    assert session.engine.requests[2] == second


def test_rolled_seed_serves_once_and_typed_seed_locks(session, qtbot):
    session.panel.seed.dice.click()
    rolled = session.panel.seed.seed
    session.page.generate()
    session.page.generate()
    session.wait_idle()
    assert session.engine.requests[0].seed == rolled
    assert session.engine.requests[1].seed != rolled
    session.panel.seed.text.clear()
    qtbot.keyClicks(session.panel.seed.text, "4294967295")
    assert session.panel.seed.locked
    session.page.generate()
    session.wait_idle()
    assert session.engine.requests[2].seed == 2**32 - 1


def test_drop_starts_from_the_picture(session):
    file = _start(session)
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(file))])
    _drop(session.page, mime)
    assert session.panel.start.path == str(file)
    assert session.panel.start.run_steps.isVisible()
    session.generate(strength=0.5, steps=9)
    session.wait_idle()
    (request,) = session.engine.requests
    assert isinstance(request, ImageToImage)
    assert request.init_image == str(file)
    assert "4 of 9" in session.panel.start.run_steps.text()


@pytest.mark.qt_log_ignore("allocation limit")
def test_start_pictures_that_qt_cannot_read_are_taken(session, tmp_path):
    avif, large = tmp_path / "small.avif", tmp_path / "large.png"
    Image.fromarray(disc(96, 64, 0, 1.0)).save(avif)
    Image.new("RGB", (800, 600)).save(large)
    usual = QImageReader.allocationLimit()
    QImageReader.setAllocationLimit(1)
    try:
        for file in (avif, large):
            assert QImage(str(file)).isNull()
            session.page.start_from(file)
            assert session.panel.start.path == str(file)
    finally:
        QImageReader.setAllocationLimit(usual)


def test_start_picture_that_is_too_large_is_refused_with_the_reason(session, tmp_path):
    file = tmp_path / "large.png"
    Image.new("1", (10_000, 9_000)).save(file)
    session.page.start_from(file)
    assert session.panel.start.path == ""
    assert "89 million pixels" in session.results.banner.message.text()


def test_picture_without_a_file_is_pasted(session):
    image = QImage(20, 10, QImage.Format.Format_RGB32)
    image.fill(Qt.GlobalColor.red)
    QGuiApplication.clipboard().setImage(image)
    session.panel.prompt.setFocus()
    session.panel.prompt.paste()
    kept = session.panel.start.path
    assert QImage(kept).size() == image.size()
    assert session.panel.prompt.toPlainText() == ""
    session.panel.start.remove.click()
    assert session.panel.start.path == ""
    session.page.paste()
    assert session.panel.start.path == kept


def test_dropped_text_and_broken_pictures_are_refused(session, tmp_path):
    mime = QMimeData()
    mime.setText("no picture")
    event = QDragEnterEvent(
        QPoint(5, 5),
        Qt.DropAction.CopyAction,
        mime,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    event.ignore()
    QApplication.sendEvent(session.page, event)
    assert not event.isAccepted()
    broken = tmp_path / "broken.png"
    broken.write_text("not a picture")
    session.page.start_from(broken)
    assert session.panel.start.path == ""
    assert "broken.png" in session.results.banner.message.text()


def test_result_becomes_the_start_picture(session):
    session.generate()
    session.wait_idle()
    session.results.picture.start.trigger()
    assert session.panel.start.path == str(session.files()[0])
    assert isinstance(session.panel.values().request(), ImageToImage)


def test_reuse_brings_back_the_settings_of_that_picture(session):
    session.generate("first", count=2, steps=5, guidance_scale=2.5, scheduler=SchedulerName.EULER)
    session.wait_idle()
    session.set(prompt="other", count=1, steps=40, guidance_scale=9.0)
    second = max(session.files(), key=lambda path: read_metadata(path).picture)
    session.results.view(second)
    session.control(Qt.Key.Key_R)
    values = session.panel.values()
    assert (values.prompt, values.steps, values.guidance_scale) == ("first", 5, 2.5)
    assert values.scheduler is SchedulerName.EULER
    assert values.seed == session.engine.requests[0].seed + 1
    assert values.seed_locked
    assert values.count == 1


def test_a_picture_is_made_larger_as_it_was_made(session):
    session.generate("first", steps=5, guidance_scale=2.5)
    session.wait_idle()
    (picture,) = session.files()
    session.set(prompt="other", steps=40)
    session.control(Qt.Key.Key_U)
    session.wait_idle()
    made, larger = session.engine.requests
    assert isinstance(larger, Upscale)
    assert (larger.width, larger.height) == (2 * made.width, 2 * made.height)
    assert (larger.prompts, larger.guidance_scale) == (("first",), 2.5)
    assert (larger.seed, larger.init_image) == (made.seed, str(picture))


def test_a_picture_that_says_nothing_is_made_larger_by_the_controls(session, tmp_path):
    session.set(prompt="a fox", guidance_scale=3.5, scheduler=SchedulerName.EULER)
    session.page.enlarge(picture_file(tmp_path / "plain.png"))
    session.wait_idle()
    (larger,) = session.engine.requests
    assert isinstance(larger, Upscale)
    assert (larger.prompts, larger.guidance_scale) == (("a fox",), 3.5)
    assert larger.scheduler is SchedulerName.EULER


def test_what_cannot_be_made_larger_is_told(session, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    session.page.enlarge(tmp_path / "broken.png")
    assert "broken.png" in session.results.banner.message.text()
    assert session.engine.requests == []


def test_picture_without_settings_says_so(session, tmp_path):
    session.page.reuse(picture_file(tmp_path / "plain.png"))
    assert "plain.png" in session.results.banner.message.text()


def _of_another_program(path, settings, prompt="a fox"):
    """Write a picture as AUTOMATIC1111's web UI does."""
    text = PngInfo()
    text.add_text("parameters", f"{prompt}\n{settings}")
    Image.fromarray(disc(96, 64, 0, 1.0)).save(path, pnginfo=text)
    return path


def test_what_of_another_programs_picture_cannot_be_taken_over_is_said(session, cards, tmp_path):
    cards["starter"] = dataclasses.replace(cards["starter"], scheduler=SchedulerName.EULER)
    picture = _of_another_program(
        tmp_path / "other.png",
        "Steps: 9, Sampler: Wobble, CFG scale: 4, Seed: 5, Size: 512x500, Clip skip: 2, "
        "Model: dreamy",
        prompt="a fox <lora:fur:1>",
    )
    session.panel.model.set_model("starter")
    session.set(scheduler=SchedulerName.UNIPC)
    session.page.reuse(picture)
    values = session.panel.values()
    assert (values.model, values.steps, values.height) == ("starter", 9, 496)
    assert values.scheduler is SchedulerName.EULER
    said = session.results.banner.message.text()
    assert all(word in said for word in ("dreamy", "fur", "Wobble", "500", "Clip skip"))
    session.page.enlarge(picture)
    session.wait_idle()
    said = session.results.banner.message.text()
    assert "dreamy" in said
    assert "Wobble" in said


def test_very_much_that_cannot_be_taken_over_is_counted(session, tmp_path):
    unknown = ", ".join(f"Wobble {n}: {n}" for n in range(12))
    picture = _of_another_program(tmp_path / "other.png", f"Steps: 9, Seed: 5, {unknown}")
    session.page.reuse(picture)
    said = session.results.banner.message.text().splitlines()
    assert len(said) == 7
    assert said[-1].startswith("6 more")


def test_what_another_programs_picture_does_not_say_stays(session, tmp_path):
    picture = _of_another_program(tmp_path / "other.png", "Steps: 9, Sampler: Euler, RNG: CPU")
    stay = {"guidance_scale": 4.0, "guidance_rescale": 0.5, "width": 768, "height": 640, "seed": 8}
    session.set(steps=33, scheduler=SchedulerName.UNIPC, **stay)
    session.page.reuse(picture)
    values = session.panel.values()
    assert (values.prompt, values.steps) == ("a fox", 9)
    assert values.scheduler is SchedulerName.EULER
    assert {name: getattr(values, name) for name in stay} == stay
    assert not values.seed_locked
    assert session.results.banner.isHidden()
    session.results.view(picture)
    assert session.results.run_bar.text.accessibleName() == "a fox  ·  9 steps Euler"
    session.page.enlarge(picture)
    session.wait_idle()
    assert session.engine.requests[0].seed == 8


def test_what_the_window_cannot_repeat_of_a_picture_is_named(session, tmp_path):
    request = TextToImage(
        prompts=("fox",), steps=7, loras=(LoraUse(path="fur"),), second_pass=SecondPass(scale=2.0)
    )
    image = ImageReady(
        request=request,
        picture=0,
        seed=0,
        pixels=disc(64, 64, 0, 1.0),
        seconds=1.0,
        model_sha256="0" * 64,
        device="cpu",
    )
    path = save_picture(image, tmp_path)
    session.page.reuse(path)
    assert session.panel.values().steps == 7
    said = session.results.banner.message.text()
    assert "LoRAs, the second pass" in said
    assert str(path) in said


def test_the_refiner_and_windows_of_a_larger_picture_are_named():
    request = Upscale(prompts=("fox",), init_image="a.png", window=64, refiner="fine")
    assert Recalled(request, 0).left_out() == (
        "the refiner",
        "the windows",
    )


def test_the_upscaler_of_a_larger_picture_is_named_and_its_strength_of_0_not_taken():
    request = Upscale(prompts=("fox",), init_image="a.png", upscaler="/4x.pth", strength=0)
    recalled = Recalled(request, 0)
    assert recalled.left_out() == ("the upscaler",)
    now = CreateSettings()
    assert recalled.settings(now).strength == now.strength > 0


def test_looking_back_while_running_and_returning(session):
    session.generate("one")
    session.wait_idle()
    old = session.files()[0]
    session.hold_at(2)
    session.generate("two")
    session.wait_step(2)
    session.results.view(old)
    assert session.results.stage.canvas.tiles[0].path == old
    assert session.results.stage.way_back.isVisible()
    session.engine.stop_at = 4
    session.results.stage.way_back.click()
    assert session.results.stage.canvas.tiles[0].path is None
    session.engine.gate.set()
    session.wait_idle()
    assert session.results.picture.path != old


def test_looking_back_is_not_interrupted_by_the_end_of_the_run(session):
    session.generate("one")
    session.wait_idle()
    old = session.files()[0]
    session.hold_at(2)
    session.generate("two")
    session.wait_step(2)
    session.results.view(old)
    session.engine.gate.set()
    session.wait_idle()
    assert session.results.picture.path == old


def test_grid_opens_a_picture_and_goes_back(session, qtbot):
    session.generate(count=4)
    session.wait_idle()
    canvas = session.results.stage.canvas
    assert len(canvas.tiles) == 4
    assert session.results.picture.path is None
    place = canvas.rects()[2].center().toPoint()
    path = canvas.tiles[2].path
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=place)
    assert session.results.picture.path == path
    session.results.stage.way_back.click()
    assert len(canvas.tiles) == 4


def test_picture_that_is_gone_leaves_the_grid_of_its_run(session, monkeypatch, qtbot):
    monkeypatch.setattr("desktop.widgets.picture_actions.QFile.moveToTrash", lambda _: (True, ""))
    session.generate(count=4)
    session.wait_idle()
    canvas, results = session.results.stage.canvas, session.results
    paths = [tile.path for tile in canvas.tiles]
    results.view(paths[1])
    results.picture.trash.trigger()
    results.stage.way_back.click()
    assert [tile.path for tile in canvas.tiles] == [paths[0], *paths[2:]]
    paths[3].unlink()
    place = canvas.rects()[2].center().toPoint()
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=place)
    assert paths[3].name in results.banner.message.text()
    assert [tile.path for tile in canvas.tiles] == [paths[0], paths[2]]
    assert "2 pictures" in results.run_bar.text.accessibleName()
    results.view(paths[0])
    results.picture.trash.trigger()
    assert not results.stage.way_back.isVisible()


def test_arrows_walk_along_the_strip(session):
    for prompt in ("one", "two", "three"):
        session.generate(prompt)
        session.wait_idle()
    strip = session.results.strip
    newest = session.results.pictures.paths
    strip.setFocus()
    session.press(Qt.Key.Key_Right, at=strip)
    assert session.results.picture.path == newest[1]
    session.press(Qt.Key.Key_Right, at=strip)
    assert session.results.picture.path == newest[2]
    session.press(Qt.Key.Key_Left, at=strip)
    assert session.results.stage.canvas.tiles[0].path == newest[1]


def test_trash_takes_the_picture_off(session, monkeypatch):
    for prompt in ("one", "two"):
        session.generate(prompt)
        session.wait_idle()
    gone, left = session.results.pictures.paths

    def trash(name: str) -> tuple[bool, str]:
        gone.unlink()
        return True, ""

    monkeypatch.setattr("desktop.widgets.picture_actions.QFile.moveToTrash", trash)
    session.results.picture.trash.trigger()
    assert session.results.pictures.paths == (left,)
    assert session.results.picture.path == left


def test_file_that_vanished_is_taken_off_the_strip(session):
    for prompt in ("one", "two"):
        session.generate(prompt)
        session.wait_idle()
    path = session.results.pictures.paths[1]
    path.unlink()
    session.results.view(path)
    assert path not in session.results.pictures.paths
    assert path.name in session.results.banner.message.text()


def test_copy_and_save_as(session, tmp_path):
    session.generate()
    session.wait_idle()
    (file,) = session.files()
    session.results.picture.copy.trigger()
    assert QGuiApplication.clipboard().image().size() == QImage(str(file)).size()
    session.results.picture.save_to(file, tmp_path / "copy.png")
    assert (tmp_path / "copy.png").read_bytes() == file.read_bytes()
    for name in ("copy.jpg", "copy.webp"):
        session.results.picture.save_to(file, tmp_path / name)
        assert read_metadata(tmp_path / name) == read_metadata(file)
    assert sorted(path.name for path in tmp_path.glob("*.*")) == [
        "copy.jpg",
        "copy.png",
        "copy.webp",
    ]
    assert not QImage(str(tmp_path / "copy.jpg")).isNull()
    file.unlink()
    session.results.picture.save_to(file, tmp_path / "late.jpg")
    assert f"{file.name} cannot be read" in session.results.banner.message.text()
    picture_file(file)
    (tmp_path / "no folder").write_text("a file")
    session.results.picture.save_to(file, tmp_path / "no folder" / "copy.png")
    assert "no folder" in session.results.banner.message.text()


def _save_as(session, monkeypatch, name, kind, *, replaces=False):
    """Answer the dialog that asks for a name, and the question whether to replace; give that."""
    asked = []

    def answer(box):
        asked.append(box.text())
        role = QMessageBox.ButtonRole.DestructiveRole
        chosen = [b for b in box.buttons() if (box.buttonRole(b) is role) is replaces]
        monkeypatch.setattr(QMessageBox, "clickedButton", lambda _box: chosen[0])
        return 0

    def choose(_window, _title, _start, filters, _filter=""):
        return str(name), next(text for text in filters.split(";;") if text.startswith(kind))

    monkeypatch.setattr(QMessageBox, "exec", answer)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", choose)
    session.results.picture.save.trigger()
    return asked


@pytest.mark.parametrize(("name", "whole"), [("cat", "cat.png"), ("cat v1.5", "cat v1.5.png")])
def test_save_as_asks_before_a_name_it_completes_takes_a_file_away(
    session, monkeypatch, tmp_path, name, whole
):
    session.generate()
    session.wait_idle()
    (file,) = session.files()
    target = tmp_path / whole
    assert _save_as(session, monkeypatch, tmp_path / name, "PNG") == []
    assert target.read_bytes() == file.read_bytes()
    target.write_bytes(b"an older picture")
    (asked,) = _save_as(session, monkeypatch, tmp_path / name, "PNG")
    assert whole in asked
    assert target.read_bytes() == b"an older picture"
    _save_as(session, monkeypatch, tmp_path / name, "PNG", replaces=True)
    assert target.read_bytes() == file.read_bytes()
    assert [path.name for path in tmp_path.glob("*.*")] == [whole]


def test_save_as_gives_a_name_without_an_ending_that_of_the_kind_chosen(
    session, monkeypatch, tmp_path
):
    session.generate()
    session.wait_idle()
    _save_as(session, monkeypatch, tmp_path / "cat v1.5", "JPEG")
    _save_as(session, monkeypatch, tmp_path / "dog.JPEG", "PNG")
    names = sorted(path.name for path in tmp_path.glob("*.*"))
    assert names == ["cat v1.5.jpg", "dog.JPEG"]
    assert all((tmp_path / name).read_bytes().startswith(b"\xff\xd8") for name in names)


def test_example_fills_the_prompt_and_runs(session):
    session.results.stage.empty.chosen.emit(EXAMPLES[0])
    session.wait_idle()
    assert session.engine.requests[0].prompts == (EXAMPLES[0],)
    assert not session.results.stage.empty.isVisible()


def test_guidance_one_disables_what_it_ignores(session):
    session.panel.guidance.set_value(1.0)
    assert not session.panel.negative.isEnabled()
    assert "Guidance is 1" in session.panel.negative.toolTip()
    assert not session.panel.advanced.rescale.isEnabled()
    session.panel.guidance.set_value(3.0)
    assert session.panel.negative.isEnabled()
    assert "Guidance is 1" not in session.panel.negative.toolTip()


def test_what_is_disabled_is_not_asked_for(session, tmp_path):
    told = {"negative_prompt": "mud", "guidance_rescale": 0.5, "guidance_start": 0.25}
    session.generate(guidance_scale=3.0, **told)
    session.generate(guidance_scale=1.0)
    session.page.enlarge(picture_file(tmp_path / "plain.png"))
    session.wait_idle()
    guided, *unguided = session.engine.requests
    assert {name: getattr(guided, name) for name in told} == told
    for request in unguided:
        assert (request.guidance_scale, request.negative_prompt) == (1.0, "")
        assert (request.guidance_rescale, request.guidance_start) == (0.0, 0.0)
    assert session.panel.values().negative_prompt == "mud"


def test_guidance_as_a_number_disables_what_it_leaves_without_effect(session, cards, tmp_path):
    why = "This model takes guidance as a number."
    cards[str(tmp_path)] = dataclasses.replace(
        cards["starter"],
        name=str(tmp_path),
        guidance_scale=8.0,
        guidance_embedding=True,
        ignored=dict.fromkeys(("negative_prompt", "guidance_rescale", "guidance_start"), why),
    )
    session.panel.model.set_model(str(tmp_path))
    panel = session.panel
    for control in (panel.negative, panel.advanced.rescale, panel.advanced.interval):
        assert (control.isEnabled(), control.toolTip()) == (False, why)
    assert panel.guidance.isEnabled()
    panel.model.set_model("starter")
    panel.guidance.set_value(3.0)
    assert panel.negative.isEnabled()


def test_what_a_model_cannot_do_is_not_asked_of_it(session, cards, tmp_path):
    reasons = {"init_image": "It reads no start picture.", "precision": "It is fixed."}
    cards["other"] = dataclasses.replace(cards["starter"], name="other", limits=reasons)
    start = picture_file(tmp_path / "start.png")
    session.set(precision=Precision.FP32, start_image=str(start))
    session.panel.model.set_model("other")
    request = session.panel.asked().request()
    assert not isinstance(request, ImageToImage)
    assert request.precision is Precision.AUTO
    assert session.panel.advanced.precision.toolTip() == "It is fixed."
    session.page.start_from(start)
    assert session.results.banner.message.text() == "It reads no start picture."
    session.panel.model.set_model("starter")
    request = session.panel.asked().request()
    assert isinstance(request, ImageToImage)
    assert request.precision is Precision.FP32


def test_model_limits_the_schedulers_and_moves_defaults(session, cards, tmp_path):
    folder = str(tmp_path)
    cards[folder] = dataclasses.replace(
        cards["starter"],
        name=folder,
        title="Other",
        width=512,
        height=512,
        steps=30,
        schedulers=(SchedulerName.DDIM, SchedulerName.LMS),
    )
    session.set(scheduler=SchedulerName.PNDM)
    session.panel.model.set_model(folder)
    values = session.panel.values()
    assert values.model == folder
    assert values.scheduler is SchedulerName.DDIM
    assert (values.width, values.height, values.steps) == (512, 512, 30)
    session.panel.scheduler.set_value(SchedulerName.HEUN)
    assert session.panel.scheduler.value() is SchedulerName.DDIM
    assert session.panel.model.folders == (folder,)


def test_model_that_cannot_be_used_is_said(session, tmp_path):
    session.panel.model.set_model(str(tmp_path / "nothing"))
    assert "nothing" in session.results.banner.message.text()
    assert session.panel.values().model == "starter"


def test_every_control_has_a_name_for_screen_readers(session):
    unnamed = [
        widget
        for widget in session.panel.findChildren(QWidget)
        if widget.isVisible()
        and widget.focusPolicy() & Qt.FocusPolicy.TabFocus
        and not isinstance(widget, QLineEdit)
        and not (widget.accessibleName() or getattr(widget, "text", str)())
    ]
    assert unnamed == []


def test_tab_goes_down_the_panel(session):
    panel = session.panel
    well = panel.findChild(QWidget, "startWell")
    order = [
        *(panel.prompt, panel.negative, well, panel.model, panel.scheduler, panel.steps.spin),
        *(panel.guidance.spin, panel.picture_size.width_spin, panel.picture_size.height_spin),
        *(panel.seed.text, panel.count.spin, panel.generate, panel.stop, session.results.strip),
    ]
    chain, widget = [], panel.prompt
    for _ in range(200):
        chain.append(widget)
        widget = widget.nextInFocusChain()
    places = [chain.index(control) for control in order]
    assert places == sorted(places)


def test_rail_leads_to_the_pages_and_stays_away_if_there_is_one(session, qtbot):
    shell = session.window.shell
    assert shell.rail.isVisible()
    create, models, _train = shell.rail.findChildren(IconButton)
    models.click()
    assert session.models.isVisible()
    create.click()
    assert session.page.isVisible()
    alone = Shell((Page("create", "Create", QWidget()),))
    qtbot.addWidget(alone)
    alone.show()
    assert not alone.rail.isVisible()


def test_text_to_image_without_a_start_picture(session):
    session.generate()
    session.wait_idle()
    assert type(session.engine.requests[0]) is TextToImage


def test_warm_up_reports_and_runs_come_after(session):
    session.worker.warm_up("starter")
    session.generate()
    session.wait_idle()
    assert session.engine.warmed == ["starter"]
    assert session.states() == [JobState.FINISHED]


def test_settings_file_is_plain_json(session):
    session.set(prompt="ä 🙂")
    session.store.flush()
    values = json.loads(session.profile.settings_file.read_text(encoding="utf-8"))
    assert values["version"] == 1
    assert values["create"]["prompt"] == "ä 🙂"


def _start(session):
    session.profile.root.mkdir(exist_ok=True)
    return picture_file(session.profile.root / "start.png")


def _drop(widget, mime):
    place = QPointF(5, 5)
    buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(place.toPoint(), Qt.DropAction.CopyAction, mime, buttons, keys)
    QApplication.sendEvent(widget, enter)
    assert enter.isAccepted()
    QApplication.sendEvent(widget, QDropEvent(place, Qt.DropAction.CopyAction, mime, buttons, keys))


@pytest.mark.parametrize(("key", "modifiers"), [(Qt.Key.Key_Enter, "KeypadModifier")])
def test_keypad_enter_generates_too(session, key, modifiers):
    both = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier[modifiers]
    session.press(key, both)
    session.wait_idle()
    assert len(session.engine.requests) == 1


def test_size_that_is_being_typed_counts(session, qtbot):
    spin = session.panel.picture_size.width_spin
    spin.setFocus()
    spin.selectAll()
    qtbot.keyClicks(spin, "257")
    session.press(Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier, at=spin)
    session.wait_idle()
    assert session.engine.requests[0].width == 256
    assert spin.value() == 256


def test_keys_that_edit_the_prompt_do_nothing_else(session, qtbot):
    for prompt in ("one", "two"):
        session.generate(prompt)
        session.wait_idle()
    session.hold_at(2)
    session.generate("a red disc", steps=9)
    session.wait_step(2)
    session.results.view(session.results.pictures.paths[0])
    shown, prompt = session.results.picture.path, session.panel.prompt
    trashed = []
    session.results.picture.removed.connect(trashed.append)
    prompt.setFocus()
    prompt.moveCursor(QTextCursor.MoveOperation.Start)
    for key in (Qt.Key.Key_Left, Qt.Key.Key_Delete, Qt.Key.Key_Backspace, Qt.Key.Key_Right):
        session.press(key, at=prompt)
    prompt.moveCursor(QTextCursor.MoveOperation.End)
    session.press(Qt.Key.Key_Right, at=prompt)
    session.press(Qt.Key.Key_Backspace, Qt.KeyboardModifier.ControlModifier, at=prompt)
    session.press(Qt.Key.Key_Return, at=prompt)
    assert prompt.toPlainText() == " red \n"
    assert session.results.picture.path == shown
    assert trashed == []
    assert session.states()[-1] is JobState.RUNNING
    session.engine.gate.set()
    session.wait_idle()


def test_no_shortcut_moves_a_picture_to_the_trash(session, monkeypatch):
    session.generate()
    session.wait_idle()
    asked = []
    monkeypatch.setattr(
        "desktop.widgets.picture_actions.QFile.moveToTrash",
        lambda name: (asked.append(name), (False, ""))[1],
    )
    for at in (session.panel.scheduler, session.panel.steps.slider, session.window):
        session.press(Qt.Key.Key_Backspace, Qt.KeyboardModifier.ControlModifier, at=at)
        session.press(Qt.Key.Key_Delete, at=at)
    assert asked == []
    session.press(Qt.Key.Key_Delete, at=session.results.stage.canvas)
    assert asked == [str(session.files()[0])]


def test_wheel_over_the_panel_changes_no_number(session):
    panel = session.panel
    panel.prompt.setFocus()
    before = panel.values()
    for control in (panel.count.spin, panel.picture_size.width_spin, panel.steps.slider):
        place = QPointF(5, 5)
        wheel = QWheelEvent(
            place,
            control.mapToGlobal(place),
            QPoint(),
            QPoint(0, 120),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(control, wheel)
    assert panel.values() == before


def test_prompt_that_was_replaced_can_be_brought_back(session):
    session.generate("first")
    session.wait_idle()
    session.panel.prompt.set_text("a long prompt that took an hour")
    session.control(Qt.Key.Key_R)
    assert session.panel.prompt.toPlainText() == "first"
    session.panel.prompt.undo()
    assert session.panel.prompt.toPlainText() == "a long prompt that took an hour"


def test_stopping_is_said_while_the_step_lasts(session):
    session.hold_at(3)
    session.generate(steps=9)
    session.wait_step(3)
    session.press(Qt.Key.Key_Escape)
    assert session.results.run_bar.text.accessibleName() == "Stopping after this step"
    session.engine.gate.set()
    session.wait_idle()
    assert session.results.run_bar.text.accessibleName() == "Stopped"


def test_way_back_to_a_stopped_run_shows_what_it_finished(session):
    session.engine.batched = False
    session.hold_at(14)
    session.generate(count=4, steps=6)
    session.wait_step(2)
    session.wait(lambda: len(session.results.pictures.paths) == 2)
    session.page.stop()
    session.engine.gate.set()
    session.wait_idle()
    session.results.view(session.files()[0])
    session.results.stage.way_back.click()
    tiles = session.results.stage.canvas.tiles
    assert {tile.path for tile in tiles} == set(session.files())


def test_settings_out_of_all_bounds_open_the_window(open_window, tmp_path):
    folder = tmp_path / "profile"
    folder.mkdir()
    huge = 10**30
    values = {
        "version": 1,
        "create": dict.fromkeys(("width", "height", "steps", "seed", "count"), huge),
        "window": {"panel": huge},
    }
    (folder / "settings.json").write_text(json.dumps(values))
    values = open_window().panel.values()
    assert (values.width, values.count, values.seed) == (4096, 1000, 2**32 - 1)


def test_half_a_character_is_remembered(open_window):
    first = open_window()
    first.set(negative_prompt="mud \ud83d")
    first.close()
    assert open_window().panel.values().negative_prompt.startswith("mud")


def test_placeholders_can_be_read(open_window):
    session = open_window(theme=ThemeMode.DARK)
    shown = session.panel.prompt.palette().placeholderText().color()
    assert shown == QColor(DARK.quiet)


def test_numbers_stand_alike_in_all_their_fields(session):
    panel = session.panel
    spins = (panel.steps.spin, panel.picture_size.width_spin, panel.count.spin)
    assert len({spin.alignment() for spin in spins}) == 1
    assert len({spin.height() for spin in (*spins, panel.seed.dice, panel.seed.text)}) == 1
    panel.steps.set_value(1000)
    assert panel.steps.spin.text() == "1000"
