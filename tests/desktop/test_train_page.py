import dataclasses
import shutil
from pathlib import Path

import pytest
from PIL import Image
from PySide6.QtCore import QMimeData, QPoint, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent
from PySide6.QtWidgets import QFileDialog, QPlainTextEdit, QWidget

from core.errors import OutOfMemory
from core.models.listing import Listed
from core.models.verdict import Kind
from core.request import DeviceName, TextToImage
from core.training.config import DreamBooth, Finetune, LoraTraining, Method, TextualInversion
from core.training.config_parts import Preset
from core.training.folder import Folder
from desktop.caption_draft import Which
from desktop.jobs import JobState
from desktop.training import Phase
from desktop.widgets.main_window import CREATE, TRAIN
from desktop.widgets.tag_rows import TagRows
from desktop.widgets.train_side import PICTURES, PROGRESS
from tests.desktop.fake_engine import disc

PROMPTS = ("a moon", "two moons")
VALUES = {
    "steps": 12,
    "save_every": 5,
    "samples.every": 4,
    "samples.prompts": PROMPTS,
    "data.trigger": "moonling",
}


def fill(root: Path, count: int = 3) -> Path:
    root.mkdir(parents=True)
    for index in range(count):
        Image.fromarray(disc(64, 64 + 8 * index, index, 1.0)).save(root / f"p{index}.png")
        (root / f"p{index}.txt").write_text(f"a moon, number {index}")
    return root


class TrainSession:
    """The window at its Train page, with a folder of pictures chosen."""

    def __init__(self, session, folder: Path) -> None:
        self.session, self.page = session, session.train
        self.panel, self.training = session.train.panel, session.train.training
        self.engine = session.engine
        session.window.shell.show_page(TRAIN)
        self.page.take_folder(folder)
        self.wait(lambda: bool(self.page.folder.snapshot.pictures))
        self.set()

    def set(self, method=Method.LORA, **values) -> None:
        self.panel.method.set_value(method)
        self.panel.form.set_values(VALUES | values)

    def wait(self, condition) -> None:
        self.session.wait(condition)

    def wait_phase(self, phase: Phase) -> None:
        self.wait(lambda: self.training.snapshot.phase is phase)

    def hold_at(self, step: int) -> None:
        self.session.hold_at(step)

    def go_on(self) -> None:
        self.engine.stop_at = 10**9
        self.engine.gate.set()

    def run_to(self, step: int) -> None:
        self.hold_at(step)
        self.panel.press()
        self.wait(lambda: self.training.snapshot.step == step)

    def pause(self) -> None:
        self.panel.press()
        self.go_on()
        self.wait_phase(Phase.PAUSED)

    def banner(self) -> str:
        return self.page.banner.message.text() if self.page.banner.isVisibleTo(self.page) else ""


@pytest.fixture
def moons(tmp_path) -> Path:
    return fill(tmp_path / "moons")


@pytest.fixture
def train(session, moons) -> TrainSession:
    return TrainSession(session, moons)


def test_training_by_keys_is_what_the_controls_say(train, moons):
    train.session.control(Qt.Key.Key_Return)
    train.wait_phase(Phase.FINISHED)
    ((config, resume),) = train.engine.trainings
    assert isinstance(config, LoraTraining)
    assert not resume
    assert (config.steps, config.data.trigger, config.samples.prompts) == (12, "moonling", PROMPTS)
    assert config.data.folder == str(moons)
    assert Path(config.out) == train.session.profile.root / "trainings" / "moons"


def test_curve_samples_and_verdict(train):
    train.panel.press()
    train.wait_phase(Phase.FINISHED)
    progress = train.page.progress
    assert len(train.training.curve) == 12
    assert progress.samples.rowCount() == 2
    steps = [
        progress.samples.headerData(column, Qt.Orientation.Horizontal)
        for column in range(progress.samples.columnCount())
    ]
    assert steps == ["Before", "Step 4", "Step 8", "Step 12"]
    assert not progress.live.image.isNull()
    assert progress.outcome.isVisibleTo(train.page)
    assert "loads again" in progress.outcome.text.text()
    assert "Checkpoint after step 5" in progress.log.toPlainText()
    assert "loss" in progress.chart.marked_text(6)


