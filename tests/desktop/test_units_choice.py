"""The choice of what runs an exported model, in the window with a scripted engine."""

from __future__ import annotations

import dataclasses
import sys

import pytest
from PySide6.QtCore import Qt

from core.compute_units import AUTO, ComputeUnits, units_of
from core.models import catalog
from core.models.exported_limits import refusal_here
from core.models.identify import identify
from core.request import TextToImage, Upscale
from desktop.recall import Recalled
from desktop.settings import CreateSettings
from desktop.widgets.units_choice import EACH, UnitsChoice
from tests.desktop.conftest import CARD
from tests.desktop.fake_engine import picture_file
from tests.fixtures.packages import UNET_INPUTS, write_foreign

ANE, GPU = ComputeUnits.CPU_ANE, ComputeUnits.CPU_GPU
USUAL = dict.fromkeys(("TextEncoder", "Unet", "VAEDecoder"), GPU)
MIXED = "TextEncoder=cpu-gpu,Unet=cpu-ane,VAEDecoder=cpu-gpu"


@pytest.fixture
def exported(cards):
    """The names of two models that this machine runs on chosen processors."""
    for name, usual in (("first", USUAL), ("second", dict.fromkeys((*USUAL, "VAEEncoder"), ANE))):
        cards[name] = dataclasses.replace(CARD, name=name, title=name, usual_units=usual)
    return "first", "second"


@pytest.fixture
def units(session, exported) -> UnitsChoice:
    """The control, in sight, with the first of them chosen."""
    session.panel.fold.set_open(shown=True)
    session.set(model="first")
    return session.panel.advanced.units


def asked(session) -> str:
    return session.panel.asked().request().compute_units


def test_only_exported_models_have_it(session, units):
    label = session.panel.advanced.layout().itemAt(6).widget()
    assert label.buddy() is units
    assert units.isVisible()
    assert label.isVisible()
    units.whole.set_value(GPU)
    session.set(model="starter")
    assert not units.isVisible()
    assert not label.isVisible()
    assert asked(session) == AUTO


def test_automatic_says_what_it_means_and_is_left_to_the_engine(session, units):
    assert units.whole.currentText() == "Automatic (GPU)"
    assert asked(session) == AUTO
    session.set(model="second")
    assert units.whole.currentText() == "Automatic (Neural Engine)"


def test_keyboard_alone_gives_each_part_its_own(session, units):
    units.whole.setFocus()
    session.press(Qt.Key.Key_Down, at=units.whole)
    assert asked(session) == "cpu-ane"
    assert not units.parts["Unet"].isVisible()
    session.press(Qt.Key.Key_End, at=units.whole)
    assert units.whole.value() == EACH
    assert [choice.value() for choice in units.parts.values()] == [ANE] * 3
    assert [choice.accessibleName() for choice in units.parts.values()] == [
        "Text encoder",
        "UNet",
        "VAE, latents to pictures",
    ]
    session.press(Qt.Key.Key_Tab, at=units.whole)
    session.press(Qt.Key.Key_Down, at=units.parts["TextEncoder"])
    session.press(Qt.Key.Key_Tab, at=units.parts["TextEncoder"])
    assert units.parts["Unet"].hasFocus()
    assert units_of(asked(session), USUAL) == {"TextEncoder": GPU, "Unet": ANE, "VAEDecoder": ANE}


@pytest.mark.parametrize("text", [AUTO, *ComputeUnits, MIXED])
def test_what_is_shown_is_what_was_asked_for(session, units, text):
    session.set(compute_units=text)
    assert asked(session) == text
    assert units.parts["Unet"].isVisible() is (text == MIXED)


@pytest.mark.parametrize("text", ["TextEncoder2=cpu", "gpu", ""])
def test_what_the_model_cannot_have_becomes_automatic(session, units, text):
    session.set(compute_units=MIXED)
    session.set(compute_units=text)
    assert asked(session) == AUTO


def test_a_model_of_one_part_has_no_choice_for_each(session, units, cards):
    cards["first"] = dataclasses.replace(cards["first"], usual_units={"Unet": GPU})
    session.set(compute_units=MIXED)
    session.panel.model.set_model("first")
    assert asked(session) == AUTO
    units.whole.set_value(EACH)
    assert units.whole.value() == AUTO


def test_another_model_begins_at_automatic(session, units):
    session.set(compute_units=MIXED)
    session.panel.model.set_model("second")
    assert asked(session) == AUTO
    assert tuple(units.parts) == (*USUAL, "VAEEncoder")


def test_the_same_model_read_anew_keeps_its_choice(session, units, cards):
    session.set(compute_units=MIXED)
    cards["first"] = dataclasses.replace(cards["first"], steps=9)
    session.panel.model.set_model("first")
    assert asked(session) == MIXED


@pytest.mark.parametrize("text", ["cpu-ane", MIXED])
def test_it_is_there_again_after_a_restart(open_window, exported, text):
    first = open_window()
    first.set(model="first", compute_units=text)
    first.close()
    second = open_window()
    assert second.panel.values().model == "first"
    assert asked(second) == text


def test_a_picture_brings_it_back(session, units):
    session.generate(compute_units=MIXED)
    session.wait_idle()
    session.set(model="second", compute_units="cpu")
    session.page.reuse(session.files()[0])
    assert session.panel.values().model == "first"
    assert asked(session) == MIXED


def test_a_picture_that_says_nothing_is_made_larger_on_what_is_chosen(session, cards, tmp_path):
    cards["starter"] = dataclasses.replace(CARD, usual_units=USUAL)
    session.panel.model.set_model("starter")
    session.set(compute_units=MIXED)
    session.page.enlarge(picture_file(tmp_path / "plain.png"))
    session.wait_idle()
    (larger,) = session.engine.requests
    assert isinstance(larger, Upscale)
    assert larger.compute_units == MIXED


@pytest.mark.parametrize(
    ("said", "kept"), [({"prompts", "steps"}, MIXED), ({"prompts", "model"}, AUTO)]
)
def test_another_programs_picture_leaves_it_unless_it_names_a_model(said, kept):
    now = CreateSettings(model="first", compute_units=MIXED)
    request = TextToImage(prompts=("a fox",), model="second")
    assert Recalled(request, 0, frozenset(said)).settings(now).compute_units == kept


def test_where_it_does_not_run_it_says_so_and_asks_for_nothing(session, tmp_path):
    folder = write_foreign(tmp_path / "foreign-coreml", UNET_INPUTS)
    session.panel.fold.set_open(shown=True)
    session.set(model=str(folder), compute_units="cpu-ane")
    control = session.panel.advanced.units
    assert control.isVisible()
    runs_here = sys.platform == "darwin"
    assert control.isEnabled() is runs_here
    assert asked(session) == ("cpu-ane" if runs_here else AUTO)
    if not runs_here:
        assert control.toolTip() == refusal_here(identify(folder).exported)
        assert control.whole.itemText(0) == "Automatic"
    assert catalog.card(str(folder)).usual_units.keys() == control.parts.keys()
