"""The Models page, worked as a person works it, on a real library."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QTimer, QUrl
from PySide6.QtGui import QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QApplication, QFileDialog, QLineEdit, QMessageBox, QWidget
from safetensors.torch import load_file, save_file

from core.cli_parser import build_parser
from core.events import ImageReady
from core.images.writing import save_picture
from core.models import catalog, curated
from core.models.library import Library
from core.models.library_events import Progress, Task
from core.models.listing import Listed
from core.models.verdict import Kind
from core.request import EmbeddingUse, LoraUse, SchedulerName, TextToImage
from desktop.model_facts import facts_of, title_of, trouble
from desktop.settings import Placing
from desktop.shelf_snapshot import Transfer, TransferState
from desktop.widgets.main_window import CREATE, MODELS
from desktop.widgets.model_rows import Show
from tests.desktop.fake_engine import disc
from tests.desktop.shelf_files import embedding, fill_library, lora


@pytest.fixture
def page(session, monkeypatch):
    """The page, shown; names are found as in the app."""
    monkeypatch.setattr(catalog, "_shelf", None)
    catalog.use_shelf(Library(session.profile))
    session.window.shell.show_page(MODELS)
    session.wait(lambda: bool(session.shelf.snapshot.models))
    return session.models


@pytest.fixture
def fill_in(tiny_model, tmp_path):
    """The tiny model with a UNet that wants a mask, which the window cannot give it."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "fill-in"))
    config = folder / "unet/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"in_channels": 9}))
    weights = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
    weights["conv_in.weight"] = torch.zeros(8, 9, 3, 3)
    save_file(weights, folder / "unet/diffusion_pytorch_model.safetensors", {"format": "pt"})
    return folder


def titles(page):
    return [row if isinstance(row, str) else title_of(row) for row in page.panel.rows.rows]


def turn_to(page, name):
    page.panel.list.turn_to(f"model {name}")
    assert title_of(page.details.row) == name


def visible(page):
    return [b.text() or b.accessibleName() for b in page.details.buttons() if b.isVisible()]


def wait_idle(session):
    session.wait(lambda: session.shelf.snapshot.work is None and not session.shelf._reads)


def add(session, page, *paths):
    page.add(paths)
    wait_idle(session)


@pytest.fixture
def ink(session, page, tmp_path):
    """A LoRA in the library, used where it lies."""
    path = lora(tmp_path / "files" / "ink.safetensors", licence="CC0")
    add(session, page, path)
    return path


def test_starter_is_there_and_what_is_worth_having(page):
    listed = titles(page)
    assert listed[:2] == ["In your library", "Starter"]
    assert listed[2] == "Worth having"
    assert len(listed) == 3 + len(curated.CURATED)
    assert title_of(page.details.row) == "Starter"
    assert visible(page) == ["Use", "Convert…", "Show in Folder"]


def test_files_are_dropped_onto_the_page(session, page, tmp_path):
    path = lora(tmp_path / "ink.safetensors")
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    copy = Qt.DropAction.CopyAction
    QApplication.sendEvent(page, QDragEnterEvent(QPoint(5, 5), copy, mime, buttons, keys))
    assert page.drop_hint.isVisible()
    QApplication.sendEvent(page, QDropEvent(QPointF(5, 5), copy, mime, buttons, keys))
    assert not page.drop_hint.isVisible()
    wait_idle(session)
    assert titles(page)[:3] == ["In your library", "Starter", "ink"]
    assert "ink is in the library" in page.banner.message.text()
    assert title_of(page.details.row) == "ink"


def test_files_are_copied_if_the_person_says_so_and_that_is_remembered(
    session, page, tmp_path, monkeypatch, open_window
):
    path = embedding(tmp_path / "mood.safetensors")
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *_: ([str(path)], ""))
    page.panel.placing.set_value(Placing.COPY)
    page.panel.add.click()
    wait_idle(session)
    row = page.details.row
    assert row.owned
    assert session.profile.models in row.path.parents
    session.close()
    assert open_window().models.panel.placing.value() is Placing.COPY


def test_refused_files_are_one_sentence_in_the_page(session, page, tmp_path):
    bad = tmp_path / "page.safetensors"
    bad.write_bytes(b"<html>")
    add(session, page, bad)
    assert "web page" in page.banner.message.text()
    assert titles(page)[1:3] == ["Starter", "Worth having"]
    assert QApplication.activeModalWidget() is None