def test_status_tells_speed_time_and_rate(train):
    train.run_to(6)
    train.wait(lambda: "Step 6 of 12" in train.page.bar.text.accessibleName())
    text = train.page.bar.text.accessibleName()
    assert all(part in text for part in ("steps/s", "left", "rate 0.0001"))
    assert train.page.bar.bar.value() == 500
    assert "50 % - Stepwise" in train.session.window.windowTitle()


def test_pause_frees_the_engine_and_resume_goes_on(train):
    train.run_to(6)
    train.pause()
    assert train.panel.start.text() == "Resume"
    train.session.generate()
    train.session.wait_idle()
    assert len(train.session.files()) == 1
    done = train.training.snapshot.step
    train.panel.press()
    train.wait_phase(Phase.FINISHED)
    assert [resume for _, resume in train.engine.trainings] == [False, True]
    assert len(train.training.curve) == 12
    assert done < 12


def test_pictures_wait_for_a_training_and_say_so(train):
    train.run_to(3)
    train.session.window.shell.show_page(CREATE)
    train.session.generate()
    results = train.session.results
    assert train.session.panel.generate.text().startswith("Add to Queue")
    assert not train.session.panel.stop.isEnabled()
    assert "training" in results.banner.message.text()
    results.banner.action.click()
    train.go_on()
    train.session.wait_idle()
    assert train.training.snapshot.phase is Phase.PAUSED
    assert [job.state for job in train.session.jobs.snapshot.jobs] == [
        JobState.CANCELLED,
        JobState.FINISHED,
    ]
    assert not results.banner.isVisible()


def test_escape_on_the_create_page_leaves_a_training_alone(train):
    train.run_to(3)
    train.session.window.shell.show_page(CREATE)
    train.session.press(Qt.Key.Key_Escape)
    train.go_on()
    train.wait_phase(Phase.FINISHED)


def test_training_waits_for_pictures(train):
    train.session.hold_at(2)
    train.session.generate(steps=4)
    train.session.window.shell.show_page(TRAIN)
    train.panel.press()
    assert train.training.snapshot.phase is Phase.WAITING
    assert train.panel.start.text() == "Waiting for Pictures"
    train.go_on()
    train.wait_phase(Phase.FINISHED)
    assert train.session.files()


def test_training_that_waits_can_be_taken_back(train):
    train.session.hold_at(2)
    train.session.generate(steps=4)
    train.panel.press()
    train.panel.stop.click()
    assert train.training.snapshot.phase is Phase.STOPPED
    train.go_on()
    train.session.wait_idle()
    assert train.engine.trainings == []


def test_settings_are_held_while_a_training_is_open_and_free_once_it_is_stopped(train):
    assert not train.panel.stop.isEnabled()
    train.run_to(3)
    assert not train.panel.method.isEnabled()
    assert train.panel.locked.isVisibleTo(train.panel)
    train.panel.stop.click()
    train.go_on()
    train.wait_phase(Phase.STOPPED)
    assert train.panel.method.isEnabled()
    assert train.panel.start.text() == "Start Training"
    outcome = train.page.progress.outcome
    assert outcome.resume.isVisibleTo(outcome)
    outcome.resume.click()
    train.wait_phase(Phase.FINISHED)
    assert train.engine.trainings[-1][1]


def test_menu_offers_what_can_be_done_now(train):
    actions = {
        action.text(): action
        for menu in train.session.window.menuBar().actions()
        if menu.menu() is not None
        for action in menu.menu().actions()
    }
    end, choose = actions["End the Training"], actions["Choose Pictures…"]
    assert (end.isEnabled(), choose.isEnabled()) == (False, True)
    train.run_to(3)
    train.wait(lambda: (end.isEnabled(), choose.isEnabled()) == (True, False))
    end.trigger()
    train.go_on()
    train.wait_phase(Phase.STOPPED)
    assert (end.isEnabled(), choose.isEnabled()) == (False, True)


