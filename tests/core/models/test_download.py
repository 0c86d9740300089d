"""Downloads against a hub on this machine that does everything wrong that a hub can do."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from core.errors import (
    CoreError,
    DownloadFailed,
    InvalidRequest,
    ModelInvalid,
    ModelMissing,
    SaveFailed,
    UnsafeFile,
    Unsupported,
)
from core.events import Notice
from core.models import download as downloads
from core.models import hub as hub_module
from core.models.download import download
from core.models.identify import identify
from core.models.library import Library
from core.models.library_events import Added, LibraryEvent, Outcome, Progress, Task
from core.models.partial_downloads import discard_download, partial_downloads
from core.models.repo_files import Variant
from tests.core.models.conftest import REPO
from tests.core.models.hub_stand_in import HubStandIn

ROOT = Path(__file__).parents[3]
UNET = "unet/diffusion_pytorch_model.fp16.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
CONFIG = "unet/config.json"
UNDERSCORED = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less between tries, and take any bytes for progress."""
    monkeypatch.setattr(downloads, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(downloads, "TRIES", 4)
    monkeypatch.setattr(downloads, "WORTH_IT", 1000)
    monkeypatch.setattr(hub_module, "STALL_SECONDS", 0.4)
    monkeypatch.setattr(hub_module, "BEAT_SECONDS", 0.05)


def fetched(shelf: Library, model_id: str = REPO, **options) -> Added:
    *_, added = download(model_id, shelf, **options)
    assert isinstance(added, Added)
    return added


def assert_whole(shelf: Library, hub: HubStandIn, *, unet: str = UNET) -> None:
    """The library's only model is, byte for byte, what the hub has."""
    (entry,) = shelf.entries()
    there = {p.relative_to(entry.path).as_posix(): p for p in entry.path.rglob("*") if p.is_file()}
    assert {name: path.read_bytes() for name, path in there.items()} == {
        name: hub.repos[REPO][name] for name in there
    }
    assert unet in there
    assert identify(entry.path).weights
    assert [path.name for path in shelf.folder.iterdir()] == [entry.name]


def assert_no_model(shelf: Library) -> None:
    assert shelf.entries() == ()
    if shelf.folder.exists():
        assert all(path.name.startswith(".") for path in shelf.folder.iterdir())


def failure(shelf: Library, model_id: str = REPO, kind: type[CoreError] = DownloadFailed) -> str:
    with pytest.raises(kind) as caught:
        list(download(model_id, shelf))
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert_no_model(shelf)
    return message


def test_a_model_arrives_once_and_whole(shelf, hub):
    events = list(download(REPO, shelf))
    added = events[-1]
    assert isinstance(added, Added)
    assert (added.outcome, added.entry.name, added.entry.owned) == (Outcome.NEW, "tiny", True)
    assert added.entry.source == f"{REPO}@{hub.commit}"
    assert_whole(shelf, hub)
    asked = hub.files_asked()
    assert sorted(set(asked)) == sorted(
        path.relative_to(added.entry.path).as_posix()
        for path in added.entry.path.rglob("*")
        if path.is_file()
    )
    assert not any(name.startswith(("safety_checker", "README")) for name in asked)
    assert UNET.replace(".fp16", "") not in asked


def test_progress_goes_up_to_the_end(shelf, hub):
    progress = [
        event
        for event in download(REPO, shelf)
        if isinstance(event, Progress) and event.task is Task.DOWNLOAD
    ]
    done = [event.done for event in progress]
    assert done == sorted(done)
    assert (
        progress[-1].done
        == progress[-1].total
        == sum(len(hub.repos[REPO][name]) for name in set(hub.files_asked()))
    )


def test_full_precision_where_it_is_asked_for(shelf, hub):
    fetched(shelf, variant=Variant.FULL)
    assert_whole(shelf, hub, unet=UNET.replace(".fp16", ""))


def test_what_is_there_is_not_fetched_again(shelf, hub):
    fetched(shelf)
    before = len(hub.files_asked())
    assert fetched(shelf).outcome is Outcome.KNOWN
    assert len(hub.files_asked()) == before
    shutil.rmtree(shelf.entries()[0].path)
    assert fetched(shelf).outcome is Outcome.FOUND_AGAIN
    assert_whole(shelf, hub)


def test_the_full_weights_are_fetched_beside_the_smaller_ones(hub, shelf):
    full_unet = UNET.replace(".fp16", "")
    data = bytearray(hub.repos[REPO][full_unet])
    data[-1] ^= 1
    hub.repos[REPO][full_unet] = bytes(data)
    assert fetched(shelf).outcome is Outcome.NEW
    full = fetched(shelf, variant=Variant.FULL)
    assert full.outcome is Outcome.NEW
    assert (full.entry.path / full_unet).is_file()
    assert fetched(shelf, variant=Variant.FULL).outcome is Outcome.KNOWN
    assert fetched(shelf).outcome is Outcome.KNOWN


def test_hashes_are_known_without_another_reading(shelf, hub, monkeypatch):
    entry = fetched(shelf).entry
    monkeypatch.setattr("core.models.fingerprint.Fingerprints.reading", None)
    assert shelf.fingerprints.of_model(identify(entry.path).weights) == entry.sha256


def lora_file(stem: str = UNDERSCORED, width: int = 768) -> bytes:
    down, up = torch.zeros(4, width), torch.zeros(320, 4)
    return save({f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up})


def test_one_file_of_a_repository(shelf, hub):
    ink = lora_file()
    hub.repos["some-one/loras"] = {"styles/ink.safetensors": ink, "b.safetensors": b"b"}
    entry = fetched(shelf, "some-one/loras/styles/ink.safetensors").entry
    assert (entry.name, entry.path) == ("ink", shelf.folder / "ink" / "ink.safetensors")
    assert entry.sha256 == hashlib.sha256(ink).hexdigest()
    assert entry.title == "LoRA for Stable Diffusion 1.x"
    with pytest.raises(DownloadFailed, match=r"has no none\.safetensors"):
        fetched(shelf, "some-one/loras/none.safetensors")


def test_a_cut_connection_is_gone_on_with_where_it_ended(shelf, hub):
    size = len(hub.repos[REPO][UNET])
    hub.faults[UNET] = [("cut", size // 3), ("cut", size // 3), ("cut", 10)]
    events = list(download(REPO, shelf))
    assert_whole(shelf, hub)
    third = size // 3
    assert hub.ranges_asked(UNET) == [
        None,
        f"bytes={third}-",
        f"bytes={2 * third}-",
        f"bytes={2 * third + 10}-",
    ]
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert len(notices) == 3
    assert all("Trying again" in message for message in notices)


def test_a_connection_that_is_always_cut_ends_in_one_sentence(shelf, hub):
    hub.faults[UNET] = [("cut", 0)] * 9
    assert "what has arrived is kept" in failure(shelf)
    assert len(hub.ranges_asked(UNET)) == downloads.TRIES
    hub.faults.clear()
    before = len(hub.files_asked())
    fetched(shelf)
    assert_whole(shelf, hub)
    # The small files, the list of components aside, were here.
    assert len(hub.files_asked()) - before < before


def test_a_stall_is_noticed_and_gone_on_with(shelf, hub):
    hub.faults[UNET] = [("stall", 2000)]
    events = list(download(REPO, shelf))
    assert_whole(shelf, hub)
    assert hub.ranges_asked(UNET) == [None, "bytes=2000-"]
    assert any(isinstance(event, Notice) for event in events)


def until_stalled(events: Iterator[LibraryEvent], hub: HubStandIn) -> None:
    """Go on until the UNet has begun to arrive and nothing more comes."""
    for event in events:
        if isinstance(event, Progress) and event.what == UNET and event.done:
            break
    time.sleep(0.1)


def test_stopping_in_a_stall_is_at_once_and_keeps_what_came(shelf, hub, monkeypatch):
    monkeypatch.setattr(hub_module, "STALL_SECONDS", 30)
    monkeypatch.setattr("core.models.library_events.SHORTEST_SECONDS", 0)
    hub.faults[UNET] = [("stall", 2000)]
    events = download(REPO, shelf)
    until_stalled(events, hub)
    begin = time.perf_counter()
    next(events)
    events.close()
    assert time.perf_counter() - begin < 0.5
    assert_no_model(shelf)
    hub.stalls.set()
    fetched(shelf)
    assert_whole(shelf, hub)
    assert hub.ranges_asked(UNET) == [None, "bytes=2000-"]


def test_a_wrong_byte_is_noticed_and_the_file_fetched_anew(shelf, hub):
    hub.faults[UNET] = [("wrong", 1234)]
    hub.faults[CONFIG] = [("wrong", 3)]
    notices = [e.message for e in download(REPO, shelf) if isinstance(e, Notice)]
    assert_whole(shelf, hub)
    assert notices == [
        f"{CONFIG} arrived damaged and is fetched once more.",
        f"{UNET} arrived damaged and is fetched once more.",
    ]


def test_a_connection_that_begins_anew_and_is_cut_again_and_again_ends(shelf, hub):
    hub.faults[UNET] = [("cut", 9000), *([("no-range-cut", 9000)] * 99)]
    failure(shelf)
    assert len(hub.ranges_asked(UNET)) < 10


@pytest.mark.parametrize("name", [UNET, CONFIG])
def test_a_byte_that_is_wrong_twice_is_refused(shelf, hub, name):
    hub.faults[name] = [("wrong", 5), ("wrong", 5)]
    assert f"{name} of {REPO} arrived twice with other bytes" in failure(shelf)
    assert not list(shelf.folder.glob(f"*/{name}*"))


def test_a_wrong_byte_before_a_cut_is_noticed_after_it(shelf, hub):
    hub.faults[UNET] = [("cut", 3000)]
    events = download(REPO, shelf)
    for event in events:
        if isinstance(event, Notice):
            break
    events.close()
    (part,) = shelf.folder.rglob("*.part")
    data = bytearray(part.read_bytes())
    data[100] ^= 1
    part.write_bytes(data)
    fetched(shelf)
    assert_whole(shelf, hub)


@pytest.mark.parametrize(
    "fault", [("claims", 3000), ("longer", 50), ("slow", 9000), ("no-range", 0)]
)
def test_lies_about_the_length_do_no_harm(shelf, hub, fault):
    hub.faults[UNET] = [fault]
    fetched(shelf)
    assert_whole(shelf, hub)


def test_more_bytes_than_there_are_is_a_wrong_file(shelf, hub):
    hub.faults[UNET] = [("more", 50)]
    fetched(shelf)
    assert_whole(shelf, hub)
    assert hub.ranges_asked(UNET) == [None, None]


@pytest.mark.parametrize("difference", [-7, 7])
def test_a_listing_that_lies_about_a_size_is_refused(shelf, hub, difference):
    hub.sizes[UNET] = len(hub.repos[REPO][UNET]) + difference
    failure(shelf, REPO, CoreError)


@pytest.mark.parametrize("fault", ["no-range", "other-range", "no-such-range"])
def test_a_server_that_cannot_begin_in_the_middle_is_served(shelf, hub, fault):
    hub.faults[UNET] = [("cut", 3000), (fault, 17)]
    fetched(shelf)
    assert_whole(shelf, hub)


@pytest.mark.parametrize(
    ("where", "status"),
    [("api", 429), ("api", 500), ("api", 503), (UNET, 429), (UNET, 502), ("model_index.json", 504)],
)
def test_a_busy_hub_is_asked_again(shelf, hub, where, status):
    hub.faults[where] = [("status", status), ("status", status)]
    fetched(shelf)
    assert_whole(shelf, hub)


@pytest.mark.parametrize("where", ["api", UNET])
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (429, "asks for fewer requests (429)"),
        (503, "is out of order (503)"),
        (404, "no some-one/tiny at http"),
        (403, "does not let you read some-one/tiny (403)"),
        (401, "set HF_TOKEN"),
        (418, "answered 418"),
    ],
)
def test_a_hub_that_will_not_says_why(shelf, hub, where, status, words):
    hub.faults[where] = [("status", status)] * 9
    assert words in failure(shelf)


def test_a_hub_that_wants_an_hour_is_not_waited_for(shelf, hub, monkeypatch):
    monkeypatch.setattr(hub_module, "BUSY", (599,))
    hub.faults["api"] = [("status", 599)]
    begin = time.perf_counter()
    failure(shelf)
    assert time.perf_counter() - begin < 2


def test_no_such_repository(shelf, hub, monkeypatch):
    assert "check its name, or set HF_TOKEN" in failure(shelf, "some-one/none")
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert "There is no some-one/none" in failure(shelf, "some-one/none")


def test_a_gated_repository_says_what_to_do(shelf, hub, monkeypatch):
    hub.gated = True
    message = failure(shelf)
    for words in ("is gated", f"accept its terms at {hub.url}/{REPO}", "set HF_TOKEN to a token"):
        assert words in message
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert "the account of the token in use" in failure(shelf)


def test_the_token_is_sent_and_a_wrong_one_named(shelf, hub, monkeypatch):
    hub.token = "hf_right"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    message = failure(shelf)
    assert "does not accept the token" in message
    assert "hf_wrong" not in message
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    fetched(shelf)
    assert {asked.token for asked in hub.asked[1:]} == {"hf_right"}


def test_offline_is_said(shelf, hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in failure(shelf)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 cannot be reached" in failure(shelf)
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    assert "nonsense cannot be reached" in failure(shelf)


def test_a_full_disk_is_noticed_before_anything_comes(shelf, hub, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert "make room" in failure(shelf, kind=SaveFailed)
    assert hub.files_asked() == ["model_index.json"]


def test_pickles_are_not_fetched(shelf, hub):
    hub.repos["some-one/old"] = {"config.json": b"{}", "diffusion_pytorch_model.bin": b"pickle"}
    assert "a pickle" in failure(shelf, "some-one/old", UnsafeFile)
    assert hub.files_asked() == []


FLUX = "lora_unet_double_blocks_0_img_attn_proj"


def test_what_is_not_supported_is_refused_before_its_weights_come(shelf, hub):
    path = "some-one/loras/flux.safetensors"
    hub.repos["some-one/loras"] = {"flux.safetensors": lora_file(FLUX, 3072)}
    said = failure(shelf, path, Unsupported)
    assert said.startswith("some-one/loras is not downloaded: some-one/loras/flux.safetensors is a")
    assert "FLUX.1 LoRA" in said
    assert (hub.files_asked(), hub.looks_asked("flux.safetensors")) == ([], ["bytes=0-54519"])
    assert list(shelf.folder.iterdir()) == []
    files = hub.repos[REPO]
    files["unet/config.json"] = files["unet/config.json"].replace(b'"in_channels": 4', b'"in": 4')
    said = failure(shelf, REPO, Unsupported)
    assert said.startswith(f"{REPO} is not downloaded: ")
    assert f"The UNet of {REPO} takes None channels" in said
    assert not any(name.endswith(".safetensors") for name in hub.files_asked())
    assert list(shelf.folder.iterdir()) == []


def test_a_long_header_is_read_to_its_end(shelf, hub, monkeypatch):
    monkeypatch.setattr(downloads, "USUAL_HEADER", 100)
    fetched(shelf)
    length = int.from_bytes(hub.repos[REPO][UNET][:8], "little")
    assert hub.looks_asked(UNET) == ["bytes=0-99", f"bytes=0-{length + 7}"]
    assert_whole(shelf, hub)


@pytest.mark.parametrize("fault", [("cut", 50), ("no-range", 0), ("stall", 50), ("status", 503)])
def test_a_look_that_goes_wrong_is_taken_again(shelf, hub, fault):
    hub.faults[f"look {UNET}"] = [fault]
    fetched(shelf)
    assert_whole(shelf, hub)


def test_where_there_is_no_room_for_a_look_the_model_is_judged_when_it_is_here(
    shelf, hub, monkeypatch
):
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads.tempfile, "TemporaryDirectory", full)
    fetched(shelf)
    assert_whole(shelf, hub)
    assert hub.looks_asked(UNET) == []


def test_headers_that_make_no_sense_are_refused(shelf, hub):
    files = hub.repos[REPO]
    files[UNET] = b"\xff" * 8 + files[UNET][8:]
    assert "cannot hold the header that it announces" in failure(shelf, REPO, ModelInvalid)
    assert UNET not in hub.files_asked()


def test_what_arrived_whole_and_is_no_model_is_said_and_kept(shelf, hub):
    files = hub.repos[REPO]
    files["unet/config.json"] = files["unet/config.json"].replace(b'"in_channels": 4', b'"in": 4')
    # Weights that came before, of which nobody looked at the headers.
    begun = shelf.folder / f".partial-some-one--tiny-{hub.commit}-fp16" / f"{VAE}.part"
    begun.parent.mkdir(parents=True)
    begun.write_bytes(files[VAE][:100])
    with pytest.raises(CoreError, match="has arrived whole, but cannot be used"):
        list(download(REPO, shelf))
    assert_no_model(shelf)
    before = len(hub.files_asked())
    with pytest.raises(CoreError, match="has arrived whole"):
        list(download(REPO, shelf))
    assert hub.files_asked()[before:] == ["model_index.json"]


@pytest.mark.parametrize("model_id", ["", "none", "a/b/c/d", "../a", "a b/c", "https://x/y/z"])
def test_an_id_that_is_none_is_refused(shelf, hub, model_id):
    assert "owner/name" in failure(shelf, model_id, InvalidRequest)
    assert hub.asked == []


@pytest.mark.parametrize("text", [b"{", b"[]", b"x" * (2 << 20)])
def test_an_index_that_makes_no_sense_is_said(shelf, hub, text):
    hub.repos[REPO]["model_index.json"] = text
    assert "model_index.json of some-one/tiny is damaged" in failure(shelf)


def test_of_two_that_download_the_same_one_waits(shelf, hub):
    first = download(REPO, shelf)
    for event in first:
        if isinstance(event, Progress) and event.done:
            break
    with pytest.raises(DownloadFailed, match="Another Stepwise is downloading"):
        list(download(REPO, shelf))
    list(first)
    assert_whole(shelf, hub)


def test_a_newer_commit_takes_the_place_of_what_was_begun(shelf, hub):
    stopped(shelf, hub)
    hub.commit = "f" * 40
    hub.repos[REPO]["scheduler/scheduler_config.json"] += b"\n"
    fetched(shelf)
    assert_whole(shelf, hub)


def stopped(shelf: Library, hub: HubStandIn, model_id: str = REPO) -> None:
    hub.faults[UNET] = [("cut", 3000)]
    events = download(model_id, shelf)
    for event in events:
        if isinstance(event, Notice):
            break
    events.close()


def test_what_has_arrived_is_listed_and_can_be_given_up(shelf, hub):
    assert partial_downloads(shelf.folder) == ()
    stopped(shelf, hub)
    (one,) = partial_downloads(shelf.folder)
    assert one.id == REPO
    assert one.size == sum(p.stat().st_size for p in one.path.rglob("*") if p.is_file()) > 3000
    with pytest.raises(ModelMissing, match=f"Nothing of a/b waits .* what does is {REPO}"):
        discard_download(shelf.folder, "a/b")
    assert discard_download(shelf.folder, REPO) == (one,)
    assert list(shelf.folder.iterdir()) == []
    with pytest.raises(ModelMissing, match="what does is nothing"):
        discard_download(shelf.folder, REPO)


def test_what_arrives_right_now_cannot_be_given_up(shelf, hub):
    events = download(REPO, shelf)
    for event in events:
        if isinstance(event, Progress) and event.done:
            break
    with pytest.raises(DownloadFailed, match="right now"):
        discard_download(shelf.folder, REPO)
    list(events)
    assert_whole(shelf, hub)


def test_one_file_on_its_way_is_called_as_it_was_asked_for(shelf, hub):
    name = "some-one/loras/styles/ink.safetensors"
    hub.repos["some-one/loras"] = {"styles/ink.safetensors": lora_file()}
    hub.faults["styles/ink.safetensors"] = [("cut", 3000)]
    for event in (events := download(name, shelf)):
        if isinstance(event, Notice):
            break
    events.close()
    assert [one.id for one in partial_downloads(shelf.folder)] == [name]
    discard_download(shelf.folder, name)
    assert partial_downloads(shelf.folder) == ()


def start(profile: Path, hub: HubStandIn, model_id: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
    environment |= {"TRANSFORMERS_OFFLINE": "0", "HF_HOME": str(profile / "hf")}
    code = (
        "import sys; from core.cli import main\n"
        "status = main(sys.argv[1:])\n"
        "sys.exit('torch was imported' if 'torch' in sys.modules else status)"
    )
    words = ["models", "download", model_id, "--json", "--profile", str(profile)]
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_killed_download_is_gone_on_with_and_needs_no_torch(shelf, hub, tmp_path):
    size = len(hub.repos[REPO][UNET])
    hub.faults[UNET] = [("stall", size - 100)]
    with start(tmp_path / "profile", hub, REPO) as process:
        deadline = time.monotonic() + 60
        while not hub.ranges_asked(UNET) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.5)
        process.kill()
    assert_no_model(shelf)
    with start(tmp_path / "profile", hub, REPO) as process:
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert_whole(shelf, hub)
    first, second = hub.ranges_asked(UNET)
    assert first is None
    assert int(second.removeprefix("bytes=").removesuffix("-")) > 0
