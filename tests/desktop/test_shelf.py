"""The library behind the window, with real files and a hub on this machine."""

from __future__ import annotations

import shutil

import pytest

from core.models import curated
from core.models.library import Library
from core.models.verdict import Kind
from core.paths import Profile
from desktop.library_worker import Downloads
from desktop.shelf import Shelf
from desktop.shelf_messages import MessageKind
from desktop.shelf_snapshot import TransferState
from tests.core.models.conftest import hub
from tests.desktop.shelf_files import embedding, lora

__all__ = ["hub"]  # The fixture of the downloads' own tests.

UNET = "unet/diffusion_pytorch_model.fp16.safetensors"
ID = "bk-sdm-tiny"


@pytest.fixture
def profile(tmp_path):
    return Profile(tmp_path / "profile")


@pytest.fixture
def shelf(profile, qapp):
    shelf = Shelf(Library(profile), Downloads(profile))
    shelf.messages = []
    shelf.told.connect(shelf.messages.append)
    shelf.start()
    yield shelf
    shelf.close()


@pytest.fixture
def offered(hub, monkeypatch, tmp_path):
    """The hub has a model of our own list, and a child process finds it there."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    hub.repos[curated.find(ID).repo] = hub.repos["some-one/tiny"]
    return hub


def names(shelf):
    return [row.name for row in shelf.snapshot.models]


def wait_idle(shelf, qtbot):
    qtbot.waitUntil(lambda: shelf.snapshot.work is None and not shelf._reads, timeout=20_000)


def test_the_starter_model_is_there_at_once(shelf, qtbot):
    qtbot.waitUntil(lambda: names(shelf) == ["starter"])


def test_files_are_added_where_they_lie_or_copied(shelf, qtbot, tmp_path, profile):
    shelf.add([lora(tmp_path / "ink.safetensors")], copy=False)
    shelf.add([embedding(tmp_path / "mood.safetensors")], copy=True)
    wait_idle(shelf, qtbot)
    ink, mood = shelf.snapshot.models[1:]
    assert (ink.name, ink.kind, ink.owned) == ("ink", Kind.LORA, False)
    assert (mood.name, mood.kind, mood.owned) == ("mood", Kind.EMBEDDING, True)
    assert profile.models in mood.path.parents
    assert [m.kind for m in shelf.messages] == [MessageKind.NOTICE] * 2


def test_a_folder_gives_what_it_has_and_one_message(shelf, qtbot, tmp_path):
    folder = tmp_path / "mine"
    for name in "abcde":
        (folder / f"{name}.safetensors").parent.mkdir(exist_ok=True)
        (folder / f"{name}.safetensors").write_bytes(b"<html>")
    lora(folder / "sub" / "ink.safetensors")
    added = []
    shelf.added.connect(added.append)
    shelf.add([folder], copy=False)
    wait_idle(shelf, qtbot)
    assert names(shelf) == ["starter", "ink"]
    (message,) = shelf.messages
    first, *refused, more = message.text.split("\n")
    assert message.kind is MessageKind.ERROR
    assert first.startswith("1 of 6")
    assert all("web page" in line for line in refused)
    assert more == "And 2 more were refused."
    assert added == ["ink"]


def test_nothing_to_add_is_said(shelf, qtbot, tmp_path):
    (tmp_path / "empty").mkdir()
    shelf.add([tmp_path / "empty"], copy=False)
    wait_idle(shelf, qtbot)
    (message,) = shelf.messages
    assert "no model in empty" in message.text


def test_verify_finds_what_moved(shelf, qtbot, tmp_path):
    path = lora(tmp_path / "a" / "b" / "ink.safetensors")
    shelf.add([path], copy=False)
    shelf.verify("ink")
    wait_idle(shelf, qtbot)
    assert "sound" in shelf.messages[-1].text
    elsewhere = tmp_path / "x" / "y" / "z"
    elsewhere.mkdir(parents=True)
    shutil.move(path, elsewhere / "ink2.safetensors")
    shutil.rmtree(tmp_path / "a")
    shelf.refresh()
    qtbot.waitUntil(lambda: shelf.snapshot.models[1].missing)
    shelf.verify("ink", [tmp_path / "x"])
    wait_idle(shelf, qtbot)
    assert "found again" in shelf.messages[-1].text
    assert shelf.snapshot.models[1].path == elsewhere / "ink2.safetensors"


def test_remove_says_what_became_of_the_files(shelf, qtbot, tmp_path):
    kept = lora(tmp_path / "ink.safetensors")
    shelf.add([kept], copy=False)
    shelf.add([embedding(tmp_path / "mood.safetensors")], copy=True)
    wait_idle(shelf, qtbot)
    copied = shelf.snapshot.models[2].path
    shelf.remove("ink")
    shelf.remove("mood")
    wait_idle(shelf, qtbot)
    assert names(shelf) == ["starter"]
    stays, deleted = (message.text for message in shelf.messages[-2:])
    assert "stay" in stays
    assert kept.exists()
    assert "deleted" in deleted
    assert not copied.exists()


def test_damaged_list_is_said_once_and_the_starter_stays(shelf, qtbot, profile):
    profile.root.mkdir(exist_ok=True)
    profile.library_file.write_text("{")
    shelf.refresh()
    shelf.refresh()
    wait_idle(shelf, qtbot)
    assert names(shelf) == ["starter"]
    (message,) = shelf.messages
    assert "library" in message.text


def test_a_model_is_downloaded_in_a_child_process(shelf, qtbot, offered):
    shelf.download(ID)
    shelf.download("vae-ft-mse")
    assert shelf.snapshot.offer(ID).transfer.state is TransferState.RUNNING
    assert shelf.snapshot.offer("vae-ft-mse").transfer.state is TransferState.WAITING
    shelf.stop_download("vae-ft-mse")
    assert shelf.snapshot.offer("vae-ft-mse").transfer is None
    with qtbot.waitSignal(shelf.told, timeout=60_000):
        pass
    wait_idle(shelf, qtbot)
    qtbot.waitUntil(lambda: names(shelf) == ["starter", ID], timeout=20_000)
    offer = shelf.snapshot.offer(ID)
    assert offer.installed
    assert offer.transfer is None
    row = shelf.snapshot.models[1]
    assert row.owned
    assert row.licence == curated.find(ID).licence


def test_a_stopped_download_keeps_what_has_arrived_and_goes_on(shelf, qtbot, offered, profile):
    offered.faults[UNET] = [("stall", 5000)]
    shelf.download(ID)

    def arriving():
        transfer = shelf.snapshot.offer(ID).transfer
        return bool(transfer and transfer.progress and transfer.progress.done > 5000)

    qtbot.waitUntil(arriving, timeout=60_000)
    shelf.stop_download(ID)
    assert shelf.snapshot.offer(ID).transfer.state is TransferState.STOPPING
    qtbot.waitUntil(lambda: shelf.snapshot.offer(ID).arrived > 5000, timeout=20_000)
    assert shelf.snapshot.offer(ID).transfer is None
    assert shelf.messages == []
    offered.stalls.set()
    shelf.download(ID)
    qtbot.waitUntil(lambda: names(shelf) == ["starter", ID], timeout=60_000)
    assert any(asked not in (None, "") for asked in offered.ranges_asked(UNET))
    assert shelf.snapshot.offer(ID).arrived == 0


def test_what_has_arrived_can_be_forgotten(shelf, qtbot, offered, profile):
    offered.faults[UNET] = [("stall", 5000)]
    shelf.download(ID)
    qtbot.waitUntil(lambda: bool(list(profile.models.rglob("*.part"))), timeout=60_000)
    shelf.stop_download(ID)
    qtbot.waitUntil(lambda: shelf.snapshot.offer(ID).arrived > 0, timeout=20_000)
    shelf.forget_download(ID)
    wait_idle(shelf, qtbot)
    assert shelf.snapshot.offer(ID).arrived == 0
    assert list(profile.models.iterdir()) == []


def test_a_gated_model_is_explained(shelf, qtbot, offered):
    offered.gated = True
    with qtbot.waitSignal(shelf.told, timeout=60_000):
        shelf.download(ID)
    (message,) = shelf.messages
    assert message.kind is MessageKind.ERROR
    assert "accept its terms" in message.text
    assert "\n" not in message.text


def test_what_arrived_before_a_restart_is_known(profile, qapp, qtbot):
    repo = curated.find(ID).repo.replace("/", "--")
    partial = profile.models / f".partial-{repo}-{'0' * 40}-fp16" / "unet"
    partial.mkdir(parents=True)
    (partial / "weights.safetensors.part").write_bytes(bytes(10))
    shelf = Shelf(Library(profile), Downloads(profile))
    shelf.start()
    qtbot.waitUntil(lambda: shelf.snapshot.offer(ID).arrived == 10)
    shelf.close()