def test_next_training_gets_a_place_of_its_own(train):
    train.panel.press()
    train.wait_phase(Phase.FINISHED)
    train.panel.press()
    train.wait(lambda: len(train.engine.trainings) == 2)
    train.wait_phase(Phase.FINISHED)
    first, second = (Path(config.out).name for config, _ in train.engine.trainings)
    assert (first, second) == ("moons", "moons-2")
    train.panel.name.setText("moons")
    train.panel.press()
    assert "is there already" in train.banner()
    assert len(train.engine.trainings) == 2


def test_learned_lora_is_used_on_the_create_page(train):
    train.panel.press()
    train.wait_phase(Phase.FINISHED)
    train.page.progress.outcome.use.click()
    prompt = train.session.panel.prompt
    train.wait(lambda: "<lora:moons:1>" in prompt.toPlainText())
    assert prompt.toPlainText() == "moonling <lora:moons:1>"
    assert train.session.window.shell.page == CREATE
    (row,) = (r for r in train.session.shelf.snapshot.models if r.kind is Kind.LORA)
    assert row.path == Path(train.training.snapshot.config.out) / "final.safetensors"
    assert not row.owned
    prompt.set_text("")
    train.page.progress.outcome.use.click()
    train.wait(lambda: "<lora:moons:1>" in prompt.toPlainText())
    assert len([r for r in train.session.shelf.snapshot.models if r.kind is Kind.LORA]) == 1


def test_current_weights_are_used_on_pause_as_a_copy(train):
    train.run_to(6)
    train.pause()
    step = train.training.snapshot.usable.step
    train.page.progress.outcome.use.click()
    prompt = train.session.panel.prompt
    train.wait(lambda: f"<lora:moons-step-{step}:1>" in prompt.toPlainText())
    (row,) = (r for r in train.session.shelf.snapshot.models if r.kind is Kind.LORA)
    assert row.owned


def test_new_word_is_called_by_itself(train):
    train.set(Method.TEXTUAL_INVERSION, token="moonling", init_word="star", vectors=2)
    train.panel.press()
    train.wait_phase(Phase.FINISHED)
    assert isinstance(train.engine.trainings[0][0], TextualInversion)
    train.page.progress.outcome.use.click()
    train.wait(lambda: train.session.panel.prompt.toPlainText() == "moonling")


def test_whole_model_is_chosen(train, monkeypatch):
    chosen = []
    monkeypatch.setattr(train.session.panel.model, "set_model", chosen.append)
    train.set(Method.FINETUNE)
    train.panel.press()
    train.wait_phase(Phase.FINISHED)
    assert isinstance(train.engine.trainings[0][0], Finetune)
    train.page.progress.outcome.use.click()
    assert chosen == [str(Path(train.training.snapshot.config.out) / "final")]


def test_dreambooth_shows_class_pictures_and_asks_for_what_is_missing(train):
    train.set(Method.DREAMBOOTH, **{"samples.prompts": ()})
    train.panel.press()
    assert train.banner() == "The thing: is empty."
    assert train.panel.form.controls["instance_prompt"].widget.hasFocus()
    train.set(
        Method.DREAMBOOTH,
        instance_prompt="a sks moon",
        class_prompt="a moon",
        **{"samples.prompts": ()},
    )
    shown = []
    train.training.shown.connect(shown.append)
    train.panel.press()
    train.wait_phase(Phase.FINISHED)
    config = train.engine.trainings[0][0]
    assert isinstance(config, DreamBooth)
    assert config.adapter is not None
    assert shown
    train.page.progress.outcome.use.click()
    train.wait(lambda: "a sks moon <lora:" in train.session.panel.prompt.toPlainText())


def test_error_is_one_sentence_and_can_be_tried_again(train):
    train.engine.error = OutOfMemory("It needs 9 GB and 6 GB are free; take a smaller batch.")
    train.panel.press()
    train.wait_phase(Phase.FAILED)
    assert "It needs 9 GB and 6 GB are free; take a sm" in train.page.progress.outcome.text.text()
    assert train.banner() == ""
    assert train.panel.method.isEnabled()
    train.page.progress.outcome.resume.click()
    train.wait_phase(Phase.FINISHED)
    assert [resume for _, resume in train.engine.trainings] == [False, False]