def test_lora_goes_into_the_prompt_once(session, page, ink):
    session.panel.prompt.set_text("a fox")
    turn_to(page, "ink")
    assert visible(page)[0] == "Insert"
    page.details.use.click()
    assert session.window.shell.page == CREATE
    assert session.panel.prompt.toPlainText() == "a fox <lora:ink:1>"
    # The starter is no Stable Diffusion 1.x.
    assert "SD 1.x" in session.results.banner.message.text()
    session.window.shell.show_page(MODELS)
    page.details.use.click()
    assert session.panel.prompt.toPlainText() == "a fox <lora:ink:1>"
    session.panel.prompt.undo()
    assert session.panel.prompt.toPlainText() == "a fox"


def test_embedding_is_used_where_its_word_stands_and_the_model_fits(session, page, cards, tmp_path):
    add(session, page, embedding(tmp_path / "mood.safetensors"))
    turn_to(page, "mood")
    page.details.use.click()
    assert session.panel.prompt.toPlainText() == "mood"
    session.page.generate()
    session.wait_idle()
    cards["starter"] = dataclasses.replace(cards["starter"], family="sd1")
    session.panel.model.set_model("starter")
    session.page.generate()
    session.generate("a <lora:mood:1> fox")
    session.wait_idle()
    of_other_family, used, only_a_lora = session.engine.requests
    assert of_other_family.embeddings == ()
    assert [(use.path, use.token) for use in used.embeddings] == [("mood", "mood")]
    assert only_a_lora.embeddings == ()


def test_model_is_used_with_its_good_settings(session, page, tiny_model):
    add(session, page, tiny_model)
    turn_to(page, "tiny")
    session.set(steps=3, guidance_scale=1.5)
    page.details.use.click()
    values = session.panel.values()
    assert session.window.shell.page == CREATE
    assert values.model == "tiny"
    assert (values.steps, values.guidance_scale, values.width) == (25, 7.5, 64)
    assert values.scheduler is SchedulerName.PNDM


def test_picker_follows_the_library(session, page, tiny_model, fill_in):
    picker = session.panel.model
    add(session, page, tiny_model, fill_in)
    texts = [picker.itemText(i) for i in range(picker.count())]
    assert texts[:3] == ["Starter", "tiny", "fill-in"]
    assert picker.model().item(1).isEnabled()
    assert not picker.model().item(2).isEnabled()
    assert "mask" in picker.itemData(2, Qt.ItemDataRole.ToolTipRole)
    picker.set_model("tiny")
    assert picker.folders == ()
    session.shelf.remove("tiny")
    wait_idle(session)
    assert picker.chosen_model == "starter"
    assert "no longer in the library" in session.results.banner.message.text()


def test_a_refused_scheduler_says_why(session, cards):
    why = "It cannot use a model that predicts the picture."
    cards["starter"] = dataclasses.replace(
        cards["starter"],
        schedulers=tuple(name for name in SchedulerName if name is not SchedulerName.PNDM),
        refused_schedulers={SchedulerName.PNDM: why},
    )
    session.panel.model.set_model("starter")
    scheduler = session.panel.scheduler
    row = [scheduler.model().item(i).text() for i in range(scheduler.count())].index("PNDM")
    assert not scheduler.model().item(row).isEnabled()
    for role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleDescriptionRole):
        assert scheduler.itemData(row, role) == why


def test_model_that_is_not_sampled_is_listed_with_the_reason(session, page, fill_in):
    add(session, page, fill_in)
    turn_to(page, "fill-in")
    assert not page.details.use.isEnabled()
    assert "mask" in page.details.trouble.text()
    assert "mask" in page.details.use.toolTip()


def test_the_number_format_stands_beside_the_size():
    path = Path("it.safetensors")
    row = Listed(name="it", title="it", kind=Kind.LORA, family="sd1", path=path, size=1)
    assert dict(facts_of(row))["Size"] == "1 bytes"
    assert "fp16" in dict(facts_of(dataclasses.replace(row, precision="fp16")))["Size"]


