"""The dialogue that converts a model, worked as a person works it, with a scripted exporter."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QMenu

from core.coreml_folder import MANIFEST, ExportFormat, Layout, PartName
from core.errors import ExportFailed, NeedsExport
from core.models import catalog
from core.models.library import Library
from core.models.verdict import Kind
from core.request_parts import EmbeddingUse, LoraUse
from coreml_export.export import export
from coreml_export.request import CONTROL_PART, Compression, ExportRequest, Packing
from desktop.conversion import Phase
from desktop.convert_estimate import estimate
from desktop.convert_place import usual_place
from desktop.convert_words import usual_layout
from desktop.model_facts import title_of
from desktop.shelf_snapshot import ShelfSnapshot
from desktop.widgets.compression_choice import Target
from desktop.widgets.convert_form import ConvertForm
from desktop.widgets.main_window import CREATE, MODELS
from tests.desktop.conftest import CARD
from tests.desktop.fake_export import SIZES, manifest_of
from tests.desktop.shelf_files import fill_library, lora

MODEL = "stable-diffusion-v1-5"

# A window above another is nothing that a screen without a window manager knows.
pytestmark = pytest.mark.qt_log_ignore("This plugin does not support")


@pytest.fixture
def page(session, monkeypatch):
    """The Models page with a library of a few models."""
    fill_library(session.profile)
    monkeypatch.setattr(catalog, "_shelf", None)
    catalog.use_shelf(Library(session.profile))
    session.window.shell.show_page(MODELS)
    session.shelf.refresh()
    session.wait(lambda: len(session.shelf.snapshot.models) > 5)
    return session.models


def row_of(session, name):
    return next(row for row in session.shelf.snapshot.models if row.name == name)


@pytest.fixture
def dialog(session, page):
    """The dialogue, opened for Stable Diffusion 1.5 by its button."""
    page.panel.list.turn_to(f"model {MODEL}")
    page.details.convert.click()
    assert page.convert_dialog.isVisible()
    return page.convert_dialog


def phase(session):
    return session.conversion.snapshot.phase


def run(session, dialog):
    dialog.form.start.click()
    session.wait(lambda: not phase(session).is_busy)


def hold(session, part):
    """Let the next conversion wait in a part."""
    session.exporter.stop_at = part
    session.exporter.gate.clear()


def visible(dialog):
    p = dialog.progress
    buttons = (p.use, p.resume, p.settings, p.stop, p.hide_button)
    return [button.text() for button in buttons if button.isVisible()]


def test_defaults_are_the_models_own(session, dialog):
    request = dialog.form.request()
    assert request == ExportRequest(
        model=MODEL,
        out=str(session.profile.models / f"{MODEL}-coreml"),
        layout=Layout.SPLIT_EINSUM,
        sizes=((512, 512),),
    )
    assert "Neural Engine" in dialog.form.layout_choice.currentText()
    assert "M1" in dialog.form.about_layout.text()


def test_every_choice_is_in_the_request(session, page, dialog):
    form = dialog.form
    ink, word = row_of(session, "ink-wash"), row_of(session, "soft-light")
    vae = row_of(session, "sharper-vae")
    form.layout_choice.set_value(Layout.ORIGINAL)
    form.sizes.add.click()
    form.compression.packing.set_value(Packing.MIXED)
    form.compression.target_unit.set_value(Target.DECIBELS)
    form.loras.boxes[str(ink.path)].setChecked(True)
    form.loras.weights[str(ink.path)].setValue(0.7)
    form.words.boxes[str(word.path)].setChecked(True)
    form.vae.setCurrentIndex(form.vae.findData(str(vae.path)))
    form.parts.boxes[PartName.VAE_ENCODER].setChecked(False)
    form.batch.setChecked(False)
    form.check.setChecked(False)
    form.place.name.setText("mine")
    assert form.request() == ExportRequest(
        model=MODEL,
        out=str(session.profile.models / "mine"),
        layout=Layout.ORIGINAL,
        sizes=((512, 512), (512, 768)),
        batch=1,
        compression=Compression(Packing.MIXED, decibels=60),
        loras=(LoraUse(path=str(ink.path), weight=0.7),),
        embeddings=(EmbeddingUse(path=str(word.path), token="soft-light"),),
        vae=str(vae.path),
        parts=(PartName.UNET, PartName.TEXT_ENCODER, PartName.VAE_DECODER),
        check=False,
    )
    assert form.sizes.note.isVisible()
    assert "macOS 15" in form.sizes.note.text()
    assert not form.chunk.isEnabled()
    assert "several sizes" in form.chunk.toolTip()


def test_core_ai_has_neither_layouts_nor_compression(dialog):
    form = dialog.form
    form.compression.packing.set_value(Packing.INT8)
    form.chunk.setChecked(True)
    form.kind.set_value(ExportFormat.COREAI)
    request = form.request()
    assert (request.format, request.layout) == (ExportFormat.COREAI, Layout.ORIGINAL)
    assert request.out.endswith(f"{MODEL}-coreai")
    assert request.compression == Compression()
    for control in (form.layout_choice, form.compression.packing, form.chunk):
        assert not control.isEnabled()
        assert control.toolTip() == "It is for Core ML alone."
    form.kind.set_value(ExportFormat.COREML)
    assert form.request().layout is Layout.SPLIT_EINSUM
    form.chunk.setChecked(True)
    form.compression.packing.set_value(Packing.W8A8)
    assert "8 bits in between" in form.chunk.toolTip()
    assert form.request().compression == Compression(Packing.W8A8)
    assert not form.request().chunk


def test_only_what_fits_the_model_is_offered(session, page):
    starter = row_of(session, "starter")
    page.convert(starter)
    form = page.convert_dialog.form
    assert not form.loras.boxes
    assert not form.words.boxes
    assert form.vae.count() == 1
    assert not form.vae.isEnabled()
    assert form.vae.toolTip()
    form.baked.set_open(shown=True)
    assert "starter" in form.no_baked.text()


def test_another_model_begins_at_its_own_defaults(session, page, dialog):
    dialog.form.compression.packing.set_value(Packing.INT8)
    dialog.form.sizes.add.click()
    dialog.close()
    page.convert(row_of(session, "starter"))
    request = page.convert_dialog.form.request()
    assert (request.model, request.sizes) == ("starter", ((128, 128),))
    assert request.compression == Compression()


def test_choices_stay_while_the_library_is_read_anew(session, page, dialog, tmp_path):
    ink = str(row_of(session, "ink-wash").path)
    dialog.form.loras.boxes[ink].setChecked(True)
    dialog.form.loras.weights[ink].setValue(0.5)
    page.add((lora(tmp_path / "other.safetensors", rank=8),))
    session.wait(lambda: len(dialog.form.loras.boxes) == 2)
    assert dialog.form.loras.chosen() == ((ink, 0.5),)


def test_size_and_needs_are_told_before(session, dialog):
    session.wait(lambda: bool(dialog.form.package_size.text()))
    whole = dialog.form.package_size.text()
    assert "macOS 13" in whole
    assert "UNet 1.7 GB" in whole
    assert "of memory" in dialog.form.needs.text()
    assert "longer" in dialog.form.check.text()
    dialog.form.compression.packing.set_value(Packing.INT8)
    session.wait(lambda: dialog.form.package_size.text() != whole)
    assert "macOS 14" in dialog.form.package_size.text()
    assert "safe" in dialog.form.compression.about.text()
    dialog.form.compression.packing.set_value(Packing.PALETTE4)
    assert "on the Mac" in dialog.form.compression.about.text()


def test_estimate_says_when_there_is_too_little(session, page, monkeypatch):
    request = ExportRequest(model="starter", out=str(session.profile.models / "out"))
    model = row_of(session, "starter").path
    assert "more than the" not in estimate(request, model).needs
    full = type(shutil.disk_usage(session.profile.root))(1000, 1000, 0)
    monkeypatch.setattr("shutil.disk_usage", lambda _place: full)
    assert "disk space while it is made, more than the" in estimate(request, model).needs


def test_parts_are_followed_and_the_new_model_is_selected_and_used(
    session, page, dialog, tiny_model
):
    session.exporter.made = tiny_model
    session.exporter.notice = "Other apps cannot spell the word."
    hold(session, 2)
    dialog.form.start.click()
    session.wait(lambda: session.conversion.snapshot.share == 0.55)
    assert dialog.progress.parts.texts == (
        ("UNet", "1.7 GB  ·  66 dB to torch"),
        ("Text encoder", "converting"),
        ("VAE, latents to pictures", "waits"),
        ("VAE, pictures to latents", "waits"),
    )
    assert dialog.progress.doing.text() == "Text encoder: converting  ·  55%  ·  about 5 min left"
    assert "spell" in dialog.progress.notices.text()
    assert visible(dialog) == ["Cancel", "Hide"]
    session.exporter.gate.set()
    session.wait(lambda: phase(session) is Phase.FINISHED)
    session.wait(dialog.progress.use.isEnabled)
    name = f"{MODEL}-coreml"
    assert title_of(page.details.row) == name
    assert page.details.row.owned
    assert visible(dialog) == ["Use It Now", "Close"]
    dialog.progress.use.click()
    assert not dialog.isVisible()
    assert session.window.shell.page == CREATE
    assert session.panel.model.chosen_model == name


def test_converted_model_is_deleted_when_it_is_removed(session, page, dialog, tiny_model):
    session.exporter.made = tiny_model
    run(session, dialog)
    folder = session.profile.models / f"{MODEL}-coreml"
    session.wait(lambda: any(row.path == folder for row in session.shelf.snapshot.models))
    session.shelf.remove(f"{MODEL}-coreml")
    session.wait(lambda: not folder.exists())


def test_what_lies_outside_the_data_folder_stays_the_persons_own(session, tiny_model, tmp_path):
    folder = Path(shutil.copytree(tiny_model, tmp_path / "elsewhere"))
    session.shelf.add((folder,), copy=False, own=True)
    session.wait(lambda: any(row.path == folder for row in session.shelf.snapshot.models))
    assert not row_of(session, "elsewhere").owned


def test_cancelled_conversion_goes_on_from_its_finished_parts(session, dialog):
    hold(session, 3)
    dialog.form.start.click()
    session.wait(lambda: len(session.conversion.snapshot.written) == 2)
    dialog.progress.stop.click()
    session.wait(lambda: phase(session) is Phase.STOPPED)
    assert session.exporter.closed == 1
    words = dialog.progress.words.text()
    assert "2 of 4 parts" in words
    assert "goes on from there" in words
    assert visible(dialog) == ["Go On", "Change Settings", "Close"]
    session.exporter.gate.set()
    dialog.progress.resume.click()
    session.wait(lambda: phase(session) is Phase.FINISHED)
    first, second = session.exporter.requests
    assert first == second
    assert [part.kept for part in session.conversion.snapshot.written] == [True, True, False, False]
    assert dialog.progress.parts.texts[0][1].endswith("kept")


def test_settings_can_be_changed_after_a_stop(session, dialog):
    hold(session, 1)
    dialog.form.compression.packing.set_value(Packing.INT8)
    dialog.form.start.click()
    session.wait(lambda: session.conversion.snapshot.step is not None)
    dialog.progress.stop.click()
    session.wait(lambda: phase(session) is Phase.STOPPED)
    dialog.progress.settings.click()
    assert dialog.form.isVisible()
    assert dialog.form.request().compression == Compression(Packing.INT8)


def test_error_is_one_sentence_and_can_be_tried_again(session, page, dialog):
    session.exporter.error = ExportFailed("The UNet cannot be converted; export the others.")
    run(session, dialog)
    assert phase(session) is Phase.FAILED
    assert dialog.progress.words.text() == "The UNet cannot be converted; export the others."
    assert visible(dialog) == ["Try Again", "Change Settings", "Close"]
    dialog.progress.resume.click()
    session.wait(lambda: phase(session) is Phase.FINISHED)


def test_error_is_told_in_the_page_while_the_dialogue_is_closed(session, page, dialog):
    session.exporter.error = ExportFailed("The UNet cannot be converted; export the others.")
    dialog.form.start.click()
    dialog.close()
    session.wait(lambda: not phase(session).is_busy)
    assert "UNet cannot" in page.banner.message.text()
    page.banner.action.click()
    assert dialog.isVisible()


def test_wrong_choice_is_told_beside_the_control(session, dialog):
    dialog.form.sizes.add.click()
    dialog.form.sizes.fields[1].height_spin.setValue(512)
    dialog.form.start.click()
    assert phase(session) is Phase.NONE
    assert "twice" in dialog.banner.message.text()
    assert dialog.form.sizes.first.width_spin.hasFocus()


@pytest.mark.parametrize("unit", Target)
def test_every_target_that_can_be_set_can_be_held(dialog, unit):
    compression = dialog.form.compression
    compression.packing.set_value(Packing.MIXED)
    compression.target_unit.set_value(unit)
    for end in (compression.target.minimum(), compression.target.maximum()):
        compression.target.setValue(end)
        assert end in (compression.value().bits, compression.value().decibels)


def test_parts_that_are_left_out_stay_out(session, dialog):
    form = dialog.form
    form.controls.boxes[str(row_of(session, "scribble").path)].setChecked(True)
    form.parts.boxes[PartName.VAE_ENCODER].setChecked(False)
    assert PartName.VAE_ENCODER not in form.request().parts
    assert {PartName.UNET, CONTROL_PART} < set(form.request().parts)
    for box in (*form.parts.boxes.values(), *form.controls.boxes.values()):
        box.setChecked(False)
    form.start.click()
    assert phase(session) is Phase.NONE
    assert "all left out" in dialog.banner.message.text()


def test_closed_dialogue_leaves_the_work_on_the_page(session, page, dialog):
    hold(session, 1)
    dialog.form.start.click()
    session.wait(lambda: session.conversion.snapshot.step is not None)
    session.press(Qt.Key.Key_Escape, at=dialog)
    assert not dialog.isVisible()
    assert phase(session) is Phase.RUNNING
    assert "UNet" in page.work_bar.text.accessibleName()
    page.work_bar.show_conversion.click()
    assert dialog.isVisible()
    assert dialog.progress.isVisible()
    session.exporter.gate.set()
    session.wait(lambda: phase(session) is Phase.FINISHED)
    assert not page.work_bar.show_conversion.isVisible()


def test_pictures_are_made_meanwhile(session, dialog):
    hold(session, 1)
    dialog.form.start.click()
    session.wait(lambda: session.conversion.snapshot.step is not None)
    assert not dialog.isModal()
    session.generate()
    session.wait_idle()
    assert len(session.files()) == 1
    assert phase(session) is Phase.RUNNING


def test_closing_the_window_ends_the_conversion(session, dialog):
    hold(session, 2)
    dialog.form.start.click()
    session.wait(lambda: len(session.conversion.snapshot.written) == 1)
    session.window.close()
    session.conversion.close()
    assert session.exporter.closed == 1


def test_keyboard_alone_converts(session, page, dialog):
    form = dialog.form
    assert form.layout_choice.hasFocus()
    session.press(Qt.Key.Key_Down, at=form.layout_choice)
    assert form.layout_choice.value() is Layout.ORIGINAL
    session.press(Qt.Key.Key_Return, at=form.layout_choice)
    session.wait(lambda: phase(session) is Phase.FINISHED)
    assert dialog.focusWidget() in (dialog.progress.hide_button, dialog.progress.use)


def test_menu_of_a_model_offers_it_by_its_whole_name(session, page):
    page.panel.list.turn_to("model starter")
    menu = QMenu()
    page.details.fill(menu)
    texts = [action.text() for action in menu.actions()]
    assert "Convert for the Neural Engine…" in texts
    page.panel.list.turn_to("model ink-wash")
    assert not page.details.convert.isVisible()


def test_button_says_why_a_model_cannot_be_converted(session, page):
    button = page.details.convert
    page.panel.list.turn_to("model starter")
    assert button.isEnabled()
    page.details.set_no_converter("Core ML models are written by coremltools.")
    assert not button.isEnabled()
    assert button.toolTip() == "Core ML models are written by coremltools."
    page.details.set_no_converter("")
    starter = row_of(session, "starter")
    card = dataclasses.replace(starter.card, sizes=((512, 512),))
    page.details.show_row(dataclasses.replace(starter, card=card))
    assert "converted already" in button.toolTip()
    broken = dataclasses.replace(row_of(session, MODEL), card=None, refused="It is damaged.")
    page.details.show_row(broken)
    assert button.toolTip() == "It is damaged."


def test_place_is_new_or_that_of_a_conversion_that_was_stopped(session, page):
    models = session.profile.models
    usual = models / "starter-coreml"
    assert usual_place(models, "starter", ExportFormat.COREML, ()) == usual
    usual.mkdir(parents=True)
    (usual / "notes.txt").write_text("mine")
    second = models / "starter-coreml-2"
    assert usual_place(models, "starter", ExportFormat.COREML, ()) == second
    request = ExportRequest(model="starter", out=str(usual), sizes=((128, 128),))
    (usual / MANIFEST).write_text(manifest_of(request).to_json())
    assert usual_place(models, "starter", ExportFormat.COREML, ()) == usual
    assert usual_place(models, "starter", ExportFormat.COREML, (usual,)) == second
    page.convert(row_of(session, "starter"))
    form = page.convert_dialog.form
    assert form.place.value() == usual
    assert "was stopped there" in form.place.note.text()


def leave(request, age=0):
    """Leave what an export that was stopped leaves of itself, so many seconds ago."""
    Path(request.out).mkdir(parents=True)
    manifest = Path(request.out, MANIFEST)
    manifest.write_text(manifest_of(request).to_json())
    os.utime(manifest, (1e9 - age, 1e9 - age))


def everything(session):
    """A conversion with nothing in it as it is by default."""
    path = {row.name: str(row.path) for row in session.shelf.snapshot.models}
    return ExportRequest(
        model=MODEL,
        out=str(session.profile.models / "mine"),
        layout=Layout.ORIGINAL,
        sizes=((512, 512), (768, 512)),
        batch=1,
        compression=Compression.parse("mixed:4.5"),
        loras=(LoraUse(path=path["ink-wash"], weight=0.6),),
        embeddings=(EmbeddingUse(path=path["soft-light"], token="soft-light"),),
        vae=path["sharper-vae"],
        controls=(path["scribble"],),
        parts=(PartName.UNET, PartName.VAE_DECODER, CONTROL_PART),
        check=False,
    )


def test_stopped_conversion_goes_on_after_a_restart_with_all_that_it_was(session, page):
    request = everything(session)
    leave(request)
    leave(ExportRequest(model=MODEL, out=str(session.profile.models / "older")), age=60)
    page.convert(row_of(session, MODEL))
    dialog = page.convert_dialog
    assert "was stopped there" in dialog.form.place.note.text()
    assert dialog.form.baked.is_open()
    assert dialog.form.more.is_open()
    dialog.form.start.click()
    session.wait(lambda: not phase(session).is_busy)
    assert session.exporter.requests == [request]


@pytest.mark.parametrize(
    "changes",
    [
        {"format": ExportFormat.COREAI, "layout": Layout.ORIGINAL},
        {"layout": Layout.SPLIT_EINSUM, "chunk": True},
    ],
)
def test_stopped_conversion_is_found_whatever_it_is_for(session, page, changes):
    out = session.profile.models / f"{MODEL}-{changes.get('format', ExportFormat.COREML)}"
    request = ExportRequest(model=MODEL, out=str(out), sizes=((512, 512),), **changes)
    leave(request)
    page.convert(row_of(session, MODEL))
    form = page.convert_dialog.form
    assert form.request() == request
    assert form.place.name.text() == ""
    page.convert(row_of(session, "starter"))
    assert form.kind.value() is ExportFormat.COREML


def test_what_a_stopped_conversion_had_and_the_library_lacks_is_named(session, page):
    request = everything(session)
    lost = (LoraUse(path="/gone/grainy.safetensors"), *request.loras)
    leave(dataclasses.replace(request, loras=lost))
    page.convert(row_of(session, MODEL))
    form = page.convert_dialog.form
    assert form.request() == request
    assert "does not have grainy.safetensors" in form.lacking.text()


def test_conversion_that_does_not_tell_what_it_was_is_left_alone(session, page):
    usual = session.profile.models / "starter-coreml"
    request = ExportRequest(model="starter", out=str(usual), sizes=((128, 128),))
    leave(request)
    manifest = dataclasses.replace(manifest_of(request), request={})
    (usual / MANIFEST).write_text(manifest.to_json())
    page.convert(row_of(session, "starter"))
    assert page.convert_dialog.form.place.value() == session.profile.models / "starter-coreml-2"


@pytest.fixture
def refused(session, page, cards):
    """The run of a converted model, which fails for want of a LoRA."""

    def run_it(begun, lora="ink-wash"):
        cards[begun.out] = dataclasses.replace(CARD, name=begun.out)
        session.engine.error = NeedsExport("loras", "The weights are fixed.")
        session.generate(f"a fox <lora:{lora}:0.7>", model=begun.out)
        session.wait_idle()
        assert session.results.banner.message.text() == "The weights are fixed."
        return session.results.banner

    return run_it


@pytest.mark.parametrize("lora", ["ink-wash", "Ink-Wash"])
@pytest.mark.parametrize("by_path", [False, True])
def test_what_a_converted_model_lacks_is_a_click_away(session, page, refused, lora, by_path):
    begun = dataclasses.replace(everything(session), loras=())
    model = str(row_of(session, MODEL).path) if by_path else MODEL
    leave(dataclasses.replace(begun, model=model))
    banner = refused(begun, lora)
    assert banner.action.text() == "Convert Again…"
    banner.action.click()
    dialog = page.convert_dialog
    assert dialog.isVisible()
    path = str(row_of(session, "ink-wash").path)
    assert dialog.form.request() == dataclasses.replace(
        begun,
        out=str(session.profile.models / f"{MODEL}-coreml"),
        loras=(LoraUse(path=path, weight=0.7),),
    )


def test_what_is_wanted_again_and_the_library_lacks_is_named(session, page, refused):
    begun = dataclasses.replace(
        everything(session), loras=(LoraUse(path="/gone/grain.safetensors"),)
    )
    leave(begun)
    refused(begun).action.click()
    form = page.convert_dialog.form
    assert "does not have grain.safetensors" in form.lacking.text()
    page.convert(row_of(session, "starter"))
    assert form.lacking.text() == ""


def test_what_is_wanted_is_chosen_though_its_format_cannot_be_written(session, page, qtbot):
    form = ConvertForm(session.profile.models, {ExportFormat.COREAI: "There is no converter."})
    qtbot.addWidget(form)
    wanted = dataclasses.replace(
        everything(session),
        format=ExportFormat.COREAI,
        layout=Layout.ORIGINAL,
        compression=Compression(),
    )
    form.show_model(row_of(session, MODEL), session.shelf.snapshot.models, wanted)
    out = str(session.profile.models / f"{MODEL}-coreml")
    assert form.request() == dataclasses.replace(wanted, format=ExportFormat.COREML, out=out)


def test_converted_model_without_an_origin_says_what_to_do(session, page, refused):
    begun = dataclasses.replace(everything(session), model="gone")
    leave(begun)
    banner = refused(begun)
    banner.action.click()
    assert page.convert_dialog is None
    assert "gone, which" in banner.message.text()
    assert "is not in the library; add it" in banner.message.text()


@pytest.mark.parametrize("request_", [{}, {"out": "o", "wings": 2}])
def test_converted_model_that_does_not_tell_how_says_what_to_do(session, page, refused, request_):
    begun = everything(session)
    leave(begun)
    manifest = dataclasses.replace(manifest_of(begun), request=request_)
    Path(begun.out, MANIFEST).write_text(manifest.to_json())
    banner = refused(begun)
    banner.action.click()
    assert banner.message.text() == (
        f"{begun.out} does not tell how it was made; convert {MODEL} again on the Models page."
    )
    Path(begun.out, MANIFEST).unlink()
    banner = refused(begun)
    banner.action.click()
    assert "convert the model that it was made from again" in banner.message.text()


def test_model_that_cannot_be_converted_again_says_why(session, page, refused, monkeypatch):
    begun = everything(session)
    leave(begun)
    banner = refused(begun)
    row = dataclasses.replace(row_of(session, MODEL), card=None, refused="Its files are damaged.")
    monkeypatch.setattr(session.shelf, "_snapshot", ShelfSnapshot(models=(row,)))
    banner.action.click()
    assert page.convert_dialog is None
    assert banner.message.text().endswith("cannot be converted again: Its files are damaged.")


def test_large_models_are_for_the_gpu(session, page):
    starter = row_of(session, "starter")
    assert starter.card is not None
    assert usual_layout(starter) is Layout.SPLIT_EINSUM
    xl = dataclasses.replace(starter.card, needs_size=True)
    assert usual_layout(dataclasses.replace(starter, card=xl)) is Layout.ORIGINAL
    large = dataclasses.replace(starter.card, width=1024)
    assert usual_layout(dataclasses.replace(starter, card=large)) is Layout.ORIGINAL


def test_every_part_has_a_name(dialog):
    assert dialog.form.parts.boxes.keys() == set(SIZES)
    assert dialog.form._fitting(Kind.LORA)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("coremltools") is None, reason="coremltools is not installed here")
def test_part_of_the_starter_is_converted_for_real(session, page):
    """The smallest part: half a minute, most of it for torch and coremltools to load."""
    session.exporter.real = partial(export, profile=session.profile)
    page.convert(row_of(session, "starter"))
    dialog = page.convert_dialog
    for name, box in dialog.form.parts.boxes.items():
        box.setChecked(name == PartName.TEXT_ENCODER)
    dialog.form.start.click()
    session.qtbot.waitUntil(lambda: not phase(session).is_busy, timeout=300_000)
    assert session.conversion.snapshot.message == ""
    (made,) = session.conversion.snapshot.written
    assert made.record.psnr["fp32"] > 60
    assert made.path.is_dir()
    session.wait(lambda: title_of(page.details.row) == "starter-coreml")
    assert "converted already" in page.details.convert.toolTip()
    if sys.platform != "darwin":
        assert not dialog.progress.use.isEnabled()
        assert "Mac" in dialog.progress.use.toolTip()