def test_error_is_told_to_who_looks_at_the_pictures_too(train):
    train.run_to(3)
    train.page.side.show_part(PICTURES)
    train.engine.fault = OutOfMemory("It needs 9 GB and 6 GB are free; take a smaller batch.")
    train.go_on()
    train.wait_phase(Phase.FAILED)
    assert train.banner() == "It needs 9 GB and 6 GB are free; take a smaller batch."


def test_control_at_fault_is_named_as_it_is_labelled_and_brought_into_sight(train):
    train.session.window.resize(1180, 560)
    train.set(**{"data.background": "white"})
    control = train.panel.form.controls["data.background"].widget
    assert not control.isVisible()
    train.panel.press()
    assert train.banner().startswith("Background: 'white' is no colour")
    train.wait(lambda: not control.visibleRegion().isEmpty())
    assert control.hasFocus()


def test_bug_is_shown_as_one(train, caplog):
    train.engine.error = ZeroDivisionError("a fault")
    train.panel.press()
    train.wait_phase(Phase.FAILED)
    assert "fault of its own" in train.banner()
    caplog.clear()


def test_without_pictures_nothing_begins(session):
    session.window.shell.show_page(TRAIN)
    session.train.panel.press()
    assert session.train.banner.message.text().startswith("Pictures: none are chosen")
    assert session.train.panel.well.hasFocus()
    assert session.engine.trainings == []


def test_restart_shows_the_unfinished_training_and_goes_on(open_window, moons):
    first = TrainSession(open_window(), moons)
    first.run_to(6)
    first.session.window.close()
    first.go_on()
    first.session.close()
    again = open_window()
    again.wait(lambda: again.train.training.snapshot.phase is Phase.PAUSED)
    snapshot = again.train.training.snapshot
    assert snapshot.step >= 6
    assert len(again.train.training.curve) == snapshot.step
    assert {shot.step for shot in snapshot.shots} == {0, 4}
    assert again.train.panel.values().value("data.trigger") == "moonling"
    assert again.train.panel.folder == str(moons)
    again.window.shell.show_page(TRAIN)
    again.train.panel.press()
    again.wait(lambda: again.train.training.snapshot.phase is Phase.FINISHED)
    assert [resume for _, resume in again.engine.trainings] == [True]
    assert len(again.train.training.curve) == 12


def test_restart_brings_the_draft_back(open_window, moons):
    first = TrainSession(open_window(), moons)
    first.set(Method.TEXTUAL_INVERSION, token="moonling", vectors=4)
    first.panel.name.setText("my-word")
    first.session.close()
    panel = open_window().train.panel
    assert panel.method.value() is Method.TEXTUAL_INVERSION
    assert (panel.name.text(), panel.folder) == ("my-word", str(moons))
    assert panel.values().value("vectors") == 4


def test_restart_shows_what_came_out_and_what_the_check_found(open_window, moons):
    first = TrainSession(open_window(), moons)
    first.set(**{"data.use_masks": True})
    first.panel.press()
    first.wait_phase(Phase.FINISHED)
    first.set(steps=99)
    lines = first.training.snapshot.lines
    first.session.close()
    again = open_window().train
    again.window().shell.show_page(TRAIN)
    outcome = again.progress.outcome
    first.wait(lambda: again.training.snapshot.phase is Phase.FINISHED)
    assert "found something wrong" in outcome.title.text()
    assert "A picture with it is as without it." in outcome.text.text()
    assert again.training.snapshot.lines == lines
    assert "Checkpoint after step 5" in again.progress.log.toPlainText()
    # The controls hold the next training, not the one that has ended.
    assert again.panel.values().value("steps") == 99