@pytest.mark.parametrize(
    ("kind", "family", "command"),
    [
        (Kind.VAE, "sd1", "generate --vae"),
        (Kind.CONTROLNET, "sd1", "generate --control"),
        (Kind.UPSCALER, "", "upscale --upscaler"),
        (Kind.MODEL, "sdxl-refiner", "generate --refiner"),
    ],
)
def test_what_the_window_has_no_control_for_names_the_command(kind, family, command):
    path = Path("/my files/it.safetensors")
    row = Listed(name="it", title="it", kind=kind, family=family, path=path, size=1)
    assert f"“stepwise {command} {path}”" in trouble(row)
    verb, option = command.split()
    build_parser("stepwise", window=True).parse_args([verb, "fox", option, str(path)])


def test_missing_file_is_said_and_found(session, page, ink, tmp_path, monkeypatch):
    elsewhere = tmp_path / "a" / "b" / "c"
    elsewhere.mkdir(parents=True)
    ink.rename(elsewhere / "ink2.safetensors")
    page._shelf.refresh()
    wait_idle(session)
    turn_to(page, "ink")
    assert str(ink) in page.details.trouble.text()
    assert visible(page) == ["Look for It…", "Remove…"]
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    page.details.look_for.click()
    wait_idle(session)
    assert "found again" in page.banner.message.text()
    assert visible(page) == ["Insert", "Verify", "Remove…", "Show in Folder"]


def test_verify_reads_every_byte(session, page, ink):
    turn_to(page, "ink")
    data = bytearray(ink.read_bytes())
    data[-1] ^= 1
    ink.write_bytes(data)
    page.details.verify.click()
    wait_idle(session)
    assert "does not hold the bytes" in page.banner.message.text()


def answer(text, seen):
    """Press a button of the question that opens next."""

    def press():
        box = QApplication.activeModalWidget()
        assert isinstance(box, QMessageBox)
        seen.append(f"{box.text()} {box.informativeText()}")
        seen.append(box.defaultButton().text().replace("&", ""))
        next(b for b in box.buttons() if b.text().replace("&", "") == text).click()

    QTimer.singleShot(0, press)


# Of dialogs, where there is no display.
@pytest.mark.qt_log_ignore("propagateSizeHints")
def test_removal_is_asked_about_once_and_says_what_becomes_of_files(session, page, ink, tmp_path):
    turn_to(page, "ink")
    seen = []
    answer("Cancel", seen)
    page.details.remove.click()
    assert "ink" in titles(page)
    answer("Remove", seen)
    session.press(Qt.Key.Key_Delete, at=page.panel.list)
    wait_idle(session)
    assert "ink" not in titles(page)
    assert ink.exists()
    assert f"its files stay at {ink}" in seen[0]
    assert seen[1] == "Cancel"
    page.panel.placing.set_value(Placing.COPY)
    add(session, page, ink)
    answer("Delete", seen)
    page.details.remove.click()
    wait_idle(session)
    assert "are deleted" in seen[-2]
    assert "deleted" in page.banner.message.text()
    assert ink.exists()


def test_list_is_narrowed_by_kind_and_words(session, page, ink):
    page.panel.show_kind.set_value(Show.LORA)
    assert titles(page) == ["In your library", "ink"]
    page.panel.show_kind.set_value(Show.UPSCALER)
    assert titles(page) == []
    assert page.details.row is None
    page.panel.show_kind.set_value(Show.ALL)
    page.panel.search.setText("xl turbo")
    assert titles(page) == ["Worth having", "SDXL-Turbo"]
    assert title_of(page.details.row) == "SDXL-Turbo"