@pytest.mark.parametrize("fails", [True, False])
def test_restart_shows_how_it_ended(open_window, moons, fails):
    first = TrainSession(open_window(), moons)
    first.run_to(6)
    if fails:
        first.engine.fault = OutOfMemory("It needs 9 GB and 6 GB are free.")
    else:
        first.panel.stop.click()
    first.go_on()
    phase = Phase.FAILED if fails else Phase.STOPPED
    first.wait_phase(phase)
    first.session.close()
    again = open_window().train
    again.window().shell.show_page(TRAIN)
    first.wait(lambda: again.training.snapshot.phase is phase)
    assert ("It needs 9 GB" in again.progress.outcome.text.text()) is fails
    assert not again.banner.isVisible()
    assert again.panel.method.isEnabled()
    again.progress.outcome.resume.click()
    first.wait(lambda: again.training.snapshot.phase is Phase.FINISHED)


def test_start_after_one_that_learned_nothing_is_quiet(open_window, moons):
    first = TrainSession(open_window(), moons)
    first.engine.error = OutOfMemory("It needs 9 GB and 6 GB are free.")
    first.panel.press()
    first.wait_phase(Phase.FAILED)
    first.session.close()
    again = open_window().train
    assert again.values().opened == ""
    assert again.training.snapshot.phase is Phase.NONE


def test_finished_training_learns_on(train):
    train.panel.press()
    train.wait_phase(Phase.FINISHED)
    outcome = train.page.progress.outcome
    assert outcome.more.value() == 6
    outcome.more.setValue(4)
    outcome.learn_on.click()
    train.wait(lambda: len(train.engine.trainings) == 2)
    train.wait_phase(Phase.FINISHED)
    config, resume = train.engine.trainings[1]
    assert (config.steps, resume) == (16, True)
    assert config.out == train.engine.trainings[0][0].out
    assert len(train.training.curve) == 16


def test_what_was_learned_on_elsewhere_is_not_over(train, monkeypatch):
    train.panel.press()
    train.wait_phase(Phase.FINISHED)
    config = train.training.snapshot.config
    folder = Folder(Path(config.out))
    folder.write_config(dataclasses.replace(config, steps=20))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: config.out)
    train.page.open_training()
    train.wait_phase(Phase.PAUSED)
    assert "12 of 20" in train.page.progress.outcome.title.text()


def test_steps_and_samples_can_be_changed_while_paused(train):
    train.run_to(6)
    train.pause()
    controls = train.panel.form.controls
    assert controls["steps"].widget.isEnabled()
    assert controls["samples.prompts"].widget.isEnabled()
    for name in ("adapter.rank", "batch_size", "data.flip"):
        assert not controls[name].widget.isEnabled()
    assert not train.panel.name.isEnabled()
    controls["steps"].set_value(3)
    train.panel.press()
    assert train.banner().startswith("Steps: ")
    controls["steps"].set_value(15)
    controls["samples.prompts"].set_value(("a moon", "a small moon"))
    train.panel.press()
    train.wait_phase(Phase.FINISHED)
    config, resume = train.engine.trainings[-1]
    assert (config.steps, config.samples.prompts) == (15, ("a moon", "a small moon"))
    assert resume
    assert controls["adapter.rank"].widget.isEnabled()


def test_device_is_chosen_and_may_be_another_when_it_goes_on(train):
    train.set(device=DeviceName.CPU)
    train.run_to(6)
    train.pause()
    train.panel.form.controls["device"].set_value(DeviceName.AUTO)
    train.panel.press()
    train.wait_phase(Phase.FINISHED)
    assert train.engine.devices == [DeviceName.CPU, DeviceName.AUTO]


def test_resume_of_what_was_deleted_says_so(train):
    train.run_to(6)
    train.pause()
    shutil.rmtree(train.training.snapshot.config.out)
    train.panel.press()
    assert "is gone" in train.banner()
    assert train.training.snapshot.phase is Phase.NONE
    assert len(train.training.curve) == 0
    assert len(train.engine.trainings) == 1
    assert train.panel.start.text() == "Start Training"


def test_unfinished_training_that_is_gone_is_told_once(open_window, moons):
    first = TrainSession(open_window(), moons)
    first.run_to(6)
    first.session.window.close()
    first.go_on()
    first.session.close()
    shutil.rmtree(first.training.snapshot.config.out)
    again = open_window()
    again.wait(lambda: "holds no training" in again.train.banner.message.text())
    assert again.train.values().opened == ""


def test_finished_training_is_opened_and_used(train, monkeypatch):
    train.panel.press()
    train.wait_phase(Phase.FINISHED)
    out = train.training.snapshot.config.out
    train.set(**{"samples.prompts": ()})
    train.panel.press()
    train.wait(lambda: len(train.engine.trainings) == 2)
    train.wait_phase(Phase.FINISHED)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: out)
    train.page.side.show_part(PICTURES)
    train.page.open_training()
    train.wait(lambda: train.training.snapshot.config.out == out)
    assert train.training.snapshot.phase is Phase.FINISHED
    assert len(train.training.snapshot.shots) == 8
    assert train.page.progress.isVisible()
    assert train.panel.values().value("samples.prompts") == PROMPTS
    assert train.panel.name.text() == ""


def test_settings_of_a_file_come_into_the_controls(train, tmp_path, monkeypatch):
    train.panel.press()
    train.wait_phase(Phase.FINISHED)
    path = Folder(Path(train.training.snapshot.config.out)).config_file
    train.set(Method.FINETUNE, steps=99)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    train.page.open_settings()
    values = train.panel.values()
    assert (values.method, values.value("steps"), values.name) == (Method.LORA, 12, "")
    (tmp_path / "other.json").write_text("{")
    train.page.take_settings(tmp_path / "other.json")
    assert "other.json cannot be read" in train.banner()
    assert train.panel.values() == values


def test_sample_is_seen_large_and_arrows_lead_on(train):
    train.panel.press()
    train.wait_phase(Phase.FINISHED)
    progress = train.page.progress
    progress.table.setCurrentIndex(progress.samples.index(0, 1))
    progress.table.setFocus()
    train.session.press(Qt.Key.Key_Return, at=progress.table)
    assert progress.viewer.isVisibleTo(train.page)
    assert "Step 4" in progress.viewer.text.accessibleName()
    train.session.press(Qt.Key.Key_Right, at=progress.viewer)
    train.session.press(Qt.Key.Key_Down, at=progress.viewer)
    assert progress.viewer.shot.step == 8
    assert progress.viewer.shot.prompt == 1
    train.session.press(Qt.Key.Key_Escape, at=progress.viewer)
    assert not progress.viewer.isVisibleTo(train.page)
    assert progress.table.currentIndex() == progress.samples.index(1, 2)


def test_caption_is_edited_in_the_grid(train, moons):
    train.page.side.show_part(PICTURES)
    grid = train.page.pictures.grid
    grid.setCurrentIndex(train.page.pictures.rows.index(1))
    grid.setFocus()
    train.session.press(Qt.Key.Key_Return, at=grid)
    editor = grid.findChild(QPlainTextEdit, "captionEditor")
    editor.setPlainText("a moon in a tree")
    train.session.press(Qt.Key.Key_Return, at=editor)
    assert train.page.folder.snapshot.pictures[1].caption == "a moon in a tree"
    train.wait(lambda: (moons / "p1.txt").read_text() == "a moon in a tree\n")


@pytest.mark.parametrize("key", [Qt.Key.Key_Return, Qt.Key.Key_Tab, None])
def test_caption_that_is_only_looked_at_stays_as_it_is(train, moons, key):
    train.page.side.show_part(PICTURES)
    grid = train.page.pictures.grid
    grid.setCurrentIndex(train.page.pictures.rows.index(1))
    grid.edit(grid.currentIndex())
    editor = grid.findChild(QPlainTextEdit, "captionEditor")
    assert editor.toPlainText() == "a moon, number 1"
    if key is None:
        train.panel.name.setFocus()
    else:
        train.session.press(key, at=editor)
    train.session.close()
    assert (moons / "p1.txt").read_text() == "a moon, number 1"