def test_download_shows_how_far_it_is(session, page, monkeypatch):
    asked = []
    monkeypatch.setattr(session.shelf, "download", asked.append)
    monkeypatch.setattr(session.shelf, "stop_download", asked.append)
    page.panel.list.turn_to("offer sd-1.5")
    assert visible(page) == ["Download"]
    assert "creativeml" in " ".join(v.text() for _, v in page.details._facts)
    page.details.download.setFocus()
    page.details.download.click()
    progress = Progress(task=Task.DOWNLOAD, what="unet", done=10**9, total=2 * 10**9, speed=1e7)
    place = page.details.download.y()
    session.shelf._set_transfer("sd-1.5", Transfer(TransferState.RUNNING, progress))
    assert visible(page) == ["Cancel"]
    assert page.details.stop.hasFocus()
    assert page.details.bar.value() == 500
    assert page.details.progress.text() == "1.0 GB of 2.0 GB  ·  10.0 MB/s  ·  1 min 40 s left"
    session.wait(lambda: page.details.stop.y() == place)
    page.details.stop.click()
    assert asked == ["sd-1.5", "sd-1.5"]
    session.shelf._set_transfer("sd-1.5", Transfer(TransferState.STOPPING, progress))
    assert not page.details.stop.isEnabled()
    session.shelf._set_transfer("sd-1.5", None)
    assert visible(page) == ["Download"]


def test_pages_by_keys_and_actions_of_the_other_page(session, page):
    session.control(Qt.Key.Key_1)
    assert session.window.shell.page == CREATE
    session.control(Qt.Key.Key_2)
    assert session.window.shell.page == MODELS
    session.control(Qt.Key.Key_L)
    assert session.window.shell.page == CREATE


def test_page_is_worked_by_keys(session, page, ink, qtbot):
    turn_to(page, "ink")
    page.panel.list.setFocus()
    session.press(Qt.Key.Key_Up, at=page.panel.list)
    assert title_of(page.details.row) == "Starter"
    session.press(Qt.Key.Key_Down, at=page.panel.list)
    session.press(Qt.Key.Key_Down, at=page.panel.list)
    # Over the heading, which cannot be turned to.
    assert title_of(page.details.row) == curated.CURATED[0].title
    session.press(Qt.Key.Key_Up, at=page.panel.list)
    session.press(Qt.Key.Key_Return, at=page.panel.list)
    assert session.window.shell.page == CREATE
    assert "<lora:ink:1>" in session.panel.prompt.toPlainText()


def test_everything_has_a_name_for_screen_readers(session, page, ink):
    turn_to(page, "ink")
    unnamed = [
        widget
        for widget in page.findChildren(QWidget)
        if widget.isVisible()
        and widget.focusPolicy() & Qt.FocusPolicy.TabFocus
        and not isinstance(widget, QLineEdit)
        and not (widget.accessibleName() or getattr(widget, "text", str)())
    ]
    assert unnamed == []
    index = page.panel.list.currentIndex()
    words = index.data(Qt.ItemDataRole.AccessibleTextRole)
    assert words.startswith("ink, LoRA, SD 1.x")


def test_generating_goes_on_while_files_are_added(session, page, tmp_path):
    session.hold_at(2)
    session.generate(steps=6)
    add(session, page, lora(tmp_path / "ink.safetensors"))
    assert "ink" in titles(page)
    session.engine.gate.set()
    session.wait_idle()
    assert len(session.files()) == 1


def test_settings_come_back_with_the_loras_and_embeddings_of_the_library(
    session, page, ink, tmp_path
):
    word = embedding(tmp_path / "mood.safetensors")
    add(session, page, word)
    request = TextToImage(
        prompts=("a fox, mood",),
        loras=(LoraUse(path=str(ink), weight=0.7), LoraUse(path=str(ink), text_weight=0.25)),
        embeddings=(EmbeddingUse(path=str(word), token="mood"),),
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
    session.page.reuse(save_picture(image, tmp_path))
    prompt = session.panel.prompt.toPlainText()
    assert prompt == "a fox, mood <lora:ink:0.7> <lora:ink:0.25:1>"
    assert session.results.banner.isHidden()


def test_the_files_of_another_programs_picture_are_found_in_the_library(session, page, tmp_path):
    fill_library(session.profile)
    session.shelf.refresh()
    wait_idle(session)
    text = PngInfo()
    text.add_text(
        "parameters",
        "a fox <lora:ink-wash:0.7>\nSteps: 7, Sampler: Euler, CFG scale: 4, Seed: 5, "
        "Size: 64x64, Model: fill-in",
    )
    picture = tmp_path / "other.png"
    Image.new("RGB", (64, 64)).save(picture, pnginfo=text)
    session.page.reuse(picture)
    values = session.panel.values()
    assert (values.model, values.steps, values.seed) == ("fill-in", 7, 5)
    assert values.prompt == "a fox <lora:ink-wash:0.7>"