def test_words_are_found_replaced_and_counted(train):
    tools = train.page.pictures.tools
    tools.old.setText("moon")
    assert tools.replace.text() == "Replace in 3"
    tools.new.setText("planet")
    tools.replace.click()
    captions = [picture.caption for picture in train.page.folder.snapshot.pictures]
    assert captions[0] == "a planet, number 0"
    assert not tools.replace.isEnabled()
    assert tools.replace.toolTip() == "No caption has it."
    train.wait(lambda: tags_of(tools)[:2] == ["All pictures", "a planet"])
    choose_tag(tools, "number 2")
    assert [picture.path.name for picture in train.page.pictures.rows.pictures] == ["p2.png"]
    tools.old.setText("planet")
    assert tools.replace.text() == "Replace in 1 of those shown"
    tools.new.setText("star")
    tools.replace.click()
    captions = [picture.caption for picture in train.page.folder.snapshot.pictures]
    assert captions == ["a planet, number 0", "a planet, number 1", "a star, number 2"]
    tools.undo.click()
    assert train.page.folder.snapshot.pictures[2].caption == "a planet, number 2"
    assert not tools.undo.isVisible()


def test_tags_are_counted_as_captions_change(train, moons):
    tools = train.page.pictures.tools
    train.wait(lambda: "number 1" in tags_of(tools))
    choose_tag(tools, "number 1")
    train.page.folder.know({moons / "p1.png": "a sun, number 1", moons / "p2.png": "a sun"})
    train.wait(lambda: "a sun" in tags_of(tools))
    assert tools.tag() == "number 1"
    fresh = TagRows()
    fresh.show(train.page.folder.snapshot.pictures)
    lines = [fresh.index(row).data() for row in range(fresh.rowCount())]
    assert lines[:2] == ["3   All pictures", "2   a sun"]
    assert [tools.rows.index(row).data() for row in range(tools.rows.rowCount())] == lines
    train.page.folder.know({moons / "p1.png": "a sun"})
    train.wait(lambda: tools.tag() == "")
    assert len(train.page.pictures.rows.pictures) == 3


def test_restart_brings_the_caption_tools_back(open_window, moons, tmp_path):
    first = TrainSession(open_window(), moons)
    tools = first.page.pictures.tools
    tools.suffix.setText("at night")
    tools.beams.setValue(7)
    tools.which.set_value(Which.ALL)
    tools.model.set_captioner(str(tmp_path / "my-blip"))
    draft = tools.values()
    first.session.close()
    again = open_window().train.pictures.tools
    assert again.values() == draft
    assert again.model.currentText() == "my-blip"
    assert not again.about.isVisibleTo(again)


def test_captioners_of_the_library_are_offered(train, tmp_path):
    row = Listed(
        name="blip-base", title="BLIP", kind=Kind.CAPTIONER, family="blip", path=tmp_path, size=1
    )
    train.page.set_library((row,))
    model = train.page.pictures.tools.model
    texts = [model.itemText(line) for line in range(model.count())]
    assert texts == ["Stepwise's own", "blip-base", "Open folder…"]
    model.setCurrentIndex(1)
    model.activated.emit(1)
    assert train.page.pictures.tools.values().model == str(tmp_path)


def tags_of(tools) -> list[str]:
    rows = range(tools.rows.rowCount())
    return [tools.rows.index(row).data(Qt.ItemDataRole.ToolTipRole) for row in rows]


def choose_tag(tools, text: str) -> None:
    tools.tags.setCurrentIndex(tools.rows.index(tags_of(tools).index(text)))


def test_captions_are_written_by_a_model(train, moons):
    tools = train.page.pictures.tools
    (moons / "p1.txt").write_text("")
    tools.prefix.setText("")
    tools.suffix.setText("at night")
    tools.write.click()
    train.wait(lambda: "captions are written" in train.banner())
    assert train.page.folder.snapshot.pictures[1].caption == "a picture of p1 at night"
    assert train.page.folder.snapshot.pictures[0].caption == "a moon, number 0"


def test_captions_wait_for_a_training(train):
    train.run_to(3)
    tools = train.page.pictures.tools
    train.wait(lambda: not tools.write.isEnabled())
    assert "training" in tools.write.toolTip()


def test_tools_give_way_where_there_is_no_room(train):
    pictures = train.page.pictures
    train.session.window.resize(1180, 800)
    train.wait(lambda: pictures.tools.isVisible() and pictures.grid.isVisible())
    train.session.window.resize(740, 600)
    train.wait(lambda: not pictures.tools.isVisible() and pictures.grid.isVisible())
    pictures.show_tools.click()
    assert pictures.tools.isVisible()
    assert not pictures.grid.isVisible()


def drag(paths) -> tuple[QDragEnterEvent, QMimeData]:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    event = QDragEnterEvent(
        QPoint(90, 90),
        Qt.DropAction.CopyAction,
        mime,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    event.ignore()
    return event, mime


def test_dropped_pictures_are_gathered_in_a_folder_and_a_folder_is_taken(session, moons):
    session.window.shell.show_page(TRAIN)
    page = session.train
    event, _mime = drag([moons / "p0.png"])
    page.dragEnterEvent(event)
    assert event.isAccepted()
    assert page.drop_hint.isVisibleTo(page)
    page.drop((moons / "p0.png", moons / "p1.png"))
    session.wait(lambda: len(page.folder.snapshot.pictures) == 2)
    folder = Path(page.panel.folder)
    assert folder.parent == session.profile.root / "pictures-to-learn"
    page.drop((moons,))
    session.wait(lambda: len(page.folder.snapshot.pictures) == 3)
    assert page.panel.folder == str(moons)


def test_one_folder_is_dropped_at_a_time(session, moons, tmp_path):
    session.window.shell.show_page(TRAIN)
    page = session.train
    for paths in ((moons, tmp_path), (moons, moons / "p0.png")):
        page.banner.hide()
        page.drop(paths)
        assert "one folder at a time" in page.banner.message.text()
        assert page.banner.isVisible()
        assert page.panel.folder == ""


def test_nothing_is_dropped_into_a_training(train, moons):
    train.run_to(3)
    event, _mime = drag([moons])
    train.page.dragEnterEvent(event)
    assert not event.isAccepted()


@pytest.mark.parametrize("method", list(Method))
def test_a_disabled_control_says_why(train, method):
    train.set(method, **{"samples.prompts": ()})
    form = train.panel.form
    for fold in form.folds.values():
        fold.set_open(shown=True)
    disabled = [
        c for c in form.controls.values() if not c.widget.isEnabled() and not c.widget.isHidden()
    ]
    assert disabled
    for control in disabled:
        assert control.widget.toolTip() != control.field.tip


def test_everything_has_a_name_for_a_screen_reader(train):
    for part in (PICTURES, PROGRESS):
        train.page.side.show_part(part)
        for widget in train.page.findChildren(QWidget):
            if widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.isVisible():
                text = getattr(widget, "text", str)()
                assert widget.accessibleName() or text, widget


def test_memory_is_told_and_a_preset_makes_it_less(session):
    panel = session.train.panel
    session.window.shell.show_page(TRAIN)
    panel.form.set_values({"batch_size": 64})
    session.wait(lambda: "Takes about" in panel.cost.text())
    before = panel.cost.text()
    panel.presets[Preset.GB_8].click()
    session.wait(lambda: panel.values().value("batch_size") == 4)
    assert session.train.banner.message.text() == "To fit into 8 GB: Batch 4."
    session.wait(lambda: panel.cost.text() not in ("", before))


def test_time_is_told_once_something_like_it_was_done(train):
    cost = train.panel.cost
    train.wait(lambda: "known after its first steps" in cost.text())
    assert "free" in cost.text()
    train.session.generate()
    train.session.wait_idle()
    train.wait(lambda: "about a minute on this machine" in cost.text())
    train.engine.step_seconds = 0.05
    train.set(steps=200_000)
    # Steps before samples and checkpoints do not count.
    train.run_to(30)
    train.wait(lambda: " h " in cost.text())


def test_requests_of_the_create_page_are_its_own(train):
    train.panel.press()
    train.session.generate()
    train.session.wait_idle()
    (request,) = train.engine.requests
    assert isinstance(request, TextToImage)
    assert train.session.results.picture.path is not None
